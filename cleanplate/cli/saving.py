"""Saves results in the output folder, and never over a file that was not saved there by this command."""

from pathlib import PurePosixPath
from typing import Final

from cleanplate.cli.manifest import Content, Fault, ItemLine, Manifest, SavingLine
from cleanplate.client import Client
from cleanplate.client_errors import ApiError, AuthError, UnusableAnswerError
from cleanplate.resources import Job

EXTENSIONS: Final = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
LONGEST_BYTES: Final = 240
"""Of one name in a path: file systems take 255, of which some are left for an extension and for ``.part``."""


def place(name: str, output_format: str, instead: str) -> str:
    """Return where below the folder a result goes: by its name, or ``instead`` when that would lead elsewhere."""
    path = PurePosixPath(name)
    short = all(len(part.encode()) <= LONGEST_BYTES for part in path.parts)
    harmless = short and name.isprintable() and not path.is_absolute() and ".." not in path.parts and path.name
    return (str(path) if harmless else instead) + EXTENSIONS[output_format]


def save(client: Client, manifest: Manifest, line: ItemLine, job: Job) -> ItemLine:
    """Download a result, in a thread; what cannot be had is told in ``error``, and a rerun tries it again.

    A result that somebody has changed since it was saved stays as it is (``changed``).
    """
    if not job.result:
        return line
    output = place(line.name, job.params.output_format, job.id)
    path = manifest.out / output
    if line.output == output and line.content and line.content.is_still_in(path):
        return line
    wanted = Content(sha256=job.result.sha256, bytes=job.result.bytes)
    saved = line.model_copy(update={"error": None, "output": output, "content": wanted, "changed": False})
    if not wanted.is_still_in(path):
        if path.exists() and not manifest.is_saved(output):
            if manifest.was_saved(output, wanted):
                return saved.model_copy(update={"changed": True})
            detail = f"{path} is there already and was not saved by this command; move it away and run this again"
            return line.model_copy(update={"error": Fault(code="file_exists", detail=detail)})
        try:
            manifest.write(SavingLine(output=output, content=wanted))
            client.download(job, path)
        except AuthError:
            raise
        except OSError as error:
            error.filename = error.filename or str(path)  # a write does not know its file
            raise
        except (ApiError, UnusableAnswerError) as error:
            return line.model_copy(update={"error": Fault(code="download_failed", detail=str(error))})
    content = wanted.model_copy(update={"mtime_ns": path.stat().st_mtime_ns})
    return saved.model_copy(update={"content": content, "outside_mask_max_delta": job.result.outside_mask_max_delta})
