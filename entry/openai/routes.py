"""The routes of OpenAI's Images API, and of its list of models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
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
from entry.http.paths import PICTURES
from entry.http.route import FORM, JSON, Route, parse_form
from entry.http.schemas import EVENTS, PICTURE
from entry.http.upload import Original, read_original
from entry.openai.answers import ImagesAnswer, OpenAIError, completed_event, images_answer, partial_event
from entry.openai.forms import edit_form_schema, form_fields, form_files, left_out
from entry.openai.links import Links
from entry.openai.models import ModelNames
from entry.openai.requests import ImageEdit, ImageGeneration
from entry.pictures import Pictures
from entry.several import all_of, seeds_from
from sdxl.config.settings import Settings
from sdxl.errors import RelayError, invalid_field
from sdxl.picture.image import encode_preview
from sdxl.request.fields import MAX_REQUEST_BYTES

Make = Callable[[Any, Follower], Awaitable[PictureFile]]
PICTURE_HEADERS = {"cache-control": "private", "x-content-type-options": "nosniff"}
ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": OpenAIError, "description": "An error"}}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ImagesAnswer,
        "description": "The pictures; with `stream`, Server-Sent Events instead",
        "content": EVENTS,
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
    names, links = ModelNames(fleet, settings), Links(settings)

    @app.post("/v1/images/generations", tags=["OpenAI"], responses=STREAM)
    async def create_image(request: Request, wanted: ImageGeneration) -> Response:
        """Pictures from a prompt. A client may ask for any of OpenAI's models: the answer says which one it was."""
        requests = wanted.requests(seeds_from(wanted.seed, wanted.count), names.ours(wanted.model))
        job = _Job(wanted=wanted, requests=requests, make=pictures.generate, link=_link(wanted, links, request))
        return await _answer(job, settings)

    @app.post("/v1/images/edits", tags=["OpenAI"], responses=STREAM, openapi_extra=EDIT_BODY)
    async def edit_image(request: Request) -> Response:
        """A picture changed by a prompt: where the mask is transparent (or white, if nothing is), or everywhere."""
        form = await parse_form(request.scope, await request.body())
        wanted = ImageEdit.model_validate(form_fields(form))
        image, mask = await form_files(form)
        original = await asyncio.to_thread(_original, image, mask, wanted.size_px, settings)
        job = _Job(
            wanted=wanted,
            requests=wanted.requests(seeds_from(wanted.seed, wanted.count), names.ours(wanted.model)),
            make=partial(pictures.edit_original, original),
            link=_link(wanted, links, request),
            warnings=left_out(form),
            headers={} if original.scaled is None else {"x-scaled": original.scaled},
        )
        return await _answer(job, settings)

    @app.post("/v1/images/variations", include_in_schema=False)
    async def create_variation() -> Response:
        """Refuses: SDXL has no encoder of pictures, and img2img without a prompt only blurs."""
        message = "there is no /v1/images/variations here: SDXL needs a prompt; send one to /v1/images/edits"
        raise RelayError(404, "unknown_path", message)

    @app.get(f"{PICTURES}{{name}}", tags=["OpenAI"], responses={200: {"content": PICTURE}}, response_class=Response)
    async def fetch_picture(name: str) -> Response:
        """A picture that was asked for as a URL."""
        kept = links.get(name)
        if kept is None:
            raise RelayError(
                404, "not_found", f"there is no such picture, or no more: each has {settings.url_keep_s:g} s"
            )
        return Response(kept.data, media_type=kept.media_type, headers=PICTURE_HEADERS)

    @app.get("/v1/models", tags=["OpenAI"], responses=ERRORS)
    async def list_models() -> dict[str, Any]:
        """Lists the models."""
        names = each_once(model for offer in fleet.base.offers for model in offer.models)
        return {"object": "list", "data": [_as_model(model.name) for model in names]}

    @app.get("/v1/models/{name:path}", tags=["OpenAI"], responses=ERRORS)
    async def retrieve_model(name: str) -> dict[str, Any]:
        """One model by its name."""
        found = model_named(names.ours(name), fleet.base.offers)
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


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A request, with what it takes to answer it."""

    wanted: ImageGeneration | ImageEdit
    requests: list[Any]  # of ours, one for each picture
    make: Make
    link: Callable[[PictureFile], str] | None
    warnings: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def _link(wanted: ImageGeneration | ImageEdit, links: Links, request: Request) -> Callable[[PictureFile], str] | None:
    """What makes the URLs of an answer that has them. Raises RelayError (400) where there are none."""
    if not wanted.wants_urls:
        return None
    if links.are_given:
        return partial(links.link, request=request)
    if wanted.response_format == "url":
        raise invalid_field(
            "response_format", "url", "b64_json, for this server keeps no pictures (SDXL_URL_KEEP_MB=0)"
        )
    return None


async def _answer(job: _Job, settings: Settings) -> Response:
    wanted, requests = job.wanted, job.requests
    if wanted.stream:
        told = events(partial(job.make, requests[0]), wanted.partial_images or 0)
        return await _stream(wanted, told, {"x-seed": str(requests[0].seed), **job.headers})
    made = await all_of(lambda request: job.make(request, Follower()), requests, settings)
    urls = [job.link(picture) for picture in made] if job.link else []
    answer = await asyncio.to_thread(
        lambda: images_answer(wanted, made, job.warnings, urls).model_dump_json(exclude_none=True)
    )
    return Response(answer, media_type="application/json", headers=job.headers)


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
