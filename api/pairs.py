"""From files to pairs, by their names."""

from collections.abc import Collection, Iterable, Iterator

from api import names
from api.errors import shortened
from api.forms import File
from api.intake import IGNORED, Upload, reject, upload
from cleanplate.items import CUSTOM_ID_LENGTH
from cleanplate.pairing import Pair, Pairing
from cleanplate.resources import Rejection

IGNORED_TOLD = 20


class Pairs:
    """Pairs of files by their names, each as soon as it is whole, in the order in which they come."""

    def __init__(self, mask_suffix: str) -> None:
        self._pairing = Pairing(mask_suffix)
        self._named: dict[str, File] = {}
        self._junk: set[str] = set()
        self._too_long: list[Rejection] = []

    def add(self, files: Iterable[File]) -> list[Upload]:
        """Take the next files; return the pairs that they complete."""
        uploads: list[Upload] = []
        for file in files:
            name = names.clean(file.name)
            if names.is_junk(name):
                self._junk.add(name)
                continue
            self._named.setdefault(name, file)
            if found := self._pairing.add(name):
                uploads += self._upload(found)
        return uploads

    def rejected(self) -> list[Rejection]:
        """Return those that are in no pair, with why."""
        return self._pairing.rejected() + self._refused()

    def whole(self) -> tuple[list[Upload], list[Rejection]]:
        """Return the pairs of all that came, in the order of their names, and the others; see :meth:`Pairing.whole`."""
        self._too_long.clear()
        pairs, rejected = self._pairing.whole()
        uploads = [one for found in pairs for one in self._upload(found)]
        return uploads, rejected + self._refused()

    def _upload(self, found: Pair) -> Iterator[Upload]:
        if len(found.name) > CUSTOM_ID_LENGTH:
            why = f"more than {CUSTOM_ID_LENGTH} characters"
            self._too_long.append(reject(found.image, "name_too_long", why))
        else:
            yield upload(self._named[found.image], self._named[found.mask], found.name)

    def _refused(self) -> list[Rejection]:
        return ignored(self._junk, "an operating system's own file") + self._too_long


def find_pairs(
    files: Iterable[File], mask_suffix: str, *, as_they_come: bool = False
) -> tuple[list[Upload], list[Rejection]]:
    """Pair files by their names; return also those that have no partner, or two, or an unusable name."""
    pairs = Pairs(mask_suffix)
    uploads = pairs.add(files)
    return (uploads, pairs.rejected()) if as_they_come else pairs.whole()


def ignored(unused: Collection[str], why: str) -> list[Rejection]:
    """Return the rejections of files that are no item; of very many the first are named and the others counted."""
    return shortened([reject(name, IGNORED, why) for name in sorted(unused)], most=IGNORED_TOLD)
