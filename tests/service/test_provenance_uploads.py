"""/provenance reads whatever is uploaded, of any size and however hostile, and goes on."""

from __future__ import annotations

import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.sdxl.picture.manifests import elsewhere, identity, with_manifest, without_its_parent
from tests.sdxl.picture.pictures import chunk, encoded, png_of_row, textured
from tests.service.server import Server
from tests.service.test_provenance import ask, provenance
from tests.service.test_refine import a_picture, as_png


def png_with(added: bytes) -> bytes:
    plain = as_png(a_picture())
    return plain[:33] + added + plain[33:]


BOMB = zlib.compress(bytes(100_000_000))
HOSTILE: dict[str, tuple[bytes, int]] = {
    "zTXt that unpacks to 100 MB": (png_with(chunk(b"zTXt", b"parameters\0\0" + BOMB)), 200),
    "iTXt that unpacks to 100 MB": (png_with(chunk(b"iTXt", b"sdxl_relay\0\1\0\0\0" + BOMB)), 200),
    "a record of brackets": (png_with(chunk(b"tEXt", b"sdxl_relay\0" + b"[" * 500_000)), 200),
    "10,000 texts": (png_with(b"".join(chunk(b"tEXt", b"parameters\0a") for _ in range(10_000))), 200),
    "an entity bomb in XMP": (
        encoded(a_picture(), "JPEG", xmp=b'<!DOCTYPE a [<!ENTITY a "b">]><sdxl_relay:record>&a;</sdxl_relay:record>'),
        200,
    ),
    "broken EXIF": (encoded(a_picture(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 9_000), 200),
    "a manifest of noise": (png_with(chunk(b"caBX", textured(64, 64).tobytes())), 200),
    "an empty file": (b"", 415),
    "text": (b"no picture", 415),
    "a GIF": (encoded(a_picture(), "GIF"), 415),
    "half a picture": (as_png(a_picture())[:400], 400),
    "16,000,000 pixels": (as_png(Image.new("RGB", (4_000, 4_000))), 200),
    "an identity that is none": (with_manifest({"label": "cawg.identity", "data": {"x": 1}}), 200),
    "an identity elsewhere": (with_manifest(identity("127.0.0.1%3A9")), 200),
    "a manifest elsewhere": (elsewhere("http://127.0.0.1:9/a.c2pa"), 200),
    "a parent that is not there": (without_its_parent(), 200),
    "too many bytes": (as_png(a_picture()) + bytes(20_000_000), 413),
    "a tiny picture": (as_png(a_picture(1, 1)), 200),
}


@pytest.mark.parametrize(("upload", "status"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_upload(server: Server, upload: bytes, status: int) -> None:
    answer = ask(server, upload)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert "sdxl_relay" not in answer.json()
    else:
        assert answer.json()["field"] in ("image", "body")


def test_a_part_of_no_known_type_is_taken(server: Server) -> None:
    """As curl sends a .webp file."""
    files = {"image": ("a.webp", encoded(a_picture(), "WEBP"), "application/octet-stream")}
    assert server.post("/refine", data={"prompt": "a cone", "num_inference_steps": "4"}, files=files).status_code == 200


def test_only_a_file_is_taken(server: Server) -> None:
    picture = ("picture.png", as_png(a_picture()), "image/png")
    assert server.post("/provenance", json={"image": "a"}).status_code == 415
    assert server.post("/provenance", files={"image": (None, "http://127.0.0.1:9/a.png")}).json()["field"] == "image"
    other = server.post("/provenance", files={"image": picture}, data={"prompt": "a"})
    assert (other.status_code, other.json()["field"]) == (400, "prompt")


@pytest.mark.parametrize(("width_px", "height_px", "skipped"), [
    (64, 20, "the picture is too small to have one"), (500, 500, None),
    (2_800, 2_800, "the picture has 7840000 pixels, and it is looked for in up to 7340032"),
    (20_000, 20_000, "the picture has 400000000 pixels, and it is looked for in up to 7340032"),
])  # fmt: skip
def test_pictures_of_any_size(server: Server, width_px: int, height_px: int, skipped: str | None) -> None:
    """Their metadata and their manifests are read, and no pixel of those that are too large."""
    text = (b"tEXt", b"parameters\0a cone\nSteps: 6")
    found = provenance(server, png_of_row(width_px, 1, 0, bytes(-(-width_px // 8)), text, height_px=height_px))
    assert (found["width"], found["height"]) == (width_px, height_px)
    assert found["parameters_parsed"]["steps"] == 6
    assert found.get("watermark_skipped") == skipped
    assert ("watermark" in found) == (skipped is None)


@pytest.mark.full
def test_two_uploads_that_take_long_do_not_stop_the_others(server: Server) -> None:
    """They are given up after some seconds."""
    slow = with_manifest(*[{"label": "org.x", "data": {"a": 1}}] * 8_000)
    with ThreadPoolExecutor(3) as threads:
        held = [threads.submit(provenance, server, slow) for _ in range(2)]
        time.sleep(0.5)
        begun = time.monotonic()
        assert provenance(server, with_manifest())["content_credentials"]["state"] == "valid"
        assert time.monotonic() - begun < 20
        for answer in held:
            assert answer.result()["content_credentials"]["state"] == "unreadable"
