"""The API's reference as a page at /docs: Swagger's, from files that BentoML serves. It asks no other server."""

from __future__ import annotations

from functools import cache

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import RedirectResponse, Response

DOCS_PATH = "/docs"
ASSETS = "static_content"  # BentoML's folder of Swagger's files
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' blob: data:; frame-ancestors 'self'; object-src 'none'"
    ),
    "referrer-policy": "no-referrer",
}


@cache
def docs_page() -> Response:
    """The page. Its links are relative: a proxy may have put a path before."""
    page = get_swagger_ui_html(
        openapi_url="docs.json",
        title="SDXL Relay: API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon-light-32x32.png",
    )
    page.headers.update(HEADERS)
    return page


def to_docs(link: str) -> Response:
    """To the reference: from /, in place of BentoML's own page, which loads scripts from elsewhere, and from /docs/."""
    return RedirectResponse(link)
