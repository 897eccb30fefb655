"""Makes ready what every process needs: the database's schema, and the object store."""

from cleanplate import db, settings
from cleanplate.storage import StoreError, open_store


class NotReadyError(Exception):
    """What is missing and which settings name it, in a line for a person, without secrets."""


def prepare() -> None:
    """Bring the schema up to date and make the bucket or directory, where they are not. Raises :class:`NotReadyError`.

    Several may call at once.
    """
    try:
        db.migrate()
    except db.AWAY as error:
        raise NotReadyError(f"the database of DATABASE_URL cannot be used: {db.words(error)}") from error
    try:
        open_store(settings.get().storage_url).prepare()
    except StoreError as error:
        raise NotReadyError(f"the store of STORAGE_URL, with the AWS_ variables, cannot be used: {error}") from error
