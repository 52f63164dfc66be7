"""The routes of OpenAI's Images API, and of its list of models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from entry.answer import PictureFile
from entry.events import HEARTBEAT, STREAM_HEADERS, Event, events, server_sent
from entry.fleet.fleet import Fleet
from entry.fleet.names import each_once, model_named
from entry.fleet.progress import Follower, Progress
from entry.http.contracts import openai_error
from entry.http.route import FORM, JSON, Route, parse_form
from entry.http.upload import Original, read_original
from entry.openai.answers import ImagesAnswer, OpenAIError, completed_event, images_answer, partial_event
from entry.openai.forms import edit_form_schema, form_fields, form_files
from entry.openai.requests import ImageEdit, ImageGeneration
from entry.pictures import Pictures
from entry.several import all_of, seeds_from
from sdxl.config.settings import Settings
from sdxl.errors import RelayError, invalid_field
from sdxl.picture.image import encode_preview
from sdxl.request.fields import MAX_REQUEST_BYTES

Make = Callable[[Any, Follower], Awaitable[PictureFile]]
ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": OpenAIError, "description": "An error"}}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ImagesAnswer,
        "description": "The pictures; with `stream`, Server-Sent Events instead",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **ERRORS,
}

EDIT_BODY = {"requestBody": {"required": True, "content": {FORM: {"schema": edit_form_schema()}}}}


def openai_routes(settings: Settings) -> Mapping[str, Route]:
    """What the gate checks, by path."""
    return {
        "/v1/images/generations": Route(JSON, ImageGeneration, MAX_REQUEST_BYTES),
        "/v1/images/edits": Route(FORM, ImageEdit, settings.max_upload_bytes, read_fields=form_fields),
    }


def add_openai_routes(app: FastAPI, pictures: Pictures, fleet: Fleet, settings: Settings) -> None:
    """Adds them. That a request is as its model says has been checked by the gate."""

    @app.post("/v1/images/generations", tags=["OpenAI"], responses=STREAM)
    async def create_image(wanted: ImageGeneration) -> Response:
        """Pictures from a prompt. A client may ask for any of OpenAI's models: the answer says which one it was."""
        seeds = seeds_from(wanted.seed, wanted.count)
        return await _answer(wanted, wanted.requests(seeds), pictures.generate, settings)

    @app.post("/v1/images/edits", tags=["OpenAI"], responses=STREAM, openapi_extra=EDIT_BODY)
    async def edit_image(request: Request) -> Response:
        """A picture changed by a prompt: where the mask is transparent (or white, if nothing is), or everywhere."""
        form = await parse_form(request.scope, await request.body())
        wanted = ImageEdit.model_validate(form_fields(form))
        image, mask = await form_files(form)
        original = await asyncio.to_thread(_original, image, mask, wanted.size_px, settings)
        requests = wanted.requests(seeds_from(wanted.seed, wanted.count))
        headers = {} if original.scaled is None else {"x-scaled": original.scaled}
        return await _answer(wanted, requests, partial(pictures.edit_original, original), settings, headers)

    @app.get("/v1/models", tags=["OpenAI"], responses=ERRORS)
    async def list_models() -> dict[str, Any]:
        """Lists the models."""
        names = each_once(model for offer in fleet.base.offers for model in offer.models)
        return {"object": "list", "data": [_as_model(model.name) for model in names]}

    @app.get("/v1/models/{name:path}", tags=["OpenAI"], responses=ERRORS)
    async def retrieve_model(name: str) -> dict[str, Any]:
        """One model by its name."""
        found = model_named(name, fleet.base.offers)
        return _as_model(found.name if found else name)


def _as_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sdxl-relay"}


def _original(image: bytes, mask: bytes | None, size_px: tuple[int, int] | None, settings: Settings) -> Original:
    """An edit's files, in the size that the result is to have: the picture's own, unless it is given."""
    if size_px is not None and size_px[0] * size_px[1] > settings.max_pixels:
        size = f"{size_px[0]}x{size_px[1]}"
        raise invalid_field("size", size, f"width x height of at most {settings.max_pixels} pixels together")
    original = read_original(image, settings, mask, "transparent")
    return original if size_px is None else original.fitted(size_px)


async def _answer(
    wanted: ImageGeneration | ImageEdit,
    requests: list[Any],
    make: Make,
    settings: Settings,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    if wanted.stream:
        told = events(partial(make, requests[0]), wanted.partial_images or 0)
        return await _stream(wanted, told, {"x-seed": str(requests[0].seed), **headers})
    made = await all_of(lambda request: make(request, Follower()), requests, settings)
    answer = await asyncio.to_thread(lambda: images_answer(wanted, made).model_dump_json())
    return Response(answer, media_type="application/json", headers=headers)


async def _stream(
    wanted: ImageGeneration | ImageEdit, told: AsyncGenerator[Event, None], headers: dict[str, str]
) -> Response:
    """What is refused at once has no stream, but a status of its own."""
    first = await anext(told)
    if isinstance(first, RelayError):
        raise first

    async def parts() -> AsyncGenerator[str, None]:
        async with aclosing(told):
            partials = 0
            async for event in _all(first, told):
                if part := await _as_server_sent(wanted, event, partials):
                    yield part
                partials += isinstance(event, Progress) and event.preview is not None

    return StreamingResponse(parts(), headers={**STREAM_HEADERS, **headers})


async def _all(first: Event, others: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    yield first
    async for event in others:
        yield event


async def _as_server_sent(wanted: ImageGeneration | ImageEdit, event: Event, partials: int) -> str:
    """Empty for what OpenAI's streams do not tell."""
    match event:
        case None:
            return HEARTBEAT
        case Progress():
            if event.preview is None:
                return ""
            data = await asyncio.to_thread(encode_preview, event.preview, output_format=wanted.format)
            content = partial_event(wanted, partials, event.preview, data)
        case PictureFile():
            content = completed_event(wanted, event)
        case RelayError():
            return server_sent("error", {"type": "error", **openai_error(event)})
    return server_sent(content["type"], content)
