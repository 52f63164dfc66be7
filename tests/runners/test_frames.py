from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners import frames
from runners.frames import Frame, FrameError, Kind, mask_of, next_frame, pixels_of, read_frames

FRAMES = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    meta=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    body=st.binary(max_size=50),
)


async def _chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(data: bytes, size: int) -> list[Frame]:
    async def collect() -> list[Frame]:
        return [frame async for frame in read_frames(_chunks(data, size))]

    return asyncio.run(collect())


@given(st.lists(FRAMES, max_size=4), st.integers(1, 40))
def test_frames_survive_any_cutting(frames: list[Frame], size: int) -> None:
    assert read(b"".join(frame.encode() for frame in frames), size) == frames


@given(FRAMES, st.data())
def test_a_frame_that_is_cut_off_is_an_error(frame: Frame, data: st.DataObject) -> None:
    whole = frame.encode()
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(FrameError):
        read(cut, 7)
    with pytest.raises(FrameError):
        Frame.decode(cut)
    assert Frame.decode(whole) == frame


@given(st.binary(max_size=60))
def test_what_is_no_frame_is_an_error_and_nothing_else(data: bytes) -> None:
    try:
        frame = Frame.decode(data)
    except FrameError:
        return
    assert Frame.decode(frame.encode()) == frame


def test_pixels() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    frame = Frame(kind=Kind.RESULT, meta={"height": 2, "width": 3}, body=pixels.tobytes())
    assert np.array_equal(pixels_of(frame), pixels)


def test_a_mask_follows_the_pixels() -> None:
    pixels, mask = np.arange(18, dtype=np.uint8).reshape(2, 3, 3), np.arange(6, dtype=np.uint8).reshape(2, 3)
    meta = {"height": 2, "width": 3, "has_mask": True}
    frame = Frame(kind=Kind.PICTURE, meta=meta, body=pixels.tobytes() + mask.tobytes())
    assert np.array_equal(pixels_of(frame), pixels)
    found = mask_of(frame)
    assert found is not None
    assert np.array_equal(found, mask)
    assert mask_of(Frame(kind=Kind.PICTURE, meta={**meta, "has_mask": False}, body=pixels.tobytes())) is None


@pytest.mark.parametrize(
    "meta", [{}, {"height": 2}, {"height": 3, "width": 3}, {"height": 2, "width": 3, "has_mask": True}]
)
def test_pixels_that_disagree_with_the_size(meta: dict[str, int]) -> None:
    with pytest.raises(FrameError):
        pixels_of(Frame(kind=Kind.RESULT, meta=meta, body=bytes(18)))


def test_a_sign_of_life_unless_the_engine_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "HEARTBEAT_S", 0.05)
    before, coming = Frame(kind=Kind.ACCEPTED), Frame(kind=Kind.PROGRESS)

    async def main() -> None:
        queue: asyncio.Queue[Frame] = asyncio.Queue()
        assert await next_frame(queue, lambda: False, lambda: before) is before
        queue.put_nowait(coming)
        assert await next_frame(queue, lambda: True, lambda: before) is coming
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await next_frame(queue, lambda: True, lambda: before)

    asyncio.run(main())
