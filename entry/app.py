"""What the entry serves besides BentoML's own endpoints: the page, and other servers' contracts as FastAPI routes."""

from __future__ import annotations

from fastapi import FastAPI

from entry.page.mount import add_page
from sdxl.config import Settings


def make_app(settings: Settings) -> FastAPI:
    """The app that BentoML mounts; its routes appear in BentoML's own /docs.json."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_page(app, settings)
    return app
