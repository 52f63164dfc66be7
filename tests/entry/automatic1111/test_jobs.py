"""A job that is interrupted, and whose it is."""

from __future__ import annotations

import asyncio

from entry.answer import PictureFile
from entry.automatic1111.jobs import Jobs
from entry.fleet.progress import Follower
from sdxl.config.settings import Settings
from sdxl.errors import RelayError

SETTINGS = Settings()


def picture(seed: int) -> PictureFile:
    return PictureFile(data=b"", media_type="image/png", width_px=8, height_px=8, seed=seed, warnings={}, spent_ms={})


def test_an_interruption_ends_the_callers_jobs_only() -> None:
    async def main() -> None:
        jobs = Jobs()

        async def run(caller: str, seconds: float) -> list[int | None]:
            async def one(index: int, _: Follower) -> PictureFile:
                await asyncio.sleep(seconds * (2 - index))
                return picture(index)

            with jobs.running(caller, "txt2img", 3) as job:
                return [made.seed for made in await job.make(one, SETTINGS)]

        mine, theirs = asyncio.create_task(run("me", 60)), asyncio.create_task(run("they", 0.1))
        await asyncio.sleep(0.05)
        assert jobs.latest("me") is not jobs.latest("they")
        jobs.interrupt("me")
        assert await mine == [2], "what is finished"
        assert await theirs == [0, 1, 2]
        assert jobs.latest("me") is jobs.latest("they") is None

    asyncio.run(main())


def test_a_picture_that_fails_is_no_interruption() -> None:
    async def main() -> str:
        async def one(index: int, _: Follower) -> PictureFile:
            if index:
                raise RelayError(503, "stopping", "the server stops")
            return picture(index)

        with Jobs().running("", "txt2img", 2) as job:
            try:
                await job.make(one, SETTINGS)
            except RelayError as error:
                return error.code
        return ""

    assert asyncio.run(main()) == "stopping"
