"""Load what a submit needs: two objects out of the store, joined to one request body."""

from cleanplate.jobs import Claimed
from cleanplate.outcomes import ErrorCode, Rejected, TryLater
from cleanplate.storage import ObjectMissing, Store, StoreError
from worker import bfl
from worker.submit import fields


def load(store: Store, job: Claimed) -> bytes | Rejected | TryLater:
    """Return the request body of ``job``. The pictures were checked and prepared at intake; nothing is decoded here."""
    try:
        image = store.get(job.send_image_key)
        mask = store.get(job.send_mask_key)
    except ObjectMissing as error:
        return Rejected(ErrorCode.INPUT_MISSING, f"{error} is not in the object store")
    except StoreError as error:
        return TryLater(f"the object store is away: {error}")
    return bfl.payload(image, mask, fields(job.params))
