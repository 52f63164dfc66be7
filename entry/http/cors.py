"""Which web pages may call the server, and read what it answers: Starlette's middleware, with our errors."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Send

from runners.http import ErrorResponse
from runners.noted import REQUEST_ID
from sdxl.config.settings import Settings
from sdxl.errors import invalid_field

ALWAYS_READABLE = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}


class Cors(CORSMiddleware):
    """To stand before the gate: errors need the headers, and a preflight can show no key.

    Pages send keys in a header, never as a browser's own credentials. So there are no cookies to protect, and `*`
    gives no page more than what its user has.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,  # a page on the internet, and this server on a desk: its owner has allowed it
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser's question before it calls."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400 or self.is_allowed_origin(request_headers["origin"]):
            return answer
        refused = ErrorResponse(invalid_field("origin", request_headers["origin"], "the origins of SDXL_CORS_ORIGINS"))
        refused.headers["vary"] = answer.headers["vary"]
        return refused

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Lets the page read all headers of an answer, whichever those are."""
        if message["type"] == "http.response.start" and "origin" in request_headers:
            headers = MutableHeaders(scope=message)
            exposed = {name for name in headers if name not in ALWAYS_READABLE} | {REQUEST_ID}
            headers["access-control-expose-headers"] = ", ".join(sorted(exposed))
        await super().send(message, send, request_headers)
