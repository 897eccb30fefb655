"""Where the links in answers point: to the public address, or else to the one that the client reached us by."""

from typing import Annotated

from fastapi import Depends, Request

from cleanplate import settings


def base_url(request: Request) -> str:
    return settings.get().public_url or str(request.base_url)


BaseUrl = Annotated[str, Depends(base_url)]
