"""Objects in buckets that are not ours, read by this installation's rights."""

import os
from contextlib import closing
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from cleanplate.storage import ObjectMissing
from cleanplate.storage.s3 import open_client, s3_errors, status

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client  # stubs, installed for development only

ABSENT = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


def read(bucket: str, key: str, limit: int) -> bytes:
    """Return the first ``limit`` bytes of the object, or all of a shorter one.

    Raises ``ObjectMissing`` when it is not there or not for us, and ``StoreUnavailable``.
    """
    with s3_errors():
        try:
            body = _client(os.getpid()).get_object(Bucket=bucket, Key=key)["Body"]
        except ClientError as error:
            if status(error) in ABSENT:
                raise ObjectMissing(f"s3://{bucket}/{key}") from None
            raise
        with closing(body):
            return body.read(limit)


@lru_cache(maxsize=1)
def _client(_pid: int) -> "S3Client":
    return open_client()
