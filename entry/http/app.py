"""What the entry serves besides BentoML's own endpoints: the page, and other servers' contracts as FastAPI routes."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from entry.http.contracts import AUTOMATIC1111, OPENAI, error_answer
from entry.http.own_errors import wrong_method
from entry.http.paths import no_such_path
from sdxl.errors import RelayError, invalid_field

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def make_app(*adders: Callable[[FastAPI], object]) -> FastAPI:
    """The app that BentoML mounts, with the routes that each of `adders` adds; they appear in BentoML's /docs.json."""
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        strict_content_type=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for add_to in adders:
        add_to(app)
    for prefix in (OPENAI, AUTOMATIC1111):  # last, for what none of the routes above takes
        app.add_api_route(f"{prefix}{{rest:path}}", _refuse, methods=METHODS, include_in_schema=False)
    app.add_exception_handler(RelayError, _relay_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _internal)
    return app


async def _refuse(request: Request) -> Response:
    path = request.url.path
    others = [route for route in request.app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
    if not others:
        raise no_such_path(path, [route.path for route in request.app.routes])
    return wrong_method(
        path, request.method, ", ".join(sorted({method for route in others for method in route.methods}))
    )


async def _relay_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RelayError)
    return error_answer(request.url.path, error)


async def _invalid(request: Request, error: Exception) -> Response:
    """Of a path or a query, which the gate does not look at."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return error_answer(request.url.path, invalid_field(str(first["loc"][-1]), first.get("input"), first["msg"]))


async def _internal(request: Request, error: Exception) -> Response:
    """Starlette raises it again once the answer has been sent, so that it is logged."""
    return error_answer(
        request.url.path, RelayError(500, "internal", f"the server is at fault: {type(error).__name__}")
    )
