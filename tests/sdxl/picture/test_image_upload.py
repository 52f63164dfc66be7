"""Uploads: what is accepted, and that every bad kind is refused by its name."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdxl.picture import image
from sdxl.picture.image import read_picture
from tests.sdxl.picture.pictures import encoded, textured


def read(upload: bytes | Path, max_pixels: int = 1_000_000) -> Image.Image:
    return read_picture(upload, max_bytes=1_000_000, max_pixels=max_pixels)


# Reading: what is accepted


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "CMYK"])
def test_modes_without_transparency(mode: str) -> None:
    output_format = "JPEG" if mode == "CMYK" else "PNG"
    picture = read(encoded(Image.new("RGB", (16, 8), "white").convert(mode), output_format))
    assert (picture.mode, picture.size) == ("RGB", (16, 8))
    assert np.asarray(picture).min() >= 254


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_flattened_onto_white(mode: str) -> None:
    picture = Image.new("RGBA", (16, 16), (0, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 8, 16))
    pixels = np.asarray(read(encoded(picture.convert(mode), "PNG")))
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == 0).all()


def test_palette_with_transparent_bytes_and_half_transparent_webp() -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    assert read(encoded(palette, "PNG", transparency=b"\xff\x80")).getpixel((0, 0)) == (227, 127, 127)
    half = encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "WEBP", lossless=True)
    assert read(half).getpixel((0, 0)) == (127, 127, 127)


def test_16_bit_png_is_scaled_not_cut_off() -> None:
    levels = (np.arange(256, dtype=np.uint16) * 256 + 7).reshape(16, 16)
    picture = read(encoded(Image.fromarray(levels), "PNG"))
    assert np.array_equal(np.asarray(picture)[:, :, 1], levels >> 8)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90 degrees
    assert read(encoded(Image.new("RGB", (16, 8)), "JPEG", exif=exif)).size == (8, 16)


def test_broken_exif_turns_nothing() -> None:
    broken = encoded(Image.new("RGB", (16, 8)), "WEBP", exif=b"MM\0*\0\0\0\x08\0\x01\x01\x12")
    assert read(broken).size == (16, 8)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert read(data).getpixel((0, 0)) == (255, 0, 0)


def test_path(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(encoded(Image.new("RGB", (8, 8), "red"), "PNG"))
    assert read(path).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(image.PictureTooLargeError, match=r"bytes, allowed are 10$"):
        read_picture(path, max_bytes=10, max_pixels=64)
    path.write_bytes(b"")
    with pytest.raises(image.UnsupportedPictureError):
        read(path)


# Reading: what is scaled down


@pytest.mark.parametrize("output_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("size", "max_pixels", "scaled"), [
    ((400, 300), 120_000, (400, 300)), ((400, 300), 119_999, (392, 296)), ((400, 300), 30_000, (200, 144)),
    ((300, 400), 30_000, (144, 200)), ((1_000, 10), 1_000, (312, 8)), ((9_000, 100), 1_000_000, (8_192, 88)),
], ids=str)  # fmt: skip
def test_large_pictures_are_scaled_down(
    output_format: str, size: tuple[int, int], max_pixels: int, scaled: tuple[int, int]
) -> None:
    """To the limit, with sides that are multiples of 8 and about the same shape."""
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    found = read(encoded(picture, output_format), max_pixels)
    assert (found.mode, found.size) == ("RGB", scaled)
    right = np.asarray(picture.resize(scaled, Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(np.asarray(found) - right).mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_is_scaled_smoothly(mode: str) -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    found = np.asarray(read(encoded(Image.fromarray(board).convert(mode), "PNG"), 16 * 16))
    assert found.shape == (16, 16, 3)
    assert np.abs(found.astype(int) - 128).max() < 24


def test_what_is_transparent_does_not_show_when_scaled() -> None:
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (32, 0, 64, 64))
    found = np.asarray(read(encoded(picture, "PNG"), 16 * 16)).astype(int)
    assert (found[:, :, 0] <= found[:, :, 2]).all()  # between blue and white, nothing is red


def test_orientation_and_scaling() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (400, 200)), "JPEG", exif=exif)
    assert image.upright_size(data, max_bytes=10**6) == (200, 400)
    assert read(data, 20_000).size == (96, 200)
    assert image.upright_size(encoded(Image.new("RGB", (30, 20)), "PNG"), max_bytes=10**6) == (30, 20)


# Reading: what is refused


def png_of_size(width_px: int, height_px: int) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data


def webp_of_size(width_px: int, height_px: int) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]  # an animation's may be smaller than it
    data = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    data[24:30] = (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")
    return bytes(data)


@pytest.mark.parametrize("size_px", [10_000, 20_000, 2**31 - 1])  # Pillow's own limits: a warning, an error
def test_a_png_that_declares_too_many_pixels(size_px: int) -> None:
    with pytest.raises(image.PictureTooLargeError, match=rf"{size_px} x {size_px} .* allowed are 50000000$"):
        read(png_of_size(size_px, size_px))


def test_a_webp_that_declares_too_many_pixels() -> None:
    with pytest.raises(image.PictureTooLargeError, match=r"10000 x 10000 .* allowed are 50000000$"):
        read(webp_of_size(10_000, 10_000))


def test_limits_are_inclusive() -> None:
    data = encoded(Image.new("RGB", (20, 30)), "PNG")
    assert read_picture(data, max_bytes=len(data), max_pixels=600).size == (20, 30)
    with image.opened_picture(data, max_bytes=len(data), max_pixels=600):
        pass
    with (
        pytest.raises(image.PictureTooLargeError, match="20 x 30 = 600 pixels, allowed are 599"),
        image.opened_picture(data, max_bytes=len(data), max_pixels=599),
    ):
        pass
    with pytest.raises(image.PictureTooLargeError, match=f"{len(data)} bytes, allowed are {len(data) - 1}"):
        read_picture(data, max_bytes=len(data) - 1, max_pixels=600)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a text called picture.png",
        b"RIFF\0\0\0\0WAVE",
        *(encoded(Image.new("RGB", (8, 8)), f) for f in ("GIF", "BMP", "TIFF")),
    ],
)
def test_other_types(data: bytes) -> None:
    with pytest.raises(image.UnsupportedPictureError, match="allowed are PNG, JPEG and WebP"):
        read(data)


def test_a_jpeg_of_very_many_scans() -> None:
    data = encoded(Image.new("L", (512, 512), 128), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    read(data)
    with pytest.raises(image.BrokenPictureError, match="scans, allowed are 100"):
        read(data[:last] + data[last:-2] * 1_000 + data[-2:])


def test_a_large_jpeg_of_many_scans() -> None:
    """At 49,000,000 pixels, twenty of them are seconds."""
    data = encoded(Image.new("L", (7_000, 7_000), 128), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    with pytest.raises(image.BrokenPictureError, match="scans, allowed are 20"):
        read(data[:last] + data[last:-2] * 30 + data[-2:])


def test_a_jpeg_with_pictures_in_its_segments() -> None:
    """Thumbnails have scans of their own."""
    data = encoded(Image.new("RGB", (16, 16), "red"), "JPEG")
    segment = b"\xff\xda" * 200
    with_them = data[:2] + b"\xff\xef" + struct.pack(">H", 2 + len(segment)) + segment + data[2:]
    assert read(with_them).size == (16, 16)


VALID = {kind: encoded(Image.fromarray(textured(32, 32)), kind) for kind in ("PNG", "JPEG", "WEBP")}


@pytest.mark.parametrize("kind", VALID)
def test_truncated_pictures(kind: str) -> None:
    data = VALID[kind]
    for length in (12, 20, 40, len(data) // 2, len(data) - 60):
        with pytest.raises(image.BrokenPictureError, match=f"^broken or truncated {kind} picture: "):
            read(data[:length])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(VALID)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5),
)
def test_mutations_are_read_or_refused(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(VALID[kind])
    for offset, value in changes:
        data[offset % len(data)] = value
    with suppress(image.PictureError):
        assert read(bytes(data)).mode == "RGB"
