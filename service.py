"""The entry service: typed endpoints over the two stages. The work is the runners', the picture file is made here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import bentoml
from _bentoml_impl.tasks import Sqlite3Store
from bentoml.validators import ContentType
from pydantic import Field, RootModel
from starlette.responses import Response

from entry.automatic1111.routes import add_automatic1111_routes, automatic1111_routes
from entry.batch import BATCH_ROUTE, Batches, BatchItem, Work, max_items, results_of
from entry.events import stream
from entry.fleet.fleet import Fleet
from entry.http.app import make_app
from entry.http.gate import add_gate
from entry.http.keys import Keys
from entry.openai.routes import add_openai_routes, openai_routes
from entry.page.mount import add_page, page_path
from entry.pictures import Making, Pictures
from entry.places import Places
from entry.provenance import PROVENANCE_ROUTE, Provenance, provenance_of
from entry.ready import tell_when_ready
from entry.results import PictureResult
from entry.routes import own_routes
from entry.several import answer_of
from entry.tasks import TASK_ROUTE, add_tasks
from runners.access_log import INSTEAD
from runners.base import BaseRunner
from runners.drain import Drain
from runners.ending import prepare_to_serve
from runners.http import ErrorResponse
from runners.log import quiet_libraries
from runners.refiner import RefinerRunner
from runners.runner import LABELS
from runners.server import look_after_server, running_server, url_of
from runners.supervisor import end_with_parent
from sdxl.catalog.start import settings_or_exit
from sdxl.config.settings import ENTRY_NAME
from sdxl.errors import RelayError
from sdxl.request.asked import (
    EditPictures,
    EditStreamRequest,
    GeneratePictures,
    GenerateStreamRequest,
    RefinePictures,
    RefineStreamRequest,
)

HERE = Path(__file__).parent
SETTINGS = settings_or_exit()
FLEET = Fleet(SETTINGS)
DRAIN = Drain(SETTINGS.drain_s)
PICTURES = Pictures(FLEET, SETTINGS)
PLACES = Places(SETTINGS)
BATCHES = Batches(PICTURES.generate, PLACES)
MAX_ITEMS = max_items(SETTINGS)
ROUTES = {**own_routes(SETTINGS, BATCHES), **openai_routes(SETTINGS), **automatic1111_routes(SETTINGS)}
APP = make_app(
    partial(add_openai_routes, pictures=PICTURES, fleet=FLEET, settings=SETTINGS),
    partial(add_automatic1111_routes, pictures=PICTURES, fleet=FLEET, settings=SETTINGS),
    partial(add_page, settings=SETTINGS, fleet=FLEET),
)
# Tasks lie on disk, requests and pictures; BentoML deletes none under a day old, which is gigabytes.
Sqlite3Store.RESULT_RETENTION = 3_600  # seconds from a task's end
Picture = Annotated[Path, ContentType("image/*")]
Upload = Annotated[Path, ContentType("*/*")]  # its first bytes tell: curl, for one, does not know what .webp is
# BentoML cannot take an `Upload | None`, nor the default None in a schema without a warning.
NO_MASK: Any = Field(default_factory=lambda: None)
# The container, for entry and runners alike.
IMAGE = bentoml.images.Image(
    base_image="python:3.11-slim",
    distro="none",  # of those that BentoML knows, into which it installs compilers and git; all packages are wheels
    python_version="3.11",
    python_requirements=(HERE / "requirements.txt").read_text(),
    lock_python_packages=False,
    build_include_paths=["standins"],  # requirements.txt names a package of the project's own
)


class RefineUpload(RefinePictures):
    """`RefinePictures` with the upload: PNG, JPEG or WebP."""

    image: Upload


class EditUpload(EditPictures):
    """`EditPictures` with the upload, and a mask of the same size or none: PNG, JPEG or WebP."""

    image: Upload
    mask: Upload = NO_MASK


class RefineStreamUpload(RefineStreamRequest):
    """A `RefineUpload` with what is to be told meanwhile."""

    image: Upload


class EditStreamUpload(EditStreamRequest):
    """An `EditUpload` with what is to be told meanwhile."""

    image: Upload
    mask: Upload = NO_MASK


class BatchResults(bentoml.IODescriptor, RootModel[list[PictureResult]]):  # type: ignore[misc]
    """The answer to a list of requests."""

    @classmethod
    async def to_http_response(cls, obj: list[Work], _serde: object) -> Response:
        """Waits for the items of one list; BentoML's dispatcher goes on meanwhile."""
        return Response(cls(await results_of(obj)).model_dump_json(), media_type="application/json")


@bentoml.asgi_app(APP, path="/")
@bentoml.service(
    name=ENTRY_NAME,
    workers=1,
    image=IMAGE,
    labels=LABELS,
    # No `envs`: BentoML lets the value of a declared one win over the operator's. The next two are for BentoCloud.
    # Beyond `concurrency`, requests wait in its queue, which BentoML sets where there is a task; 1 is its default.
    resources={"cpu": "1", "memory": "2Gi"},
    traffic={"timeout": SETTINGS.timeout_s + 30, "concurrency": SETTINGS.max_jobs, "external_queue": True},
    **INSTEAD,
)
class SDXLRelay:
    """Makes pictures from prompts (`generate`, `generate_batch`) and from other pictures (`refine`, `edit`)."""

    # A stage without a URL is started on this host. By `SDXL_REFINER`, there may be no refiner.
    if not SETTINGS.base_url:
        base = bentoml.depends(BaseRunner)
    if SETTINGS.has_refiner and not SETTINGS.refiner_url:
        refiner = bentoml.depends(RefinerRunner)

    @bentoml.on_deployment
    def prepare() -> None:  # a static method, which BentoML makes of it
        """Runs in the process that starts those of all services; each stage here has a `prepare` for its own files."""
        prepare_to_serve(SETTINGS, [])

    def __init__(self) -> None:
        end_with_parent()
        quiet_libraries()

    @bentoml.on_startup
    async def start(self) -> None:
        """Begins to look for the runners, and takes over SIGTERM."""
        FLEET.start(
            {stage.name: getattr(SETTINGS, f"{stage.name}_url") or self._started(stage.name) for stage in FLEET.stages}
        )
        server = running_server()
        keys = Keys(SETTINGS.api_keys).names
        told = tell_when_ready(FLEET, lambda: url_of(server), page_path(SETTINGS), keys)
        self._tasks = [look_after_server(server, DRAIN), asyncio.create_task(told)]

    def _started(self, name: str) -> tuple[str]:
        """The address of a runner that BentoML started: set when the dependency is first looked up on an instance."""
        getattr(self, name)
        return (getattr(type(self), name).url,)

    @bentoml.task(route=TASK_ROUTE, input_spec=GeneratePictures)
    async def generate(self, **fields: Any) -> Picture:
        """A picture from a prompt: by the base, then the refiner as the field `refine` says."""
        return await _answer(PICTURES.generations(fields))

    @bentoml.api(route="/generate_stream", input_spec=GenerateStreamRequest)
    async def generate_stream(self, ctx: bentoml.Context, previews: int, **fields: Any) -> AsyncGenerator[str, None]:
        """As `generate`, with its progress: Server-Sent Events queued, progress, preview, result or error."""
        async for part in stream(PICTURES.generations(fields), previews, ctx.response, PLACES):
            yield part

    @bentoml.api(
        route=BATCH_ROUTE,
        output_spec=BatchResults,
        batchable=True,
        max_batch_size=MAX_ITEMS,
        # BentoML answers 503 to a list that waits longer for its call. That takes milliseconds, whatever the load.
        max_latency_ms=int(1_000 * SETTINGS.timeout_s),
    )
    async def generate_batch(
        self, requests: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_ITEMS)]
    ) -> list[Work]:
        """Pictures from prompts, a result for each: the picture in base64, or what was wrong with the request."""
        return BATCHES.start(requests)

    @bentoml.api(route="/refine", input_spec=RefineUpload)
    async def refine(self, image: Path, **fields: Any) -> Picture:
        """A better picture from a picture: by the refiner alone."""
        return await _answer(PICTURES.refinements(image, fields))

    @bentoml.api(route="/refine_stream", input_spec=RefineStreamUpload)
    async def refine_stream(
        self, ctx: bentoml.Context, image: Path, previews: int, **fields: Any
    ) -> AsyncGenerator[str, None]:
        """As `refine`, with its progress: the events of `generate_stream`."""
        async for part in stream(PICTURES.refinements(image, fields), previews, ctx.response, PLACES):
            yield part

    @bentoml.api(route="/edit", input_spec=EditUpload)
    async def edit(self, image: Path, mask: Path | None = None, **fields: Any) -> Picture:
        """A picture changed by a prompt, everywhere or where the mask is white: by the base, then the refiner."""
        return await _answer(PICTURES.edits(image, mask, fields))

    @bentoml.api(route="/edit_stream", input_spec=EditStreamUpload)
    async def edit_stream(
        self, ctx: bentoml.Context, image: Path, previews: int, mask: Path | None = None, **fields: Any
    ) -> AsyncGenerator[str, None]:
        """As `edit`, with its progress: the events of `generate_stream`."""
        async for part in stream(PICTURES.edits(image, mask, fields), previews, ctx.response, PLACES):
            yield part

    @bentoml.api(route=PROVENANCE_ROUTE)
    async def provenance(self, image: Upload) -> Provenance:
        """What a picture says of its making: metadata, watermark, content credentials."""
        return await _or_error(_said_of(image))

    @bentoml.on_shutdown
    async def close(self) -> None:
        """Closes the connections to the runners."""
        await FLEET.close()


async def _answer(makes: list[Making]) -> Any:
    return await _or_error(answer_of(makes, PLACES))


async def _said_of(image: Path) -> Response:
    return (await provenance_of(image, SETTINGS)).as_response()


async def _or_error(answer: Coroutine[Any, Any, Response]) -> Any:
    """Gives every fault its status. BentoML passes a response through as it is."""
    try:
        return await answer
    except RelayError as error:
        return ErrorResponse(error)


add_gate(SDXLRelay, SETTINGS, ROUTES, FLEET.report, DRAIN)
add_tasks(SDXLRelay)
