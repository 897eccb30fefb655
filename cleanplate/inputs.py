"""A pair on its way into the store: checked wholly, then put, by the request that brings it or by an import."""

from typing import Final

from cleanplate import settings
from cleanplate.imaging import pair as imaging
from cleanplate.resources import Params
from cleanplate.storage import Store

PNG_SIGNATURE: Final = b"\x89PNG"


def check(image: bytes, mask: bytes, params: Params) -> imaging.Pair:
    """Decode both wholly and return what they are. Raises ``ImageFault``."""
    return imaging.check(
        image,
        mask,
        max_pixels=settings.get().max_pixels,
        mask_invert=params.mask_invert,
        output_format=params.output_format,
    )


def keys(job_id: str) -> dict[str, str]:
    """Return where the inputs of a job lie, as its columns, when the upstream is sent what was uploaded."""
    return {f"{part}{name}_key": f"inputs/{job_id}/{name}" for name in ("image", "mask") for part in ("", "send_")}


def put(store: Store, job_id: str, image: bytes, mask: bytes, pair: imaging.Pair) -> dict[str, str]:
    """Store a pair, and what the upstream is sent where that differs; return where, as columns of the job.

    Doing it twice puts the same objects. Raises ``StoreUnavailable`` and such.
    """
    found = keys(job_id)
    for name, data, sent, facts in (
        ("image", image, pair.sent.image, pair.image),
        ("mask", mask, pair.sent.mask, pair.mask),
    ):
        store.put(found[f"{name}_key"], data, media_type=f"image/{facts.format}")
        if sent != data:
            found[f"send_{name}_key"] = f"inputs/{job_id}/send-{name}"
            kind = "png" if sent.startswith(PNG_SIGNATURE) else "jpeg"
            store.put(found[f"send_{name}_key"], sent, media_type=f"image/{kind}")
    return found
