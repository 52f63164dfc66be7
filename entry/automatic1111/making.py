"""The work of txt2img and img2img: several pictures at once, whose job can be followed and interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from entry.answer import PictureFile
from entry.automatic1111.answers import pictures_answer
from entry.automatic1111.img2img import Img2Img
from entry.automatic1111.jobs import Job, Jobs, One
from entry.automatic1111.options import CallersOptions
from entry.automatic1111.originals import originals_of
from entry.automatic1111.requests import PicturesWanted, Txt2Img
from entry.fleet.progress import Follower
from entry.http.contracts import renamed
from entry.pictures import Pictures
from entry.several import seeds_from
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.request.fields import OutputFormat


class Making:
    """Answers requests for pictures. All raise RelayError that names the field as the client does."""

    def __init__(self, pictures: Pictures, options: CallersOptions, jobs: Jobs, settings: Settings) -> None:
        self._pictures, self._options, self._jobs, self._settings = pictures, options, jobs, settings

    async def txt2img(self, wanted: Txt2Img, request: Request) -> Response:
        """Pictures from a prompt."""
        caller, seeds = self._options.caller(request), seeds_from(wanted.first_seed, wanted.count)
        requests = wanted.requests(seeds, self._options.of(caller))

        async def one(index: int, follower: Follower) -> PictureFile:
            return await self._pictures.generate(requests[index], follower)

        with self._jobs.running(caller, "txt2img", wanted.count) as job:
            return await self._made(wanted, job, one, seeds, requests[0].output_format)

    async def img2img(self, wanted: Img2Img, request: Request) -> Response:
        """Pictures from pictures."""
        caller, seeds = self._options.caller(request), seeds_from(wanted.first_seed, wanted.count)
        requests = wanted.requests(seeds, self._options.of(caller))
        originals = await asyncio.to_thread(originals_of, wanted, self._settings)

        async def one(index: int, follower: Follower) -> PictureFile:
            original = originals[wanted.picture_for(index)]
            return await self._pictures.edit_original(original, requests[index], follower)

        with self._jobs.running(caller, "img2img", wanted.count) as job:
            return await self._made(wanted, job, one, seeds, requests[0].output_format)

    async def _made(
        self, wanted: PicturesWanted, job: Job, one: One, seeds: list[int], output_format: OutputFormat
    ) -> Response:
        with _in_words_of(wanted):
            made = await job.make(one, self._settings)
        answer = partial(pictures_answer, wanted, made, seeds, job, output_format)
        text = await asyncio.to_thread(lambda: answer().model_dump_json())
        return Response(text, media_type="application/json")


@contextmanager
def _in_words_of(wanted: PicturesWanted) -> Iterator[None]:
    """Errors name a field as the client does."""
    try:
        yield
    except RelayError as error:
        raise renamed(error, wanted.own_names) from error
