"""The pairs of a request that still arrives, each as soon as it is whole: those that :mod:`api.incoming` will find."""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial

from api import incoming, names, pairs
from api.archive import manifest, members
from api.archive.beginning import Beginning
from api.archive.members import Archive
from api.archive.records import rejected
from api.errors import Problem
from api.forms import ARCHIVE, File, Form
from api.intake import Source, Upload
from cleanplate import pairing, settings
from cleanplate.resources import BatchOptions


class Finder(ABC):
    """``place`` is where the bytes of what was found are."""

    place: Source

    def __init__(self, form: Form, options: BatchOptions) -> None:
        self.options = options
        self._form = form

    @abstractmethod
    def find(self) -> list[Upload]:
        """Return the pairs that have become whole since it was asked last."""

    @abstractmethod
    def check(self) -> None:
        """Hold what was found against all that has come. Raises :class:`Problem` 422 ``archive_rejected``."""


def finder(form: Form, options: BatchOptions) -> Finder:
    """Return what finds the pairs of a form of which the first file has begun."""
    return InArchive(form, options) if form.files[0].field == ARCHIVE else AmongFiles(form, options)


class AmongFiles(Finder):
    """Finds pairs of the form's own files."""

    def __init__(self, form: Form, options: BatchOptions) -> None:
        super().__init__(form, options)
        self.place = form
        self._pairs = pairs.Pairs(options.mask_suffix)
        self._seen = 0

    def find(self) -> list[Upload]:
        seen, self._seen = self._seen, self._form.whole
        return self._pairs.add(self._form.files[seen : self._seen])

    def check(self) -> None:
        """Find nothing wrong: files do not change."""


class InArchive(Finder):
    """Finds pairs of an archive: by its manifest, if that is its first file, or by name, if it is to have none."""

    def __init__(self, form: Form, options: BatchOptions) -> None:
        super().__init__(form, options)
        self._file = form.files[0]
        read = partial(form.part, self._file)
        self.place: Archive = Archive([], {}, read)
        self._beginning = Beginning(read, members.limits(), settings.get().max_file_bytes)
        self._pairs: pairs.Pairs | _Rows | None = None if options.manifest else pairs.Pairs(options.mask_suffix)
        self._found: list[Upload] = []

    def find(self) -> list[Upload]:
        here = min(self._file.size, self._form.size - self._file.offset)
        files = self.place.add(self._beginning.find(here))
        if self._pairs is None and (real := [file for file in files if not names.is_junk(names.clean(file.name))]):
            self._pairs = self._by_manifest(real[0])
        if self._pairs is None:
            return []
        found = self._pairs.add(file for file in files if not incoming.is_manifest(file))
        self._found += found
        return found

    def _by_manifest(self, first: File) -> "_Rows | None":
        if incoming.is_manifest(first):
            try:
                rows = incoming.read_rows(self.place, first)
            except Problem:  # which is raised once more when all has come
                rows = []
            return _Rows(rows, incoming.Names(incoming.folder_of(first), self.options.mask_suffix), self.options)
        self._beginning.over = True
        return None

    def check(self) -> None:
        whole = members.open_archive(self._form, self._form.one(ARCHIVE))
        for file in (file for one in self._found for file in (one.image, one.mask)):
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
