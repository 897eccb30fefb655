"""What a submit asks for, and the refusals that FastAPI gives to what it cannot take."""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from cleanplate.simulator import pictures
from cleanplate.simulator.options import Options, is_loopback


class RefusedError(Exception):
    """The body is no valid order; the text is the answer's body, for a status of 422."""


def _from_base64(value: object) -> bytes:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "Input should be a valid string")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise PydanticCustomError("value_error", "Value error, Invalid base64 string") from error


def _within_limit(value: int, info: ValidationInfo) -> int:
    limit = info.context.dilate_limit if info.context else 100
    if value > limit:
        raise PydanticCustomError("less_than_equal", "Input should be less than or equal to {le}", {"le": limit})
    return value


def _callable(url: str) -> str:
    """Take https only, as the vendor does, and http on this machine, where tests have no certificate."""
    parts = urlsplit(url)
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname))):
        raise PydanticCustomError("url_scheme", "URL scheme should be 'https'")
    return url


Base64 = Annotated[bytes, BeforeValidator(_from_base64)]


class EraseInputs(BaseModel):
    """The body of ``POST /v1/flux-tools/erase-v1``; unknown fields are ignored, as upstream."""

    image: Base64
    mask: Base64
    dilate_pixels: Annotated[int, Field(ge=0), AfterValidator(_within_limit)] = 10
    output_format: Literal["png", "jpeg", "webp"] = "png"
    seed: int | None = None
    safety_tolerance: int = Field(2, ge=0, le=5)
    webhook_url: Annotated[str, AfterValidator(_callable)] | None = None
    webhook_secret: str | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _pictures_agree(self, info: ValidationInfo) -> "EraseInputs":
        wholly = not info.context or info.context.erase == "inpaint"
        sizes = []
        for name, data, mode in (("image", self.image, "RGB"), ("mask", self.mask, "L")):
            try:
                sizes.append(pictures.decode(data, mode).shape[1::-1] if wholly else pictures.size_of(data))
            except pictures.PictureError as error:
                raise PydanticCustomError(
                    "value_error", "Value error, {field} {why}", {"field": name, "why": str(error)}
                ) from error
        (w, h), (mask_w, mask_h) = sizes
        if (w, h) != (mask_w, mask_h):
            raise PydanticCustomError(
                "value_error",
                "Value error, mask dimensions {mask} must match image dimensions {image}",
                {"mask": f"{mask_w}x{mask_h}", "image": f"{w}x{h}"},
            )
        return self


@dataclass(frozen=True)
class Order:
    """A submit that can be accepted."""

    inputs: EraseInputs
    image_sha256: str
    mask_sha256: str


def read(body: bytes, options: Options) -> Order:
    """Check a submit's body before anything is charged. Raises RefusedError. Takes CPU: call it off the loop."""
    try:
        inputs = EraseInputs.model_validate_json(body, context=options)
    except ValidationError as error:
        # The vendor echoes the input, too; an input of megabytes helps nobody here.
        faults = error.errors(include_url=False, include_input=False)
        detail = [fault | {"loc": ["body", *fault["loc"]]} for fault in faults]
        raise RefusedError(json.dumps({"detail": detail})) from error
    return Order(inputs, hashlib.sha256(inputs.image).hexdigest(), hashlib.sha256(inputs.mask).hexdigest())
