"""``/docs``: the OpenAPI document as a page for people."""

import base64
import hashlib
import re
from typing import Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

router = APIRouter()

PAGE: Final = bytes(
    get_swagger_ui_html(openapi_url="/openapi.json", title="Cleanplate", swagger_favicon_url="data:,").body
).decode()


def _policy(page: str) -> str:
    """Return what the page may load and run: its own script, by its hash, and Swagger UI from where it lies."""
    inline = (script.encode() for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL))
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in inline]
    library = "https://cdn.jsdelivr.net/npm/"
    return (
        f"default-src 'none'; script-src {library} {' '.join(hashes)}; style-src {library} 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


POLICY: Final = _policy(PAGE)


@router.get("/docs", include_in_schema=False)
def show_documentation() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})
