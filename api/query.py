"""The query of a request, as far as it is the same for every call."""

from collections import Counter

from fastapi import Request

from api.errors import Finding, invalid_fields


def check(request: Request) -> None:
    """Refuse a parameter that is given more than once: only the last would count. Raises :class:`Problem` 422."""
    times = Counter(name for name, _ in request.query_params.multi_items())
    found = [
        Finding(pointer=f"#/query/{name}", code="repeated", detail="given more than once, and only one can count")
        for name, count in times.items()
        if count > 1
    ]
    if found:
        raise invalid_fields(found)
