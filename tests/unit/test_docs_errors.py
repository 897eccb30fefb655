"""``docs/errors.md`` lists what the code can say, with the right status and, where the code has words, in those."""

import re
from collections import defaultdict

from cleanplate.imaging.faults import IMAGE_FAULTS, WARNINGS
from tests import codes
from tests.guide import ROOT

TEXT = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def rows(heading: str, first_column: str) -> list[list[str]]:
    """Return the cells of the table with that first column under that heading, without marks and full stops."""
    (part,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    (table,) = re.findall(rf"^\| {first_column} \|.*\n\|[-| ]+\|\n((?:\|.*\n?)+)", part, re.MULTILINE)
    return [[cell.strip(" `").removesuffix(".") for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_every_problem_is_listed_once_with_its_status() -> None:
    listed = defaultdict(set)
    for code, status, meaning in rows("Problems", "code"):
        assert meaning
        assert code not in listed
        listed[code].add(int(status))
    by_the_framework = {"method_not_allowed": {405}}
    assert listed == codes.problems() | by_the_framework


def test_every_fault_of_a_picture_is_listed_in_its_own_words() -> None:
    assert rows("Pictures", "code") == [[code, str(kind.status), kind.title] for code, kind in IMAGE_FAULTS.items()]


def test_every_warning_is_listed_in_its_own_words() -> None:
    assert rows("Pictures", "warning") == [[code, words] for code, words in WARNINGS.items()]


def test_every_code_of_an_item_and_of_an_address_is_listed() -> None:
    assert {code for code, _ in rows("Items", "item")} == codes.rejections()
    assert {code for code, _ in rows("Addresses", "address")} == codes.addresses()
