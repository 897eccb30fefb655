"""Files for the forms that are made from the document: pictures and masks that fit, and bytes that are neither."""

import itertools
from contextlib import suppress
from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis.generation.meta import TestPhase

from tests.pictures import IMAGE, MASK

LONGEST_SECONDS = 60
SOME = (IMAGE, MASK, b"neither")
KEY = "Idempotency-Key"
numbers = itertools.count()
schemathesis.openapi.format("binary", strategies.sampled_from(SOME))


@schemathesis.hook
def before_call(_context: Any, case: schemathesis.Case, **_kwargs: Any) -> None:
    """Let no call wait for a minute for what does not happen, nor along links be told what an earlier one has made.

    It would be under the same key, and may have been deleted since: what was just created would seem not to be there.
    """
    with suppress(KeyError, TypeError, ValueError):
        if case.query and 1 < float(case.query["wait"]) <= LONGEST_SECONDS:
            case.query["wait"] = 1
    if case.meta and case.meta.phase.name == TestPhase.STATEFUL and case.headers and case.headers.get(KEY):
        case.headers[KEY] = f"{case.headers[KEY]}{next(numbers)}"
