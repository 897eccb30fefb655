"""The examples of the documents, to be run."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide.md"


@dataclass(frozen=True)
class Block:
    """A block of code: the heading that it stands under, its language, its text and the line it begins on."""

    heading: str
    language: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    """Return the document's blocks of code in their order."""
    text = document.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in re.finditer(r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            found.append(Block(heading, match[2], match[3], text.count("\n", 0, match.start()) + 2))
    return found


def block(heading: str, language: str) -> str:
    """Return the text of the guide's one block of that language under that heading."""
    (found,) = [one for one in blocks(GUIDE) if (one.heading, one.language) == (heading, language)]
    return found.text
