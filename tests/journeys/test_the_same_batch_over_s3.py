"""The store of a team: the same job, with objects in a bucket over S3's wire protocol."""

from pathlib import Path

import boto3
import pytest

from tests.journeys.harness import finish, pairs, stack, stored
from tests.s3 import make_bucket, s3_environment, s3_server

PHOTOS = 8


def test_pictures_and_results_lie_in_the_bucket_and_are_downloaded_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = pairs(tmp_path / "photos", PHOTOS), tmp_path / "out"
    with s3_server() as endpoint:
        make_bucket(endpoint, "photos")
        for name, value in s3_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        bucket = boto3.client("s3")
        with stack(tmp_path / "data", STORAGE_URL="s3://photos/team") as running:
            finish(running.erase(photos, out))
            assert running.paid() == PHOTOS
        pages = bucket.get_paginator("list_objects_v2").paginate(Bucket="photos")
        keys = {found["Key"] for page in pages for found in page["Contents"]}

    assert len(stored(out)) == PHOTOS
    assert len([key for key in keys if key.startswith("team/results/")]) == PHOTOS
