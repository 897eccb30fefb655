"""What a client sends when the pictures are not in the request: items that say where they lie, and uploads."""

from datetime import datetime
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError, to_json

from cleanplate.resources import BatchOptions, Params
from cleanplate.shapes import Answer, without_defaults

ITEMS_MOST: Final = 10_000
CUSTOM_ID_LENGTH: Final = 255
METADATA_BYTES: Final = 8 << 10


class Source(BaseModel):
    """Where an image or a mask lies; exactly one of the three."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, description="An http(s) URL, which may be signed.")
    upload_id: str | None = Field(None, description="Of `POST /v1/uploads`, when its file has been put.")
    s3: str | None = Field(None, description="`s3://bucket/key`, in a place that the operator allows.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise PydanticCustomError("value_error", "name one of url, upload_id and s3")
        return self


class ItemParams(Params):
    """What differs for one item from the `params` of the options; only fields that are named count."""

    model_config = ConfigDict(json_schema_extra=without_defaults)


class Item(BaseModel):
    """One pair of a batch, by where its files lie."""

    model_config = ConfigDict(extra="forbid")

    custom_id: str | None = Field(None, min_length=1, max_length=CUSTOM_ID_LENGTH, description="Your name for it.")
    image: Source
    mask: Source
    params: ItemParams = Field(default_factory=ItemParams)
    metadata: dict[str, Any] = Field({}, description="A JSON object of yours that comes back with the job.")

    @property
    def sources(self) -> dict[str, Source]:
        """Where each of the two lies."""
        return {"image": self.image, "mask": self.mask}

    @field_validator("metadata")
    @classmethod
    def _brief(cls, value: dict[str, Any]) -> dict[str, Any]:
        if len(to_json(value)) > METADATA_BYTES:
            raise PydanticCustomError("value_error", f"more than {METADATA_BYTES} bytes")
        return value


class NewItems(BaseModel):
    """Items for a batch. Each is judged for itself, so that one that is wrong does not spoil the others."""

    model_config = ConfigDict(extra="forbid")

    items: list[Item] = Field(max_length=ITEMS_MOST)


class _Options(BaseModel):
    options: BatchOptions = Field(default_factory=BatchOptions)


class NewBatch(NewItems, _Options):
    """A batch whose pictures lie elsewhere. With `options` before `items` these are taken while they still arrive."""


class NewUpload(BaseModel):
    """What is known of a file before it is put."""

    model_config = ConfigDict(extra="forbid")

    bytes: int | None = Field(None, ge=1, description="Its size: named, the address takes a file of this size alone.")


class Upload(Answer):
    """Room for one file: put it to `url` with these headers, then name `upload_id` in items."""

    upload_id: str
    method: Literal["PUT"] = "PUT"
    url: str = Field(description="Signed: whoever has it may put the file, without a key.")
    headers: dict[str, str] = Field(description="To be sent with the file.")
    url_expires_at: datetime
    max_bytes: int
    expires_at: datetime = Field(description="Until then items may name it; each that does gives it a day more.")
