"""What a runner streams back for one job: "accepted", then progress, then exactly one result or error.

A frame is its kind (1 byte), two lengths (4 bytes each, big endian), then the meta (JSON) and the body
(bytes). A stream that ends without a result or an error means that the runner was lost.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

HEARTBEAT_S = 1.0
# By these headers the entry asks for previews, so many over all steps, and says how many steps went before.
PREVIEWS, STEPS_BEFORE, STEPS_BEYOND = "x-previews", "x-steps-before", "x-steps-beyond"
_HEADER = struct.Struct(">BII")


class Kind(IntEnum):
    """The kinds of frame: a picture to refine goes to the runner; the last two end a stream from it."""

    PICTURE = 0
    ACCEPTED = 1
    PROGRESS = 2
    RESULT = 3
    ERROR = 4


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One message. A result's body is a hand-off document, or a picture's pixels (RGB, row by row)."""

    kind: Kind
    meta: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""

    def encode(self) -> bytes:
        """The frame as it travels."""
        meta = json.dumps(self.meta).encode()
        return _HEADER.pack(self.kind, len(meta), len(self.body)) + meta + self.body

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The frame that `data` is. Raises FrameError if it is anything else."""
        buffer = bytearray(data)
        frame = _take(buffer)
        if frame is None or buffer:
            raise FrameError(f"{len(data)} bytes are not exactly one frame")
        return cls(kind=frame.kind, meta=frame.meta, body=frame.body)


class FrameError(Exception):
    """A stream that ends too soon, or does not hold frames."""


async def read_frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[Frame]:
    """Frames from the bytes of a stream, however they are cut. Raises FrameError if the last one is cut off."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while (frame := _take(buffer)) is not None:
            yield frame
    if buffer:
        raise FrameError(f"the stream ended within a frame, {len(buffer)} bytes into it")


def _take(buffer: bytearray) -> Frame | None:
    """Cuts the first frame off the buffer, if it is there as a whole."""
    if len(buffer) < _HEADER.size:
        return None
    kind, meta_size, body_size = _HEADER.unpack_from(buffer)
    body_start = _HEADER.size + meta_size
    end = body_start + body_size
    if len(buffer) < end:
        return None
    try:
        frame = Frame(
            kind=Kind(kind),
            meta=json.loads(buffer[_HEADER.size : body_start]),
            body=bytes(buffer[body_start:end]),
        )
    except ValueError as error:
        raise FrameError(f"not a frame: {error}") from error
    del buffer[:end]
    return frame


async def next_frame(
    frames: asyncio.Queue[Frame], is_stuck: Callable[[], bool], heartbeat: Callable[[], Frame]
) -> Frame:
    """The next frame, or after a second what `heartbeat` gives; not if the engine hangs."""
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                return await frames.get()
        except TimeoutError:
            if not is_stuck():
                return heartbeat()


def mask_of(frame: Frame) -> NDArray[np.uint8] | None:
    """The mask that a frame's body holds after its picture, uint8 [height, width]; None if there is none."""
    if not frame.meta.get("has_mask"):
        return None
    height, width = frame.meta.get("height", 0), frame.meta.get("width", 0)
    return np.frombuffer(frame.body, np.uint8, offset=height * width * 3).reshape(height, width)


def pixels_of(frame: Frame) -> NDArray[np.uint8]:
    """The picture that a frame's body holds, uint8 [height, width, 3] (RGB). Raises FrameError if it does not."""
    height, width = frame.meta.get("height", 0), frame.meta.get("width", 0)
    mask_bytes = height * width if frame.meta.get("has_mask") else 0
    if len(frame.body) != height * width * 3 + mask_bytes or not frame.body:
        raise FrameError(f"{len(frame.body)} bytes are not a picture of {width} x {height}")
    return np.frombuffer(frame.body, np.uint8, count=height * width * 3).reshape(height, width, 3)
