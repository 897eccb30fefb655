"""Objects in a bucket, on S3 or on what speaks its protocol."""

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from itertools import islice
from threading import Lock
from typing import IO, TYPE_CHECKING, cast

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cleanplate.storage import (
    ObjectMissing,
    Stat,
    Store,
    StoreFull,
    StoreUnavailable,
    checked,
    content_disposition,
    is_key,
)

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client  # stubs, installed for development only
    from types_boto3_s3.literals import BucketLocationConstraintType

DELETE_BATCH = 1000  # the most that DeleteObjects takes
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}


class S3Store(Store):
    """Objects below a prefix of a bucket, on S3 or on what speaks its protocol."""

    def __init__(self, bucket: str, prefix: str = "", public_url: str | None = None) -> None:
        self._bucket = bucket
        self._public_url = public_url
        self._prefix = f"{checked(prefix)}/" if prefix else ""
        self._opened: tuple[int, S3Client] | None = None
        self._opening: dict[int, Lock] = {}

    def put(self, key: str, data: bytes | IO[bytes], *, media_type: str) -> None:
        with s3_errors():
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._name(key),
                Body=data,
                ContentType=media_type,
                ContentDisposition="attachment",
            )

    def _chunks(self, key: str, size: int | None) -> Iterator[bytes]:
        with s3_errors():
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=self._name(key))["Body"]
            except self._client.exceptions.NoSuchKey:
                raise ObjectMissing(key) from None
            with closing(body):
                yield b""
                while chunk := body.read(size):
                    yield chunk

    def stat(self, key: str) -> Stat | None:
        with s3_errors():
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=self._name(key))
            except ClientError as error:
                if status(error) != HTTPStatus.NOT_FOUND:
                    raise
                self.check()  # the answer is the same 404 when the bucket is gone
                return None
        return Stat(key, found["ContentLength"], found["LastModified"])

    def delete(self, keys: Iterable[str]) -> None:
        names = map(self._name, keys)
        while batch := list(islice(names, DELETE_BATCH)):
            with s3_errors():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": name} for name in batch], "Quiet": True}
                )
            if kept := answer.get("Errors"):
                raise StoreUnavailable(f"S3 kept {len(kept)} of {len(batch)} objects: {kept[0].get('Code')}")

    def list(self, prefix: str, *, older_than: datetime | None = None) -> Iterator[Stat]:
        start = self._name(f"{prefix}x").removesuffix("x")
        with s3_errors():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start):
                for found in page.get("Contents", ()):
                    stat = Stat(found["Key"].removeprefix(self._prefix), found["Size"], found["LastModified"])
                    if (older_than is None or stat.modified < older_than) and is_key(stat.key):
                        yield stat

    def presign(self, key: str, *, filename: str, ttl_seconds: int) -> str | None:
        disposition = content_disposition(filename)
        with s3_errors():
            return self._signer.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": self._name(key), "ResponseContentDisposition": disposition},
                ExpiresIn=ttl_seconds,
            )

    def presign_put(self, key: str, *, ttl_seconds: int, size: int | None) -> str | None:
        """As the base says; without a size the URL takes any, for S3 can sign a length and no limit."""
        length = {} if size is None else {"ContentLength": size}
        with s3_errors():
            return self._signer.generate_presigned_url(
                "put_object",
                Params={"Bucket": self._bucket, "Key": self._name(key), **length},
                ExpiresIn=ttl_seconds,
            )

    def check(self) -> None:
        with s3_errors():
            self._client.head_bucket(Bucket=self._bucket)

    def prepare(self) -> None:
        with s3_errors():
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if status(error) != HTTPStatus.NOT_FOUND:
                    raise
                self._make_bucket()

    def _make_bucket(self) -> None:
        region = self._client.meta.region_name
        if region in {None, "us-east-1"}:  # the one region that S3 does not want to be told
            self._client.create_bucket(Bucket=self._bucket)
        else:
            place = cast("BucketLocationConstraintType", region)
            self._client.create_bucket(Bucket=self._bucket, CreateBucketConfiguration={"LocationConstraint": place})

    @cached_property
    def _signer(self) -> "S3Client":
        """What makes presigned URLs: it sends nothing, so it needs no care about forks."""
        return open_client(self._public_url) if self._public_url else self._client

    def _name(self, key: str) -> str:
        return self._prefix + checked(key)

    @property
    def _client(self) -> "S3Client":
        """The client of this process: sockets do not survive a fork, nor does a lock that was held at that moment."""
        process = os.getpid()
        with self._opening.setdefault(process, Lock()):
            if self._opened is None or self._opened[0] != process:
                self._opened = (process, open_client())
            return self._opened[1]


def open_client(endpoint_url: str | None = None) -> "S3Client":
    config = Config(
        signature_version="s3v4",
        connect_timeout=3,
        read_timeout=15,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=50,
        # Newer checksums only where S3 demands one: its work-alikes do not all know them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = Session()
    client = session.client("s3", config=config, endpoint_url=endpoint_url)
    if client.meta.endpoint_url.endswith(".amazonaws.com"):
        # Or else botocore presigns for the global host, which redirects or refuses where the region is young.
        return session.client("s3", config=config.merge(Config(s3={"addressing_style": "virtual"})))
    return client


def status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


@contextmanager
def s3_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        full = code in _FULL or status(error) == HTTPStatus.INSUFFICIENT_STORAGE
        raise (StoreFull if full else StoreUnavailable)(f"S3 answered {code} to {error.operation_name}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"S3 cannot be used: {type(error).__name__}") from error
