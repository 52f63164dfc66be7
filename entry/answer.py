"""A picture as an HTTP answer, with what its making took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.responses import Response

from runners.frames import Frame, pixels_of
from sdxl.image import WATERMARK_MIN_WIDTH_PX, encode_picture
from sdxl.request import GenerationRequest, RefineRequest

T = TypeVar("T")
PHASES = ("queue", "encode", "base", "handoff", "refiner", "decode", "picture")


class Stopwatch:
    """Where one request's wall time went, in milliseconds for each of `PHASES`."""

    def __init__(self) -> None:
        self.spent_ms = dict.fromkeys(PHASES, 0.0)

    async def stage(self, stage: str, call: Awaitable[Frame]) -> Frame:
        """Waits for a stage's result. What the stage did not spend itself counts as hand-off."""
        started = time.perf_counter()
        frame = await call
        took_ms = 1000 * (time.perf_counter() - started)
        runner_ms = frame.meta["timings"]
        self.spent_ms["queue"] += runner_ms["queue_ms"]
        self.spent_ms["encode"] += runner_ms["prepare_ms"]
        self.spent_ms[stage] += runner_ms["denoise_ms"]
        self.spent_ms["handoff"] += took_ms - sum(runner_ms.values())
        self.spent_ms["handoff" if "handoff" in frame.meta else "decode"] += runner_ms["finish_ms"]
        return frame

    async def in_thread(self, phase: str, work: Callable[[], T]) -> T:
        """Runs `work` in a thread."""
        started = time.perf_counter()
        result = await asyncio.to_thread(work)
        self.spent_ms[phase] += 1000 * (time.perf_counter() - started)
        return result

    @property
    def header(self) -> str:
        """The value of a Server-Timing header."""
        return ", ".join(f"{phase};dur={ms:.1f}" for phase, ms in self.spent_ms.items())


async def picture_response(request: GenerationRequest | RefineRequest, result: Frame, watch: Stopwatch) -> Response:
    """Watermarks and encodes the picture of a runner's last frame."""
    pixels = pixels_of(result)
    encoded = await watch.in_thread(
        "picture",
        lambda: encode_picture(
            pixels, output_format=request.output_format, quality=request.quality, watermark=request.watermark
        ),
    )
    headers = {"x-seed": str(request.seed), "server-timing": watch.header}
    if result.meta["truncated"]:
        headers["x-truncated"] = ", ".join(result.meta["truncated"])
    if request.watermark and not encoded.watermarked:
        headers["x-watermark"] = f"skipped: it needs {WATERMARK_MIN_WIDTH_PX} px of width and 65536 pixels in all"
    return Response(encoded.data, media_type=encoded.media_type, headers=headers)
