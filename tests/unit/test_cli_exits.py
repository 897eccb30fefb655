import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from cleanplate.cli import main
from cleanplate.cli.exits import MEANINGS, Code, UsageError, end, this_command
from cleanplate.cli.manifest import ManifestError
from cleanplate.cli.run import OutOfCreditsError
from cleanplate.client_errors import AbortedError, UnreachableError, UnusableAnswerError, refusal


def code_of(error: BaseException, **given: bool) -> int:
    def work() -> Code:
        raise error

    with pytest.raises(typer.Exit) as caught:
        end(work, **given)
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("what"), 2),
        (ManifestError("what"), 2),
        (refusal(httpx.Response(404)), 2),
        (refusal(httpx.Response(401)), 3),
        (refusal(httpx.Response(403)), 3),
        (refusal(httpx.Response(402)), 4),
        (OutOfCreditsError("what"), 4),
        (UnreachableError("what"), 5),
        (refusal(httpx.Response(500)), 1),
        (UnusableAnswerError("what"), 1),
        (AbortedError("what"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_end_has_its_code_and_its_words(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(error) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("cleanplate: ")
    assert str(error) in told.err
    assert ("resume with" in told.err) == (code in {3, 4, 5, 130})


def test_a_full_disk_is_told_with_its_place_and_without_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(OSError(28, "No space left on device", "out/a.png")) == 1
    told = capsys.readouterr().err
    assert told.startswith("cleanplate: out/a.png: No space left on device (what was saved stays, and")


def test_what_cannot_be_resumed_does_not_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    code_of(KeyboardInterrupt(), resumable=False)
    assert "resume" not in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_taken_for_a_users() -> None:
    def work() -> Code:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        end(work)


@pytest.fixture
def default_handlers() -> Iterator[None]:
    """Whoever runs the tests may have them ignore a signal, as nohup does."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("default_handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_is_an_interrupt_and_only_while_there_is_work(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> Code:
        os.kill(os.getpid(), number)
        signal.pause()
        return Code.OK

    with pytest.raises(typer.Exit) as caught:
        end(work)
    assert caught.value.exit_code == 130
    assert "resume with" in capsys.readouterr().err
    assert signal.getsignal(number) is signal.SIG_DFL


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(typer.Exit) as caught:
            end(lambda: Code(os.kill(os.getpid(), signal.SIGHUP) or Code.OK))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert caught.value.exit_code == Code.OK


def test_the_command_to_resume_with_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["erase", "my photos", "--out", "it's out"]
    monkeypatch.setattr(sys, "argv", ["/venv/bin/cleanplate", *arguments])
    assert shlex.split(this_command()) == ["/venv/bin/cleanplate", *arguments]
    module = str(Path("cleanplate", "__main__.py"))
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    assert shlex.split(this_command()) == [sys.executable, "-m", "cleanplate", *arguments]


@pytest.mark.parametrize("command", ["erase", "watch", "download"])
def test_every_exit_code_is_in_the_readme_and_the_help_with_its_meaning(command: str) -> None:
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())
    shown = " ".join(CliRunner().invoke(main, [command, "--help"]).stdout.split())
    for code in Code:
        assert f"{code:d} {MEANINGS[code]}" in readme
        assert f"{code:d} {MEANINGS[code]}" in shown
