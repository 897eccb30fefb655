"""Files for the forms that are made from the document: pictures and masks that fit, and bytes that are neither."""

from typing import Any

import schemathesis
from hypothesis import strategies

from tests.pictures import IMAGE, MASK

SOME = (IMAGE, MASK, b"neither")
schemathesis.openapi.format("binary", strategies.sampled_from(SOME))


@schemathesis.hook
def map_query(_context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Let no call wait for longer than its answer is waited for."""
    if query and isinstance(query.get("wait"), int | float) and query["wait"] > 1:
        query["wait"] = 1
    return query
