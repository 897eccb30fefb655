"""Sends pairs into an open batch, a few at a time."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from cleanplate.cli.manifest import Content, Fault, ItemLine, Manifest
from cleanplate.cli.plan import Photos, unread
from cleanplate.client import Client
from cleanplate.client_errors import ApiError, AuthError, CreditsError, NotFoundError
from cleanplate.pairing import Pair
from cleanplate.resources import Batch
from cleanplate.states import Status

CHUNK_PAIRS = 8
CHUNK_BYTES = 24 << 20
ALREADY_THERE = "duplicate_custom_id"


class Sending:
    """How far an archive has been sent, of ``size`` bytes and about ``pairs`` pairs."""

    def __init__(self, batch_id: str, name: str, pairs: int, size: int) -> None:
        self.batch_id = batch_id
        self.pairs = pairs
        self._name = name
        self._size = size
        self._sent = 0

    def tell(self, sent: int) -> None:
        """Take note that so many bytes have been sent, from any thread."""
        self._sent = sent

    def words(self) -> str:
        """Return where it stands, for a person."""
        if self._sent < self._size:
            return f"sending {self._name}: {self._sent / 1e6:.0f} of {self._size / 1e6:.0f} MB"
        return f"{self._name} is being checked and taken in"


def chunks(pairs: Iterable[Pair], size: Callable[[Pair], int]) -> Iterator[list[Pair]]:
    """Yield runs of at most ``CHUNK_PAIRS`` pairs and, if they are more than one, ``CHUNK_BYTES``."""
    chunk: list[Pair] = []
    held = 0
    for pair in pairs:
        if chunk and (len(chunk) == CHUNK_PAIRS or held + size(pair) > CHUNK_BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(pair)
        held += size(pair)
    if chunk:
        yield chunk


class Uploader:
    """Sends pairs of ``photos`` into ``batch``; what is sent is in the manifest first."""

    def __init__(self, client: Client, manifest: Manifest, photos: Photos, batch: Batch) -> None:
        self._client = client
        self._manifest = manifest
        self._photos = photos
        self._batch = batch

    @property
    def batch_id(self) -> str:
        return self._batch.id

    def send(self, pairs: list[Pair]) -> list[ItemLine]:
        """Send ``pairs`` and return those that were refused, as failed items; one refused pair spares the others."""
        lines: dict[str, ItemLine] = {}
        refused: list[ItemLine] = []
        for pair in pairs:
            image, mask = self._photos.paths(pair)
            try:
                contents = Content.of(image), Content.of(mask)
            except OSError as error:
                refused.append(unread(pair, self._batch.options.params, error, self._batch.id))
            else:
                lines[pair.name] = self._line(pair, contents)
        self._manifest.write(*lines.values())
        there = [pair for pair in pairs if pair.name in lines]
        return refused + [_failed(lines[name], fault) for name, fault in self._offer(there)]

    def _offer(self, pairs: list[Pair]) -> Iterator[tuple[str, Fault]]:
        if not pairs:
            return
        names = {pair.name: self._names(pair) for pair in pairs}
        files = [sent for pair in pairs for sent in zip(names[pair.name], self._photos.paths(pair), strict=True)]
        try:
            answer = self._client.add_items(self._batch.id, files)
        except (AuthError, CreditsError, NotFoundError):
            raise
        except ApiError as error:
            if error.status not in {400, 413, 415, 422}:
                raise
            if len(pairs) == 1:
                yield pairs[0].name, Fault(code=error.code, detail=error.detail)
            else:
                half = len(pairs) // 2
                yield from self._offer(pairs[:half])
                yield from self._offer(pairs[half:])
        else:
            for name, called in names.items():
                for refusal in answer.rejected:
                    if refusal.item in {name, *called} and refusal.code != ALREADY_THERE:
                        yield name, Fault(code=refusal.code, detail=refusal.detail)
                        break

    def _names(self, pair: Pair) -> tuple[str, str]:
        """Return the names to send the files under: those the server pairs to this very ``custom_id``."""
        suffix = self._batch.options.mask_suffix
        return (
            pair.name + PurePosixPath(pair.image).suffix,
            pair.name + suffix + PurePosixPath(pair.mask).suffix,
        )

    def _line(self, pair: Pair, contents: tuple[Content, Content]) -> ItemLine:
        return ItemLine(
            name=pair.name,
            batch_id=self._batch.id,
            params=self._batch.options.params,
            image=contents[0],
            mask=contents[1],
        )


def _failed(line: ItemLine, fault: Fault) -> ItemLine:
    return line.model_copy(update={"status": Status.FAILED, "error": fault})
