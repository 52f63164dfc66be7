"""The entry service: typed endpoints over the two stages. The work is the runners', the picture file is made here."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import bentoml
from bentoml.validators import ContentType
from pydantic import Field, RootModel
from starlette.responses import Response

from entry.answer import PictureFile, Stopwatch, picture_file
from entry.batch import BATCH_ROUTE, Batches, BatchItem, BatchResult, Work, max_items, results_of
from entry.fleet import Fleet
from entry.gate import add_gate
from entry.provenance import PROVENANCE_ROUTE, Provenance, provenance_of
from entry.upload import picture_frame
from runners.drain import Drain
from runners.http import error_response
from runners.server import look_after_server
from sdxl.config import ENTRY_NAME, Settings
from sdxl.credentials import Credentials
from sdxl.errors import RelayError
from sdxl.limits import LIMITS
from sdxl.request import MAX_SEED, GenerationRequest, RefineRequest

SETTINGS = Settings.or_exit()
CREDENTIALS = Credentials.or_exit(SETTINGS)
FLEET = Fleet(SETTINGS)
DRAIN = Drain(SETTINGS.drain_s)
MAX_ITEMS = max_items(SETTINGS)
Picture = Annotated[Path, ContentType("image/*")]
Upload = Annotated[Path, ContentType("*/*")]  # its first bytes tell: curl, for one, does not know what .webp is
# What distinguishes a container's installation: requirements.txt names a package of the project's own.
IMAGE = bentoml.images.Image().build_include("standins")
Request = TypeVar("Request", GenerationRequest, RefineRequest)


class RefineUpload(RefineRequest):
    """A `RefineRequest` with its picture: PNG, JPEG or WebP."""

    image: Upload


class BatchResults(bentoml.IODescriptor, RootModel[list[BatchResult]]):  # type: ignore[misc]
    """The answer to a list of requests."""

    @classmethod
    async def to_http_response(cls, obj: list[Work], _serde: object) -> Response:
        """Waits for the items of one list; BentoML's dispatcher goes on meanwhile."""
        return Response(cls(await results_of(obj)).model_dump_json(), media_type="application/json")


@bentoml.service(name=ENTRY_NAME, workers=1, image=IMAGE, traffic={"timeout": SETTINGS.timeout_s + 30})
class SDXLRelay:
    """Makes pictures from prompts (`generate`, `generate_batch`), and better pictures from pictures (`refine`)."""

    # A stage without a URL is started on this host; only for that are the runners, and torch, imported.
    if not SETTINGS.base_url:
        from runners.base import BaseRunner

        base = bentoml.depends(BaseRunner)
    if not SETTINGS.refiner_url:
        from runners.refiner import RefinerRunner

        refiner = bentoml.depends(RefinerRunner)

    def __init__(self) -> None:
        self.batches = Batches(self._generate, SETTINGS)

    @bentoml.on_startup
    async def start(self) -> None:
        """Begins to look for the runners, and takes over SIGTERM."""
        FLEET.start(SETTINGS.base_url or self._started("base"), SETTINGS.refiner_url or self._started("refiner"))
        self._looking = look_after_server(DRAIN)

    def _started(self, name: str) -> tuple[str]:
        """The address of a runner that BentoML started: set when the dependency is first looked up on an instance."""
        getattr(self, name)
        return (getattr(type(self), name).url,)

    @bentoml.api(route="/generate", input_spec=GenerationRequest)
    async def generate(self, **fields: Any) -> Picture:
        """A picture from a prompt: by the base, then the refiner as the field `refine` says."""
        return await _answer(self._generate(GenerationRequest(**fields)))

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
        return self.batches.start(requests)

    @bentoml.api(route="/refine", input_spec=RefineUpload)
    async def refine(self, image: Path, **fields: Any) -> Picture:
        """A better picture from a picture: by the refiner alone."""
        return await _answer(self._refine(image, RefineRequest(**fields)))

    @bentoml.api(route=PROVENANCE_ROUTE)
    async def provenance(self, image: Upload) -> Provenance:
        """What a picture says of its making: metadata, watermark, content credentials."""
        return await _answer(provenance_of(image, SETTINGS))

    @bentoml.on_shutdown
    async def close(self) -> None:
        """Closes the connections to the runners."""
        await FLEET.close()

    async def _generate(self, request: GenerationRequest) -> PictureFile:
        request, limits, watch = _with_seed(request), LIMITS.get(), Stopwatch()
        payload = request.model_dump_json().encode()
        results = [await watch.stage("base", FLEET.base.call("run", payload, limits, is_patient=False))]
        if results[0].meta.get("handoff"):
            call = FLEET.refiner.call("run", results[0].body, limits, is_patient=True)
            results.append(await watch.stage("refiner", call))
        return await picture_file(request, results, watch, CREDENTIALS)

    async def _refine(self, image: Path, request: RefineRequest) -> PictureFile:
        request, limits, watch = _with_seed(request), LIMITS.get(), Stopwatch()
        upload = await watch.in_thread("picture", lambda: picture_frame(image, request, SETTINGS))
        call = FLEET.refiner.call("refine", upload.encode(), limits, is_patient=False)
        result = await watch.stage("refiner", call)
        return await picture_file(request, [result], watch, CREDENTIALS, upload=image)


async def _answer(work: Coroutine[Any, Any, PictureFile | Provenance]) -> Any:
    """Gives every fault its status. BentoML passes a response through as it is."""
    try:
        return (await work).as_response()
    except RelayError as error:
        return error_response(error)


def _with_seed(request: Request) -> Request:
    if request.seed is not None:
        return request
    return request.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})


add_gate(SDXLRelay, SETTINGS, FLEET, DRAIN)
