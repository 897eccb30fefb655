"""Moments as clients write them."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

_BEGINS = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII)


def _written(given: Any) -> Any:
    if isinstance(given, datetime) or (isinstance(given, str) and _BEGINS.match(given)):
        return given
    raise PydanticCustomError("value_error", "not a time such as 2026-03-02T09:30:00Z")


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A time of RFC 3339 with its offset; the numbers that pydantic would also take are not in the document."""
