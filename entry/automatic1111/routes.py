"""The routes of AUTOMATIC1111's API that clients need for pictures from prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from entry.answer import PictureFile
from entry.automatic1111.answers import (
    AUTOMATIC1111Error,
    ProgressAnswer,
    Txt2ImgAnswer,
    progress_answer,
    txt2img_answer,
)
from entry.automatic1111.jobs import Jobs
from entry.automatic1111.lists import embedding_items, lora_items, model_items, title_of, vae_items
from entry.automatic1111.requests import OPTIONS, Options, Txt2Img
from entry.automatic1111.samplers import sampler_items, schedule_items
from entry.fleet.fleet import Fleet
from entry.http.keys import shown_key
from entry.http.route import JSON, Route
from entry.pictures import Pictures
from entry.several import all_of, seeds_from
from sdxl.config.settings import Settings
from sdxl.request.fields import MAX_REQUEST_BYTES
from sdxl.request.requests import GenerationRequest

ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": AUTOMATIC1111Error, "description": "An error"}}
TAGS: Any = ["AUTOMATIC1111"]


ROUTES: Mapping[str, Route] = {
    "/sdapi/v1/txt2img": Route(JSON, Txt2Img, MAX_REQUEST_BYTES),
    "/sdapi/v1/options": Route(JSON, Options, MAX_REQUEST_BYTES),
}
"""What the gate checks, by path."""


def add_automatic1111_routes(app: FastAPI, pictures: Pictures, fleet: Fleet, settings: Settings) -> None:
    """Adds them. That a request is as its model says has been checked by the gate."""
    _add_pictures(app, pictures, settings)
    _add_options(app, fleet)
    _add_lists(app, fleet)


def _add_pictures(app: FastAPI, pictures: Pictures, settings: Settings) -> None:
    jobs = Jobs()

    @app.post("/sdapi/v1/txt2img", tags=TAGS, responses={200: {"model": Txt2ImgAnswer}, **ERRORS})
    async def txt2img(wanted: Txt2Img, request: Request) -> Response:
        """Pictures from a prompt."""
        requests = wanted.requests(seeds_from(wanted.first_seed, wanted.count))
        with jobs.running(_caller(request, settings), wanted.count) as job:

            async def make(item: tuple[int, GenerationRequest]) -> PictureFile:
                return await pictures.generate(item[1], job.follower(item[0]))

            made = await job.unless_interrupted(all_of(make, list(enumerate(requests)), settings))
        answer = await asyncio.to_thread(lambda: txt2img_answer(wanted, made).model_dump_json())
        return Response(answer, media_type="application/json")

    @app.get("/sdapi/v1/progress", tags=TAGS, responses=ERRORS)
    async def progress(request: Request, skip_current_image: bool = False) -> ProgressAnswer:
        """The progress of the caller's latest job."""
        job = jobs.latest(_caller(request, settings))
        return await asyncio.to_thread(progress_answer, job, with_image=not skip_current_image)

    @app.post("/sdapi/v1/interrupt", tags=TAGS, responses=ERRORS)
    async def interrupt(request: Request) -> dict[str, Any]:
        """Ends the caller's jobs. Their requests are answered with a 409."""
        jobs.interrupt(_caller(request, settings))
        return {}


def _add_options(app: FastAPI, fleet: Fleet) -> None:
    @app.get("/sdapi/v1/options", tags=TAGS, responses=ERRORS)
    async def options() -> Options:
        """Lists the options."""
        default = fleet.default_model()
        return OPTIONS.model_copy(update={"sd_model_checkpoint": default and title_of(default)})

    @app.post("/sdapi/v1/options", tags=TAGS, responses=ERRORS)
    async def set_options(wanted: Options) -> dict[str, Any]:
        """Refuses every change: the server has many users, and they share its options."""
        fleet.check_default("sd_model_checkpoint", wanted.sd_model_checkpoint)
        return {}


def _add_lists(app: FastAPI, fleet: Fleet) -> None:
    @app.get("/sdapi/v1/sd-models", tags=TAGS, responses=ERRORS)
    async def sd_models() -> list[dict[str, Any]]:
        """Lists the models, for `override_settings.sd_model_checkpoint` and `refiner_checkpoint`."""
        return model_items(fleet.offers)

    @app.get("/sdapi/v1/loras", tags=TAGS, responses=ERRORS)
    async def loras() -> list[dict[str, Any]]:
        """Lists the LoRAs that a prompt may name as `<lora:name:scale>`."""
        return lora_items(fleet.offers)

    @app.get("/sdapi/v1/sd-vae", tags=TAGS, responses=ERRORS)
    async def sd_vae() -> list[dict[str, Any]]:
        """Lists the VAEs. The server's catalog says which model has which."""
        return vae_items(fleet.offers)

    @app.get("/sdapi/v1/embeddings", tags=TAGS, responses=ERRORS)
    async def embeddings() -> dict[str, Any]:
        """Lists the textual inversions that a prompt may name."""
        return embedding_items(fleet.offers)

    async def refresh() -> dict[str, Any]:
        """Looks at once for files that have come or gone; the server does so by itself every few seconds."""
        await fleet.renew()
        return {}

    for kind in ("checkpoints", "loras", "vae", "embeddings"):
        app.post(f"/sdapi/v1/refresh-{kind}", tags=TAGS, responses=ERRORS, name=f"refresh_{kind}")(refresh)

    @app.get("/sdapi/v1/samplers", tags=TAGS, responses=ERRORS)
    async def samplers() -> list[dict[str, Any]]:
        """Lists the samplers."""
        return sampler_items()

    @app.get("/sdapi/v1/schedulers", tags=TAGS, responses=ERRORS)
    async def schedulers() -> list[dict[str, Any]]:
        """Lists the schedules."""
        return schedule_items()


def _caller(request: Request, settings: Settings) -> str:
    """Who asks: without keys, all are the same."""
    return shown_key(request.scope).hex() if settings.api_keys else ""
