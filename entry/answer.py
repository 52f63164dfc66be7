"""A picture as a file and as an HTTP answer, with what its making took."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.responses import Response

from entry.http.upload import Original
from runners.frames import Frame, pixels_of
from sdxl.picture.credentials import Credentials
from sdxl.picture.image import EncodedPicture, encode_picture
from sdxl.picture.metadata import Metadata
from sdxl.picture.record import AnyRecord, record_of
from sdxl.picture.watermark import WATERMARK_MIN_WIDTH_PX
from sdxl.request.loras import applied_text
from sdxl.request.requests import PictureRequest

T = TypeVar("T")
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")  # of a header; the rest is percent-encoded UTF-8
PHASES = ("queue", "load", "encode", "base", "handoff", "refiner", "decode", "picture")


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
        load_ms = min(runner_ms.pop("load_ms"), runner_ms["queue_ms"])  # the queue's part of it
        self.spent_ms["load"] += load_ms
        self.spent_ms["queue"] += runner_ms["queue_ms"] - load_ms
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


@dataclass(frozen=True, kw_only=True)
class PictureFile:
    """A finished picture, and what its client is to know of it."""

    data: bytes
    media_type: str
    width_px: int
    height_px: int
    seed: int | None
    warnings: dict[str, str]
    spent_ms: dict[str, float]  # for each of PHASES
    loras: str | None = None  # which were applied where, if any were asked for
    models: dict[str, str] = field(default_factory=dict)  # by stage, in the order of their work
    digests: dict[str, str] = field(default_factory=dict)  # SHA-256 of each model's files
    record: AnyRecord | None = None  # what it was made of, whether or not the file says so

    def as_json(self) -> dict[str, Any]:
        """The file in base64, with the rest; as an item of /generate_batch and the result of a stream have it."""
        return {
            "picture": base64.b64encode(self.data).decode("ascii"),
            "media_type": self.media_type,
            "seed": self.seed,
            "warnings": self.warnings,
            "models": self.models,
            "loras": self.loras,
            "timings": self.spent_ms,
        }

    @property
    def model(self) -> str:
        """That of the stage that worked first."""
        return next(iter(self.models.values()), "")

    @property
    def digest(self) -> str:
        """Of the same model's files."""
        return next(iter(self.digests.values()), "")

    @property
    def warning_headers(self) -> dict[str, str]:
        """The warnings as headers: X-Truncated, X-Refiner, X-Watermark, X-Scaled."""
        return {f"x-{name}": warning for name, warning in self.warnings.items()}

    def as_response(self) -> Response:
        """The file, with the rest in headers."""
        timing = ", ".join(f"{phase};dur={ms:.1f}" for phase, ms in self.spent_ms.items())
        told = {"x-models": ", ".join(f"{model} ({stage})" for stage, model in self.models.items())}
        if self.loras is not None:
            told["x-loras"] = self.loras
        named = {name: quote(text, safe=_PLAIN) for name, text in told.items()}
        headers = {"x-seed": str(self.seed), "server-timing": timing, **named, **self.warning_headers}
        return Response(self.data, media_type=self.media_type, headers=headers)


async def picture_file(
    request: PictureRequest,
    results: Sequence[Frame],
    watch: Stopwatch,
    credentials: Credentials | None,
    original: Original | None = None,
) -> PictureFile:
    """Makes the file from the stages' results, of which the last has the picture: marked, with metadata, signed.

    `original` is the upload that it was made from.
    """
    result = results[-1]
    pixels = pixels_of(result)
    warnings = {}
    if "why_alone" in result.meta:
        warnings["refiner"] = result.meta["why_alone"]
        request = request.model_copy(update={"refiner_model": None})
    record = _record(request, results)
    metadata = Metadata.of(record) if request.metadata else None

    def encode() -> EncodedPicture:
        encoded = encode_picture(
            pixels,
            output_format=request.output_format,
            quality=request.quality,
            watermark=request.watermark,
            metadata=metadata,
        )
        if credentials is None:
            return encoded
        upload = None if original is None else original.file
        return replace(encoded, data=credentials.signed(encoded.data, encoded.media_type, upload))

    encoded = await watch.in_thread("picture", encode)
    if result.meta["truncated"]:
        warnings["truncated"] = ", ".join(result.meta["truncated"])
    if request.watermark and not encoded.watermarked:
        warnings["watermark"] = f"skipped: it needs {WATERMARK_MIN_WIDTH_PX} px of width and 65536 pixels in all"
    if original is not None and original.scaled is not None:
        warnings["scaled"] = original.scaled
    return PictureFile(
        data=encoded.data,
        media_type=encoded.media_type,
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
        seed=request.seed,
        warnings=warnings,
        loras=applied_text(request.loras, _by_stage(results, "loras")) if request.loras else None,
        models=_by_stage(results, "models"),
        digests=_by_stage(results, "checkpoints"),
        spent_ms=watch.spent_ms,
        record=record,
    )


def _record(request: PictureRequest, results: Sequence[Frame]) -> AnyRecord:
    """What the stages say of the picture: the first has settled the request, each names its own checkpoint."""
    checkpoints, loras = _by_stage(results, "checkpoints"), _by_stage(results, "loras")
    size = results[-1].meta["width"], results[-1].meta["height"]
    return record_of(request, results[0].meta["settled"], size, checkpoints, loras)


def _by_stage(results: Sequence[Frame], name: str) -> dict[str, Any]:
    return {stage: told for frame in results for stage, told in frame.meta[name].items()}
