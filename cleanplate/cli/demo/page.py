"""The contact sheet as one HTML file that asks nothing of any network: pictures, style and script are in it."""

import base64
import hashlib
import html
import io
import re
from importlib import resources
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Self

from PIL import Image

from cleanplate.cli.demo.views import View

_QUALITY = 86


class Page:
    """Written photograph by photograph, so that a large batch is never in memory; close it, or use it in a ``with``."""

    def __init__(self, path: Path, title: str, subtitle: str) -> None:
        parts = _parts()
        self._erased, self._failed, self._foot = parts["erased"], parts["failed"], parts["foot"]
        (script,) = re.findall(r"<script>(.*?)</script>", parts["foot"].template, re.DOTALL)
        allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        self._file = path.open("w", encoding="utf-8")
        self._file.write(
            parts["head"].substitute(
                title=html.escape(title), subtitle=html.escape(subtitle), script_hash=f"sha256-{allowed}"
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self._file.write(self._foot.template)

    def add(self, name: str, note: str, view: View) -> None:
        before = view.before or Image.new("RGB", (400, 300), "#e8e6e1")
        template = self._failed if view.after is None else self._erased
        self._file.write(
            template.substitute(
                name=html.escape(name),
                note=html.escape(note),
                coverage=f"{view.coverage:.1%}",
                width=before.width,
                height=before.height,
                aspect=f"{before.width / before.height:.4f}",
                before=_embedded(before),
                after=_embedded(view.after) if view.after else "",
                outline=" ".join("M" + " ".join(f"{x},{y}" for x, y in line) + "Z" for line in view.outlines()),
            )
        )


def _parts() -> dict[str, Template]:
    text = resources.files("cleanplate.cli.demo").joinpath("sheet.html").read_text("utf-8")
    pieces = re.split(r"<!-- (\w+) -->\n", text)
    return {name: Template(body) for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def _embedded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
