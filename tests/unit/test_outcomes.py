import dataclasses
from typing import Any, get_args

import pytest

from cleanplate import outcomes
from cleanplate.outcomes import ERROR_MEANINGS, ErrorCode

UNIONS = (
    outcomes.SubmitOutcome,
    outcomes.PollOutcome,
    outcomes.DownloadFailure,
    outcomes.FinalizeOutcome,
    outcomes.ImportOutcome,
    outcomes.NotifyOutcome,
)
OUTCOMES = sorted({kind for union in UNIONS for kind in get_args(union)}, key=lambda kind: kind.__name__)


def test_every_error_code_has_a_meaning_for_people() -> None:
    assert list(ERROR_MEANINGS) == list(ErrorCode)
    assert all(meaning.endswith(".") for meaning in ERROR_MEANINGS.values())


def test_every_outcome_belongs_to_a_step() -> None:
    defined = {kind for kind in vars(outcomes).values() if dataclasses.is_dataclass(kind)}
    assert defined == set(OUTCOMES)


@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_outcome_cannot_be_changed(kind: Any) -> None:
    outcome = kind(*(None for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING))
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(outcome, field.name, 1)
    assert outcome == kind(*(getattr(outcome, field.name) for field in dataclasses.fields(kind)))
