import io

import pytest
from rich.console import Console

from cleanplate.cli import progress as module
from cleanplate.cli.progress import Pace, Progress, Standing


def plain() -> tuple[Progress, io.StringIO]:
    text = io.StringIO()
    return Progress("erasing", Console(file=text, width=200)), text


def test_standing_in_words_names_only_what_there_is() -> None:
    assert Standing(total=9, unsent=1, queued=2, processing=3, saving=1, failed=2).words() == (
        "1 to upload, 2 queued, 3 processing, 1 to save, 2 failed"
    )
    assert Standing(total=9, settled=9).words() == ""


def test_the_pace_is_that_of_the_last_half_minute() -> None:
    pace = Pace()
    for second in range(100):
        pace.take(max(0, second - 50) * 2, float(second))
    assert pace.rate == pytest.approx(2.0)
    assert pace.words(Standing(total=218, settled=98)) == "2.0/s  ETA 1:00"


def test_before_the_first_picture_the_servers_estimate_counts() -> None:
    pace = Pace()
    pace.take(0, 0.0)
    pace.take(0, 1.0)
    assert pace.words(Standing(total=3000, eta_seconds=3723.0)) == "ETA 1:02:03"


def test_without_a_terminal_lines_are_few_and_the_last_one_always_comes() -> None:
    progress, text = plain()
    with progress:
        for settled in range(101):
            progress.show(Standing(total=100, settled=settled))
    lines = text.getvalue().splitlines()
    assert lines[0].startswith("erasing 0/100")
    assert lines[-1].startswith("erasing 100/100")
    assert len(lines) == 2


def test_without_a_terminal_one_kind_of_trouble_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    progress, text = plain()
    for left in range(120, 0, -1):
        progress.note(f"away; trying for another {left} s")
        progress.note(None)
        now += 1
    progress.note("the upstream is paused")
    assert text.getvalue().count("away") == 2
    assert text.getvalue().count("paused") == 1


def test_on_a_terminal_there_is_a_bar_with_states_pace_and_trouble_below() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, height=20, legacy_windows=False)
    with Progress("erasing", console) as progress:
        progress.note("the upstream is paused")
        progress.show(Standing(total=40, settled=10, queued=6, processing=24, eta_seconds=60.0))
        progress.say("red [shoe]: content_moderated")
    shown = text.getvalue()
    for part in ("erasing", "10/40", "6 queued, 24 processing", "ETA 1:00", "the upstream is paused", "red [shoe]"):
        assert part in shown


def test_nothing_to_do_shows_nothing() -> None:
    progress, text = plain()
    with progress:
        progress.show(Standing(total=0))
    assert text.getvalue() == ""
