"""What the documents say is what the code does."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from api.archive import members
from cleanplate.outcomes import ERROR_MEANINGS, ErrorCode
from cleanplate.settings import Settings
from worker import notify

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def table(first_column: str) -> list[list[str]]:
    """Return the rows of the README's table whose first column has this heading, without the marks of whole cells."""
    (after,) = re.findall(rf"^\| {first_column} \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    return [
        [re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in after.splitlines()
    ]


def shown(default: Any) -> str:
    """Return a default as one would write it into the environment."""
    if default is None or isinstance(default, SecretStr):
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_every_setting_stands_in_the_table_with_its_default_and_what_it_is_for() -> None:
    fields = Settings.model_fields.values()
    expected = [[field.alias, shown(field.default), field.description] for field in fields]
    assert table("variable") == expected


def test_every_setting_says_what_it_is_for_in_a_sentence() -> None:
    for field in Settings.model_fields.values():
        assert re.fullmatch(r"[A-Z].*\.", field.description or ""), field.alias


def test_every_error_code_stands_in_the_table_with_what_it_means() -> None:
    assert table("code") == [[code, ERROR_MEANINGS[code]] for code in ErrorCode]


def test_the_schedule_of_the_webhooks_is_the_one_that_is_told() -> None:
    (told,) = re.findall(r"repeated after ([^.]+)\.", README)
    units = {"s": 1, "min": 60, "h": 3600}
    steps = [int(number) * units[unit] for number, unit in re.findall(r"(\d+)\s+(s|min|h)\b", told)]
    assert steps == [step.total_seconds() for step in notify.SCHEDULE]
    assert f"within {notify.TIMEOUT_SECONDS:g} s" in README


def test_every_make_target_that_a_document_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z]+)", document.read_text(encoding="utf-8")))
        assert named <= targets, document.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_promise_that_is_claimed_to_be_held_has_the_story_that_is_named() -> None:
    told = (ROOT / "docs" / "chaos.md").read_text(encoding="utf-8")
    claimed = {
        (int(number), name)
        for number, stories in re.findall(r"^\| (\d+) \|(?:[^|]*\|){2}([^|]*)\|", told, re.MULTILINE)
        for name in re.findall(r"/(test_\w+\.py)", stories)
    }
    marked = {
        (int(number), path.name)
        for path in (ROOT / "tests" / "journeys").glob("test_*.py")
        for numbers in re.findall(r"^@pytest\.mark\.chaos\(([\d, ]+)\)", path.read_text(encoding="utf-8"), re.MULTILINE)
        for number in numbers.split(",")
    }
    assert claimed == marked
    assert {number for number, _ in claimed} >= {*range(1, 10), *range(11, 21), 22, 26, 27, 28}


def test_everything_that_can_be_wrong_with_an_archive_stands_in_the_guide() -> None:
    told = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    codes = set(members.FAULTS)
    for name in ("archive/directory.py", "archive/records.py", "archive/manifest.py", "incoming.py"):
        source = (ROOT / "api" / name).read_text(encoding="utf-8")
        codes |= set(re.findall(r'(?:rejected\(|reject\(row.at, |, )"((?:manifest_)?[a-z]+_[a-z_0-9]+)"', source))
        codes |= set(re.findall(r'rejected\("(\w+)"', source))
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in told} == set()


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_short_and_says_why_and_with_what_consequence(decision: Path) -> None:
    text = decision.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(decision.name[:4])}. ")
    assert len(text.splitlines()) <= 60
    for part in ("**Context.**", "**Decision.**"):
        assert part in text
