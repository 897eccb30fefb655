"""The object store is away while results become ready: they wait for it, and no row is left without objects."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cleanplate.client_errors import UnreachableError
from tests.journeys.oracle import Begin, eventually


@pytest.mark.chaos(11, 12)
@pytest.mark.timeout(1800)
def test_results_wait_for_the_store_and_an_upload_is_refused_whole(
    begin: Begin, photos: list[Path], outage: Callable[[float], float]
) -> None:
    story = begin("store away")
    objects = story.stack.running.data_dir / "objects"
    story.upload(photos)
    eventually(lambda: story.counts()["succeeded"] >= 2)
    objects.rename(objects.with_name("objects.away"))
    try:
        eventually(lambda: story.counts()["ready"] >= 2)
        late = photos[0]
        with story.stack.client() as client, pytest.raises(UnreachableError, match="503 store_unavailable"):
            client.create_job((late.name, late), ("mask.png", late.with_name(f"{late.stem}_mask.png")))
        time.sleep(outage(300))
    finally:
        objects.with_name("objects.away").rename(objects)
        story.disturb()
    figures = story.end()
    assert figures.succeeded == figures.paid == len(photos)
    assert story.rows_without_objects() == 0
