"""What the entry serves besides BentoML's own endpoints: other servers' contracts, as FastAPI routes."""

from __future__ import annotations

from fastapi import FastAPI


def make_app() -> FastAPI:
    """The app that BentoML mounts; its routes appear in BentoML's own /docs.json."""
    return FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
