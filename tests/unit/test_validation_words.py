"""What a value that is refused is told with: our own words, as they are."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api.jobs import JobFields
from cleanplate.items import METADATA_BYTES, Item, Source
from cleanplate.moments import Moment
from cleanplate.webhooks import EVENTS, EventType

URL = {"url": "https://photos.example.com/a.jpg"}
LONG = {"note": "x" * METADATA_BYTES}


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (Source, {}, "name one of url, upload_id and s3"),
        (Item, {"image": URL, "mask": URL, "metadata": LONG}, f"more than {METADATA_BYTES} bytes"),
        (JobFields, {"metadata": "x" * (METADATA_BYTES + 1)}, f"more than {METADATA_BYTES} bytes"),
        (Moment, "yesterday", "not a time such as 2026-03-02T09:30:00Z"),
        (EventType, "job.done", f"not an event; there are {', '.join(EVENTS)}"),
    ],
)
def test_words_of_ours_come_without_a_preface(kind: Any, given: Any, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(given)
    assert [(one["type"], one["msg"]) for one in refused.value.errors()] == [("value_error", words)]
