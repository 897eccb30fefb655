"""``/docs``: the OpenAPI document as a page for people, by the Swagger UI that is installed here.

The files are those of ``fastapi-offline``; nothing else of it is used, for its pages have no policy.
"""

import base64
import hashlib
import re
from typing import Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

router = APIRouter()

LIBRARY: Final = "/docs/library"
FILES: Final = StaticFiles(packages=[("fastapi_offline", "static")])
PAGE: Final = bytes(
    get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Cleanplate",
        swagger_js_url=f"{LIBRARY}/swagger-ui-bundle.js",
        swagger_css_url=f"{LIBRARY}/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"validatorUrl": None},  # else it asks swagger.io what it thinks of the document
    ).body
).decode()


def _policy(page: str) -> str:
    """Return what the page may load and run: its own script, by its hash, and what lies here."""
    inline = (script.encode() for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL))
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in inline]
    return (
        f"default-src 'none'; script-src 'self' {' '.join(hashes)}; style-src 'self' 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


POLICY: Final = _policy(PAGE)


@router.get("/docs", include_in_schema=False)
def show_documentation() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})
