"""What a request brings for a batch: pairs of its files by their names, or those of its archive.

With a manifest only what its rows name is an item, so nothing is paid for that somebody left in the folder.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from pydantic import ValidationError

from api import intake, names, pairs
from api.archive import manifest
from api.archive.members import Archive, open_archive
from api.errors import Problem
from api.forms import ARCHIVE, File, Form
from api.intake import Source, Upload
from cleanplate import pairing, settings
from cleanplate.items import CUSTOM_ID_LENGTH, METADATA_BYTES
from cleanplate.resources import BatchOptions, Params, Rejection

FIELDS = frozenset({ARCHIVE, "files"})
Found = tuple[list[Upload], list[Rejection]]


def find(form: Form, options: BatchOptions) -> tuple[Source, list[Upload], list[Rejection]]:
    """Return where the bytes are, the pairs, and why what is in none is not.

    Raises :class:`Problem` 422 ``validation_failed``, ``archive_rejected`` or ``manifest_invalid``.
    """
    if all(file.field != ARCHIVE for file in form.files):
        as_they_come = pairs_as_they_come(form, options)
        return form, *pairs.find_pairs(form.files, options.mask_suffix, as_they_come=as_they_come)
    form.only(files={ARCHIVE}, fields=form.fields)
    archive = open_archive(form, form.one(ARCHIVE))
    lists = [file for file in archive.files if is_manifest(file)]
    if lists and options.manifest:
        return archive, *_by_manifest(archive, lists, options)
    files = sorted((file for file in archive.files if not is_manifest(file)), key=attrgetter("offset"))
    as_they_come = not options.manifest and pairs_as_they_come(form, options)
    uploads, rejected = pairs.find_pairs(files, options.mask_suffix, as_they_come=as_they_come)
    unused = [names.clean(file.name) for file in lists]
    return archive, uploads, rejected + pairs.ignored(unused, "the options say that there is no manifest")


def pairs_as_they_come(form: Form, options: BatchOptions) -> bool:
    """Tell whether a file may be paired before it is known what comes after it."""
    return not options.atomic and ("options" in (form.ahead or {}) or "options" not in form.fields)


def is_manifest(file: File) -> bool:
    """Tell whether a file of an archive is its manifest."""
    name = names.clean(file.name)
    return pairing.key(name).rpartition("/")[2] == manifest.NAME and not names.is_junk(name)


def _by_manifest(archive: Archive, lists: Sequence[File], options: BatchOptions) -> Found:
    if len(lists) > 1:
        told = ", ".join(names.clean(file.name) for file in lists[:3])
        raise Problem(422, "manifest_invalid", f"One {manifest.NAME} may be in an archive; there are {told}.")
    file = lists[0]
    rows = read_rows(archive, file)
    there = Names(folder_of(file), options.mask_suffix)
    there.add(archive.files)
    uploads: list[Upload] = []
    rejected: list[Rejection] = []
    lines: dict[str | None, int] = {}
    used = {file.offset}
    for row in rows:
        found = list(there.files_of(row))
        used |= {one.offset for one in found if isinstance(one, File)}
        result = upload(row, found, options.params)
        if isinstance(result, Upload) and result.custom_id in lines:
            detail = f"the custom_id {result.custom_id!r} is that of line {lines[result.custom_id]} already"
            result = intake.reject(row.at, "custom_id_repeated", detail)
        if isinstance(result, Upload):
            lines[result.custom_id] = row.line
            uploads.append(result)
        else:
            rejected.append(result)
    unused = [names.clean(one.name) for one in archive.files if one.offset not in used]
    return uploads, rejected + pairs.ignored(unused, "no row of the manifest names it")


def read_rows(archive: Archive, file: File) -> list[manifest.Row]:
    """Return the rows of the manifest. Raises :class:`Problem` 422 ``manifest_invalid``."""
    if file.size > manifest.MANIFEST_BYTES:
        raise manifest.too_large(file.size)
    return manifest.parse(archive.read(file), settings.get().max_archive_entries)


def folder_of(file: File) -> str:
    """Return the folder of a manifest, to which the names in it are relative, with its slash or empty."""
    return names.clean(file.name)[: -len(manifest.NAME)]


class Names:
    """The files of an archive by their names, which are relative to the manifest's folder."""

    def __init__(self, folder: str, mask_suffix: str) -> None:
        self._folder, self._suffix = folder, mask_suffix
        self._files: dict[str, list[File]] = defaultdict(list)
        self._stems: dict[str, list[File]] = defaultdict(list)

    def add(self, files: Iterable[File]) -> None:
        for file in files:
            name = names.clean(file.name)
            self._files[pairing.key(name)].append(file)
            self._stems[pairing.key(pairing.stem(name))].append(file)

    def called(self, row: manifest.Row) -> str:
        """Return the key of the row's ``custom_id``."""
        return pairing.key(row.custom_id or pairing.stem(self._folder + names.clean(row.image)))

    def wanted(self, row: manifest.Row) -> set[str]:
        """Return the keys of the stems under which the row's files come; there may be others."""
        image = self._folder + names.clean(row.image)
        mask = pairing.stem(self._folder + names.clean(row.mask)) if row.mask else pairing.stem(image) + self._suffix
        return {pairing.key(pairing.stem(image)), pairing.key(mask)}

    def files_of(self, row: manifest.Row) -> Iterator[File | Rejection]:
        """Yield the row's image and mask, or why there is none. A mask that is not named is found by its image's."""
        image = self._folder + names.clean(row.image)
        if not row.image:
            yield intake.reject(row.at, "missing_image", "the column image is empty")
            return
        yield _one(row, "image", row.image, self._files.get(pairing.key(image), ()))
        if row.mask:
            mask = self._folder + names.clean(row.mask)
            yield _one(row, "mask", row.mask, self._files.get(pairing.key(mask), ()))
        else:
            name = pairing.stem(image) + self._suffix
            yield _one(row, "mask", f"{name}.png", self._stems.get(pairing.key(name), ()))


def _one(row: manifest.Row, what: str, name: str, found: Sequence[File]) -> File | Rejection:
    match found:
        case [one]:
            return one
        case []:
            return intake.reject(row.at, f"missing_{what}", f"{name} is not in the archive")
    return intake.reject(row.at, "ambiguous_pair", f"{len(found)} files have the name {name}")


def upload(row: manifest.Row, found: Sequence[File | Rejection], defaults: Params) -> Upload | Rejection:
    match found:
        case [File() as image, File() as mask]:
            pass
        case _:
            return next(one for one in found if isinstance(one, Rejection))
    custom_id = row.custom_id or pairing.custom_id(names.clean(image.name))
    if len(custom_id) > CUSTOM_ID_LENGTH:
        return intake.reject(row.at, "name_too_long", f"more than {CUSTOM_ID_LENGTH} characters")
    if manifest.size_of(row.metadata) > METADATA_BYTES:
        return intake.reject(row.at, "invalid_metadata", f"more than {METADATA_BYTES} bytes")
    try:
        params = row.params_over(defaults)
    except ValidationError as error:
        return intake.reject(row.at, "invalid_params", manifest.words(error))
    return intake.upload(image, mask, custom_id, row.at, params=params, metadata=row.metadata)
