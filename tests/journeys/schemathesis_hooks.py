"""Files for the forms that are made from the document: pictures and masks that fit, and bytes that are neither."""

from contextlib import suppress
from typing import Any

import schemathesis
from hypothesis import strategies

from tests.pictures import IMAGE, MASK

LONGEST_SECONDS = 60
SOME = (IMAGE, MASK, b"neither")
schemathesis.openapi.format("binary", strategies.sampled_from(SOME))


@schemathesis.hook
def before_call(_context: Any, case: schemathesis.Case, **_kwargs: Any) -> None:
    """Let no call that is made in any phase wait for what does not happen: for a minute, if that is drawn."""
    with suppress(KeyError, TypeError, ValueError):
        if case.query and 1 < float(case.query["wait"]) <= LONGEST_SECONDS:
            case.query["wait"] = 1
