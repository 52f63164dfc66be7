"""A request's way through the stages: what every endpoint that makes a picture calls."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TypeVar

from entry.answer import PictureFile, Stopwatch, picture_file
from entry.fleet import Fleet
from entry.progress import Follower
from entry.upload import picture_frame
from sdxl.config import Settings
from sdxl.limits import LIMITS
from sdxl.request import MAX_SEED, GenerationRequest, RefineRequest

Request = TypeVar("Request", GenerationRequest, RefineRequest)


class Pictures:
    """Makes pictures, within the time that `LIMITS` leaves the request. A `follower` hears of the progress.

    All raise RelayError for whatever goes wrong.
    """

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet, self._settings = fleet, settings

    async def generate(self, request: GenerationRequest, follower: Follower | None = None) -> PictureFile:
        """From a prompt: by the base, then by the refiner unless the request or the checkpoint says otherwise."""
        request, limits, watch, follower = _with_seed(request), LIMITS.get(), Stopwatch(), follower or Follower()
        payload = request.model_dump_json().encode()
        call = self._fleet.base.call("run", payload, limits, follower, is_patient=False)
        result = await watch.stage("base", call)
        if result.meta.get("handoff"):
            call = self._fleet.refiner.call("run", result.body, limits, follower, is_patient=True)
            result = await watch.stage("refiner", call)
        return await picture_file(request, result, watch)

    async def refine(self, image: Path, request: RefineRequest, follower: Follower | None = None) -> PictureFile:
        """From a picture, by the refiner alone."""
        request, limits, watch, follower = _with_seed(request), LIMITS.get(), Stopwatch(), follower or Follower()
        upload = await watch.in_thread("picture", lambda: picture_frame(image, request, self._settings))
        call = self._fleet.refiner.call("refine", upload.encode(), limits, follower, is_patient=False)
        result = await watch.stage("refiner", call)
        return await picture_file(request, result, watch)


def _with_seed(request: Request) -> Request:
    if request.seed is not None:
        return request
    return request.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})
