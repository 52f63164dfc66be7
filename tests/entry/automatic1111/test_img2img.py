"""From an img2img request of AUTOMATIC1111's to an edit of ours."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydantic import ValidationError

from entry.automatic1111.img2img import Img2Img
from entry.automatic1111.originals import originals_of
from entry.http.upload import Original
from sdxl.config.settings import Settings
from sdxl.errors import RelayError

SETTINGS = Settings(max_pixels=256 * 256, max_upload_mb=1)


def text_of(picture: Image.Image, prefix: str = "") -> str:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return prefix + base64.b64encode(buffer.getvalue()).decode()


def halves(width: int = 128, height: int = 128) -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (width, height), "red")
    ImageDraw.Draw(picture).rectangle((width // 2, 0, width, height), fill="blue")
    return picture


def square(box: tuple[int, int, int, int], size: tuple[int, int] = (128, 128)) -> Image.Image:
    """A mask that is white in a box, whose last two edges are outside."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def wanted(picture: Image.Image | None = None, mask: Image.Image | None = None, /, **fields: Any) -> Img2Img:
    masked = {} if mask is None else {"mask": text_of(mask)}
    return Img2Img(**{"prompt": "a cube", "init_images": [text_of(picture or halves())], **masked, **fields})


def original(*pictures: Image.Image | None, **fields: Any) -> Original:
    (made,) = originals_of(wanted(*pictures, **fields), SETTINGS)
    return made


def levels(picture: Image.Image | None) -> Any:
    assert picture is not None
    return np.asarray(picture).astype(int)


def finished(made: Original, result: Image.Image) -> Any:
    assert made.finish is not None
    return levels(made.finish(result))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"strength": 0.75}), ({"denoising_strength": "0.3"}, {"strength": 0.3}),
        ({"denoising_strength": 1}, {"strength": 1.0}),
        ({"mask": "x"}, {"strength": 0.75, "masked_content": "fill"}),
        ({"mask": "x", "inpainting_fill": 1, "denoising_strength": 1}, {"strength": 0.9999}),
        ({"mask": "x", "inpainting_fill": 2}, {"strength": 0.75, "masked_content": "noise"}),
        ({"mask": "x", "inpainting_fill": "3"}, {"strength": 0.75, "masked_content": "nothing"}),
        ({"inpainting_fill": 3}, {"strength": 0.75}),
        ({"steps": 12, "width": 64, "height": 64, "cfg_scale": "2"},
         {"strength": 0.75, "num_inference_steps": 12, "guidance_scale": 2}),
    ],
)  # fmt: skip
def test_fields_are_mapped(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    (request,) = wanted(**fields).requests([5])
    got = request.model_dump(exclude_none=True, exclude_defaults=True)
    assert got == {"prompt": "a cube", "prompt_syntax": "a1111", "seed": 5, **expected}


@pytest.mark.parametrize("steps", [1, 3, 49, 150])
def test_one_step_is_left_at_least(steps: int) -> None:
    (request,) = wanted(steps=steps, denoising_strength=0).requests([5])
    assert request.strength is not None
    assert int(steps * request.strength) == 1


def test_several_pictures_are_a_batch() -> None:
    several: dict[str, Any] = {"init_images": ["a", "b", "c"], "n_iter": 2}
    assert [wanted(**several).picture_for(index) for index in range(6)] == [0, 1, 2, 0, 1, 2]
    assert wanted(**several).count == 6
    assert wanted(batch_size=4).count == 4
    assert [wanted(batch_size=4).picture_for(index) for index in range(4)] == [0] * 4
    assert wanted(init_images="one").init_images == ("one",)
    with pytest.raises(RelayError, match=r"init_images: got .*batch_size = 2"):
        wanted(**several, batch_size=2)


@pytest.mark.parametrize(
    "fields",
    [{"init_images": []}, {"init_images": None}, {"resize_mode": 4}, {"inpainting_fill": -1}, {"mask_blur": 300},
     {"denoising_strength": 1.1}, {"inpaint_full_res_padding": 1_000}],
)  # fmt: skip
def test_what_is_not_allowed(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        wanted(**fields)
    assert raised.value.errors()[0]["loc"][0] == next(iter(fields))


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:;base64,"])
def test_pictures_come_as_base64_or_data_urls(prefix: str) -> None:
    made = original(init_images=[text_of(halves(), prefix)])
    assert (levels(made.picture) == levels(halves())).all()
    assert made.file.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("fields", "field", "status"),
    [
        ({"init_images": ["http://127.0.0.1/a.png"]}, "init_images", 400),
        ({"init_images": ["??"]}, "init_images", 400), ({"init_images": ["AAAA"]}, "init_images", 415),
        ({"mask": "AAAA"}, "mask", 415),
        ({"init_images": [text_of(halves()), "AAAA"], "width": 64, "height": 64}, "init_images.1", 415),
        ({"width": 512, "height": 512}, "width", 400), ({"mask": text_of(square((0, 0, 0, 0)))}, "mask", 400),
        ({"init_images": [text_of(halves(16, 16))]}, "init_images", 400),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_named(fields: dict[str, Any], field: str, status: int) -> None:
    with pytest.raises(RelayError) as raised:
        original(**fields)
    assert (raised.value.status, raised.value.field) == (status, field)


@pytest.mark.parametrize("resize_mode", [0, 1, 2])
def test_pictures_are_brought_to_the_wanted_size(resize_mode: int) -> None:
    made = original(halves(128, 64), width=64, height=128, resize_mode=resize_mode)
    assert made.picture.size == (64, 128)
    assert (made.mask, made.finish) == (None, None)
    row, column = levels(made.picture)[64], levels(made.picture)[:, 0]
    assert (np.abs(row[:8] - [255, 0, 0]).max(), np.abs(row[-8:] - [0, 0, 255]).max()) == (0, 0)
    assert (column == [255, 0, 0]).all()


def test_without_a_size_it_is_the_pictures_own() -> None:
    assert original(halves(130, 77)).picture.size == (128, 72)
    assert original(halves(32, 32), width=64, height=64).picture.size == (64, 64)


def test_latents_are_resized_without_a_mask() -> None:
    made = original(halves(128, 64), width=192, height=128, resize_mode=3)
    assert (made.picture.size, made.latents_px) == ((128, 64), (192, 128))
    tiny = original(halves(32, 32), width=64, height=64, resize_mode=3)
    assert (tiny.picture.size, tiny.latents_px) == ((64, 64), None)
    assert wanted(resize_mode=3).ignored == wanted(resize_mode=2).ignored == {}


def test_with_a_mask_the_picture_is_resized_and_that_is_told() -> None:
    masked = (halves(), square((32, 32, 96, 96)))
    assert original(*masked, width=64, height=64, resize_mode=3).latents_px is None
    assert wanted(*masked, resize_mode=3).ignored.keys() == {"resize_mode"}


def test_a_mask_over_the_whole_picture() -> None:
    made = original(halves(), square((32, 32, 96, 96)), inpaint_full_res=False, mask_blur=0, width=128, height=128)
    assert set(np.unique(levels(made.mask))) == {0, 255}
    result = finished(made, Image.new("RGB", (128, 128), "lime"))
    assert (result[32:96, 32:96] == [0, 255, 0]).all()
    result[32:96, 32:96] = levels(halves())[32:96, 32:96]
    assert (result == levels(halves())).all(), "what is kept is the original's own"


def test_a_mask_may_be_inverted_or_transparent_or_of_another_size() -> None:
    inverted = original(halves(), square((32, 32, 96, 96)), inpaint_full_res=False, mask_blur=0,
                        inpainting_mask_invert=1)  # fmt: skip
    assert levels(inverted.mask)[64, 64] == 0
    assert levels(inverted.mask)[0, 0] == 255
    opaque = Image.new("LA", (64, 64))
    opaque.putalpha(square((0, 0, 32, 64), (64, 64)))
    made = original(halves(), opaque, inpaint_full_res=False, mask_blur=0)
    assert (levels(made.mask)[:, :56] == 255).all()
    assert (levels(made.mask)[:, 72:] == 0).all()


@pytest.mark.parametrize(
    ("blur", "reach"), [({"mask_blur": 8}, (8, 8)), ({"mask_blur_x": 8, "mask_blur_y": 0}, (8, 0))]
)
def test_the_masks_edge_is_blurred(blur: dict[str, float], reach: tuple[int, int]) -> None:
    made = original(halves(), square((48, 48, 80, 80)), inpaint_full_res=False, **blur)
    mask = levels(made.mask)
    for line, px in ((mask[64], reach[0]), (mask[:, 64], reach[1])):
        assert (0 < line[48 - 4] < 128) == bool(px)
        assert line[48 - 24] == 0 or px == 8


def test_nothing_of_the_original_is_left_where_latents_are_repainted() -> None:
    made = original(halves(), square((32, 32, 96, 96)), inpaint_full_res=False, mask_blur=8)
    result, mask = finished(made, Image.new("RGB", (128, 128), "lime")), levels(made.mask)
    assert (result[mask >= 128] == [0, 255, 0]).all()
    assert (result[mask == 0] == levels(halves())[mask == 0]).all()
    assert ((mask > 0) & (mask < 128)).any(), "between them, they fade"


def test_only_masked_works_on_the_masks_surroundings() -> None:
    mask = square((80, 80, 112, 112), (256, 128))
    made = original(halves(256, 128), mask, inpaint_full_res=True, inpaint_full_res_padding=16, width=128, height=128,
                    mask_blur=0)  # fmt: skip
    assert made.picture.size == (128, 128)
    assert levels(made.mask)[64, 64] == 255
    assert levels(made.mask)[4, 4] == 0
    share = (levels(made.mask) == 255).mean()
    assert 0.2 < share < 0.3, "32 of 64 pixels a side"
    result = finished(made, Image.new("RGB", (128, 128), "lime"))
    assert result.shape == (128, 256, 3), "the whole picture's size"
    assert (result[80:112, 80:112] == [0, 255, 0]).all()
    result[80:112, 80:112] = levels(halves(256, 128))[80:112, 80:112]
    assert (result == levels(halves(256, 128))).all()


def test_where_there_is_no_room_for_the_shape_it_is_padded_and_cut_again() -> None:
    rings = Image.radial_gradient("L").resize((128, 64)).convert("RGB")
    made = original(rings, square((8, 8, 120, 56), (128, 64)), width=128, height=128, mask_blur=0)
    assert made.picture.size == (128, 128)
    assert np.abs(finished(made, made.picture) - levels(rings)).max() <= 4, "resampled twice, in the same shape"


def test_what_is_masked_is_painted_over_for_the_model() -> None:
    request, content = wanted(mask="x", inpainting_fill=0), wanted(mask="x", inpainting_fill=1)
    spot = Image.new("RGB", (128, 128), "red")
    spot.paste("lime", (48, 48, 80, 80))
    made = original(spot, square((40, 40, 88, 88)), inpaint_full_res=False, mask_blur=0)
    shown = made.frame(request.requests([1])[0]).body[: 128 * 128 * 3]
    assert (np.frombuffer(shown, np.uint8).reshape(128, 128, 3) == [255, 0, 0]).all()
    untouched = made.frame(content.requests([1])[0]).body[: 128 * 128 * 3]
    assert untouched == spot.tobytes()
