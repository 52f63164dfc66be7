"""The routes of AUTOMATIC1111's API that do something; those that only tell what there is are in `told.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from entry.automatic1111.answers import AUTOMATIC1111Error, PicturesAnswer, ProgressAnswer, progress_answer
from entry.automatic1111.extras import ExtraBatch, ExtraBatchAnswer, ExtraSingle, ExtraSingleAnswer, enlarged
from entry.automatic1111.img2img import Img2Img
from entry.automatic1111.jobs import Jobs
from entry.automatic1111.making import Making
from entry.automatic1111.options import CallersOptions, Options
from entry.automatic1111.png_info import PngInfo, PngInfoAnswer, png_info
from entry.automatic1111.requests import Txt2Img
from entry.automatic1111.told import add_lists
from entry.fleet.fleet import Fleet
from entry.http.route import JSON, Route
from entry.pictures import Pictures
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.request.fields import MAX_REQUEST_BYTES

ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": AUTOMATIC1111Error, "description": "An error"}}
TAGS: Any = ["AUTOMATIC1111"]
PREFIX = "/sdapi/v1"


def automatic1111_routes(settings: Settings) -> Mapping[str, Route]:
    """What the gate checks, by path."""
    with_pictures: dict[str, type[BaseModel]] = {
        "txt2img": Txt2Img,  # some clients send one here, too, in a script that is off
        "img2img": Img2Img,
        "extra-single-image": ExtraSingle,
        "extra-batch-images": ExtraBatch,
        "png-info": PngInfo,
    }
    routes = {name: Route(JSON, model, settings.max_upload_bytes) for name, model in with_pictures.items()}
    routes["options"] = Route(JSON, Options, MAX_REQUEST_BYTES)
    return {f"{PREFIX}/{name}": route for name, route in routes.items()}


def add_automatic1111_routes(app: FastAPI, pictures: Pictures, fleet: Fleet, settings: Settings) -> None:
    """Adds them. That a request is as its model says has been checked by the gate."""
    options, jobs = CallersOptions(fleet, settings), Jobs()
    _add_pictures(app, Making(pictures, options, jobs, settings))
    _add_jobs(app, jobs, options)
    _add_tools(app, options, settings)
    _add_options(app, options)
    add_lists(app, fleet, TAGS, ERRORS)


def _add_pictures(app: FastAPI, making: Making) -> None:
    @app.post(f"{PREFIX}/txt2img", tags=TAGS, responses={200: {"model": PicturesAnswer}, **ERRORS})
    async def txt2img(wanted: Txt2Img, request: Request) -> Response:
        """Pictures from a prompt."""
        return await making.txt2img(wanted, request)

    @app.post(f"{PREFIX}/img2img", tags=TAGS, responses={200: {"model": PicturesAnswer}, **ERRORS})
    async def img2img(wanted: Img2Img, request: Request) -> Response:
        """Pictures from pictures, or from the part of one that a mask shows."""
        return await making.img2img(wanted, request)


def _add_jobs(app: FastAPI, jobs: Jobs, options: CallersOptions) -> None:
    @app.get(f"{PREFIX}/progress", tags=TAGS, responses=ERRORS)
    async def progress(request: Request, skip_current_image: bool = False) -> ProgressAnswer:
        """The progress of the caller's latest job."""
        job = jobs.latest(options.caller(request))
        return await asyncio.to_thread(progress_answer, job, with_image=not skip_current_image)

    async def interrupt(request: Request) -> dict[str, Any]:
        """Ends the caller's jobs. Their requests are answered with the pictures that are finished."""
        jobs.interrupt(options.caller(request))
        return {}

    for name in ("interrupt", "skip"):  # all pictures of a job are at work at once: to skip them is to end it
        app.post(f"{PREFIX}/{name}", tags=TAGS, responses=ERRORS, name=name)(interrupt)


def _add_tools(app: FastAPI, options: CallersOptions, settings: Settings) -> None:
    @app.post(f"{PREFIX}/extra-single-image", tags=TAGS, responses=ERRORS)
    async def extra_single_image(wanted: ExtraSingle, request: Request) -> ExtraSingleAnswer:
        """A larger picture from a picture."""
        output_format = options.of(options.caller(request)).samples_format or "png"
        (image,) = await enlarged(wanted, [(wanted.image, "image")], output_format, settings)
        return ExtraSingleAnswer(html_info="", image=image if wanted.show_extras_results else "")

    @app.post(f"{PREFIX}/extra-batch-images", tags=TAGS, responses=ERRORS)
    async def extra_batch_images(wanted: ExtraBatch, request: Request) -> ExtraBatchAnswer:
        """Larger pictures from pictures."""
        output_format = options.of(options.caller(request)).samples_format or "png"
        texts = [(item.data, f"imageList.{index}.data") for index, item in enumerate(wanted.imageList)]
        images = await enlarged(wanted, texts, output_format, settings)
        return ExtraBatchAnswer(html_info="", images=images if wanted.show_extras_results else [])

    @app.post(f"{PREFIX}/png-info", tags=TAGS, responses=ERRORS)
    async def read_png_info(wanted: PngInfo) -> PngInfoAnswer:
        """What a picture's file says of its making."""
        return await asyncio.to_thread(png_info, wanted, settings)

    @app.post(f"{PREFIX}/interrogate", tags=TAGS, responses=ERRORS)
    async def interrogate() -> None:
        """Refused: no model here describes pictures."""
        raise RelayError(404, "model_not_found", "model: there is none here that describes pictures", field="model")


def _add_options(app: FastAPI, options: CallersOptions) -> None:
    @app.get(f"{PREFIX}/options", tags=TAGS, responses=ERRORS)
    async def caller_options(request: Request) -> dict[str, Any]:
        """Lists the caller's options."""
        return options.shown(options.caller(request))

    @app.post(f"{PREFIX}/options", tags=TAGS, responses=ERRORS)
    async def set_options(wanted: dict[str, Any], request: Request) -> dict[str, Any]:
        """Sets options for the caller's later requests."""
        options.keep(options.caller(request), wanted)
        return {}
