"""The items of a request that still arrives, each as soon as it is whole: of pairs those of :mod:`api.incoming`."""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from api import incoming, names, pairs
from api.admission import Item, Place
from api.archive import manifest, members
from api.archive.beginning import Beginning
from api.archive.members import Archive
from api.archive.records import rejected
from api.errors import Problem
from api.forms import ARCHIVE, File, Form
from api.intake import Upload
from api.itemwise import Reading
from api.remote import Elsewhere
from cleanplate import pairing, settings
from cleanplate.resources import BatchOptions


class Finder(ABC):
    """``place`` is where what was found lies."""

    place: Place

    def __init__(self, options: BatchOptions) -> None:
        self.options = options

    @abstractmethod
    def find(self) -> Sequence[Item]:
        """Return the pairs or items that have become whole since it was asked last."""

    @abstractmethod
    def check(self) -> None:
        """Hold what was found against all that has come. Raises :class:`Problem` 422 ``archive_rejected``."""


def finder(come: Form | Reading[Any], options: BatchOptions, tenant_id: str) -> Finder:
    """Return what finds the items of a body of which the first has begun."""
    if isinstance(come, Reading):
        return AmongItems(come, options, tenant_id)
    return InArchive(come, options) if come.files[0].field == ARCHIVE else AmongFiles(come, options)


class AmongItems(Finder):
    """Finds items of JSON, all of them: they are judged page by page."""

    def __init__(self, come: Reading[Any], options: BatchOptions, tenant_id: str) -> None:
        super().__init__(options)
        self.place = Elsewhere(tenant_id)
        self._come, self._seen = come, 0

    def find(self) -> Sequence[Item]:
        found = self._come.items[self._seen :]
        self._seen += len(found)
        return found

    def check(self) -> None:
        """Find nothing wrong: items do not change."""


class AmongFiles(Finder):
    """Finds pairs of the form's own files."""

    def __init__(self, form: Form, options: BatchOptions) -> None:
        super().__init__(options)
        self.place = self._form = form
        self._pairs = pairs.Pairs(options.mask_suffix)
        self._seen = 0

    def find(self) -> list[Upload]:
        seen, self._seen = self._seen, self._form.whole
        return self._pairs.add(self._form.files[seen : self._seen])

    def check(self) -> None:
        """Find nothing wrong: files do not change."""


class InArchive(Finder):
    """Finds pairs of an archive: by its manifest, as soon as that is there, or by name, if it is to have none."""

    def __init__(self, form: Form, options: BatchOptions) -> None:
        super().__init__(options)
        self._form, self._file = form, form.files[0]
        read = partial(form.part, self._file)
        self.place: Archive = Archive([], {}, read)
        self._beginning = Beginning(read, members.limits(), settings.get().max_file_bytes)
        self._pairs: pairs.Pairs | _Rows | None = None if options.manifest else pairs.Pairs(options.mask_suffix)
        self._waiting: list[File] = []
        self._used: list[File] = []

    def find(self) -> list[Upload]:
        here = min(self._file.size, self._form.size - self._file.offset)
        self._waiting += self.place.add(self._beginning.find(here))
        if self._pairs is None and (lists := list(filter(incoming.is_manifest, self._waiting))):
            self._used += lists[:1]
            self._pairs = self._by_manifest(lists[0])
        if self._pairs is None:
            return []
        files, self._waiting = self._waiting, []
        found = self._pairs.add(file for file in files if not incoming.is_manifest(file))
        self._used += (file for one in found for file in (one.image, one.mask))
        return found

    def _by_manifest(self, file: File) -> "_Rows":
        try:
            rows = incoming.read_rows(self.place, file)
        except Problem:  # which is raised once more when all has come
            rows = []
        return _Rows(rows, incoming.Names(incoming.folder_of(file), self.options.mask_suffix), self.options)

    def check(self) -> None:
        whole = members.open_archive(self._form, self._form.one(ARCHIVE))
        for file in self._used:
            if self.place.said(file) != whole.said(file):
                raise rejected(
                    "damaged", f"Its directory does not say the same of {names.clean(file.name)} as it does."
                )


class _Rows:
    """The items of a manifest, each as soon as both of its files are there."""

    def __init__(self, rows: Iterable[manifest.Row], there: incoming.Names, options: BatchOptions) -> None:
        self._there, self._options = there, options
        self._waiting: dict[str, list[manifest.Row]] = defaultdict(list)
        rows = list(rows)
        called = Counter(map(there.called, rows))
        for row in rows:
            if called[there.called(row)] == 1:  # of several only the first is an item: that is seen at the end
                for stem in there.wanted(row):
                    self._waiting[stem].append(row)
        self._taken: set[int] = set()

    def add(self, files: Iterable[File]) -> list[Upload]:
        """Take the next files; return the items that they complete."""
        uploads = []
        for file in files:
            self._there.add([file])
            for row in self._waiting.get(pairing.key(pairing.stem(names.clean(file.name))), ()):
                if row.line in self._taken:
                    continue
                made = incoming.upload(row, list(self._there.files_of(row)), self._options.params)
                if isinstance(made, Upload):
                    self._taken.add(row.line)
                    uploads.append(made)
        return uploads
