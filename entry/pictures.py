"""A request's way through the stages: what every endpoint that makes a picture calls."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from entry.answer import PictureFile, Stopwatch, picture_file
from entry.fleet.fleet import Fleet
from entry.fleet.progress import Follower
from entry.hires import check_size, enlarged, first_pass, results_of_both, second_pass
from entry.http.upload import Original, read_original
from entry.several import one_by_one, seeds_from
from runners.frames import Frame
from sdxl.config.settings import Settings
from sdxl.picture.credentials import Credentials
from sdxl.request.asked import EditPictures, GeneratePictures, RefinePictures
from sdxl.request.hires import Hires
from sdxl.request.limits import LIMITS
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest

Making = partial[Coroutine[Any, Any, PictureFile]]
"""What makes one picture when it is called, with a follower or without."""
Request = TypeVar("Request", GenerationRequest, RefineRequest, EditRequest)
ByBoth = TypeVar("ByBoth", GenerationRequest, EditRequest)


class Pictures:
    """Makes pictures, within the time that `LIMITS` leaves the request. A `follower` hears of the progress.

    All raise RelayError for whatever goes wrong.
    """

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        """Ends the process if the settings' C2PA certificate cannot be used."""
        self._fleet, self._settings = fleet, settings
        self._credentials = Credentials.or_exit(settings)

    async def generate(self, request: GenerationRequest, follower: Follower | None = None) -> PictureFile:
        """From a prompt: by the base, then by the refiner unless the request or the checkpoint says otherwise."""
        if request.hires is not None:
            return await self._in_two_passes(request, request.hires, follower or Follower())
        request, watch = self._settled(request), Stopwatch()
        payload = request.model_dump_json().encode()
        results = await self._by_both("run", request, payload, watch, follower or Follower())
        return await picture_file(request, results, watch, self._credentials)

    async def _in_two_passes(self, request: GenerationRequest, hires: Hires, follower: Follower) -> PictureFile:
        """The small picture by the base, enlarged, and changed by the prompt as `edit` does."""
        small, watch = self._settled(first_pass(request)), Stopwatch()
        defaults = self._fleet.defaults_of(small.model)
        check_size(request, hires, defaults, self._settings.max_pixels)
        steps = request.num_inference_steps or defaults.num_inference_steps
        large = self._settled(second_pass(request, hires, small.seed, steps))
        follower.steps_beyond = hires.steps_done(steps)
        (made,) = await self._by_both("run", small, small.model_dump_json().encode(), watch, follower)
        original = await watch.in_thread("picture", lambda: enlarged(made, hires))
        payload = await watch.in_thread("picture", lambda: original.frame(large).encode())
        follower.to_second_pass()
        second = await self._by_both("edit", large, payload, watch, follower, is_patient=True)
        named = {"seed": small.seed, "model": small.model, "loras": small.loras, "refiner_model": large.refiner_model}
        whole = request.model_copy(update=named)
        return await picture_file(whole, results_of_both(made, second), watch, self._credentials)

    async def refine(self, image: Path, request: RefineRequest, follower: Follower | None = None) -> PictureFile:
        """From a picture, by the refiner alone."""
        request, watch = _with_seed(self._fleet.settle_refinement(request)), Stopwatch()
        original = await watch.in_thread("picture", lambda: read_original(image, self._settings))
        payload = await watch.in_thread("picture", lambda: original.frame(request).encode())
        team = self._fleet.team_of_refiner(request).for_refiner
        refiner = self._fleet.refiner
        call = refiner.call("refine", payload, LIMITS.get(), follower or Follower(), team=team, is_patient=False)
        results = [await watch.stage("refiner", call)]
        return await picture_file(request, results, watch, self._credentials, original=original)

    async def edit(
        self, image: Path, mask: Path | None, request: EditRequest, follower: Follower | None = None
    ) -> PictureFile:
        """From a picture, or the part of it that the mask shows, by the base, then by the refiner."""
        watch = Stopwatch()
        original = await watch.in_thread("picture", lambda: read_original(image, self._settings, mask))
        return await self.edit_original(original, request, follower, watch)

    async def edit_original(
        self,
        original: Original,
        request: EditRequest,
        follower: Follower | None = None,
        watch: Stopwatch | None = None,
    ) -> PictureFile:
        """`edit`, of files that were read already."""
        request, watch = self._settled(request), watch or Stopwatch()
        payload = await watch.in_thread("picture", lambda: original.frame(request).encode())
        results = await self._by_both("edit", request, payload, watch, follower or Follower())
        if request.paste_original:
            results[-1] = await watch.in_thread("picture", lambda: original.pasted_over(results[-1]))
        return await picture_file(request, results, watch, self._credentials, original=original)

    def generations(self, fields: Mapping[str, Any]) -> list[Making]:
        """`generate` for each picture that a request asks for; `fields` are those of `GeneratePictures`."""
        return [partial(self.generate, one) for one in one_by_one(GeneratePictures(**fields), GenerationRequest)]

    def refinements(self, image: Path, fields: Mapping[str, Any]) -> list[Making]:
        """The same for `refine`."""
        return [partial(self.refine, image, one) for one in one_by_one(RefinePictures(**fields), RefineRequest)]

    def edits(self, image: Path, mask: Path | None, fields: Mapping[str, Any]) -> list[Making]:
        """The same for `edit`."""
        return [partial(self.edit, image, mask, one) for one in one_by_one(EditPictures(**fields), EditRequest)]

    def _settled(self, request: ByBoth) -> ByBoth:
        return _with_seed(self._fleet.settle(request))

    async def _by_both(
        self,
        endpoint: str,
        request: ByBoth,
        payload: bytes,
        watch: Stopwatch,
        follower: Follower,
        *,
        is_patient: bool = False,
    ) -> list[Frame]:
        """The result of the base and, where that is a hand-off, the refiner's."""
        limits, teams = LIMITS.get(), self._fleet.teams(request)
        call = self._fleet.base.call(endpoint, payload, limits, follower, team=teams.for_base, is_patient=is_patient)
        result = await watch.stage("base", call)
        if not result.meta.get("handoff"):
            return [result]
        follower.to_next_stage()
        call = self._fleet.refiner.call("run", result.body, limits, follower, team=teams.for_refiner, is_patient=True)
        return [result, await watch.stage("refiner", call)]


def _with_seed(request: Request) -> Request:
    if request.seed is not None:
        return request
    return request.model_copy(update={"seed": seeds_from(None, 1)[0]})
