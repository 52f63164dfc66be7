"""`/edit` gives what diffusers' img2img and inpainting pipelines give, the base's and then the refiner's."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from sdxl.request.samplers import SAMPLERS
from tests.in_process import Studio
from tests.kept import Pixels
from tests.service.edit_reference import EditReference
from tests.service.reference import Reference, distance
from tests.service.server import Server, pixels
from tests.service.test_refine import a_picture, as_png

PROMPT = "a red cube on top of a blue sphere, yellow background"
SETTLED: dict[str, Any] = {
    "prompt": PROMPT,
    "seed": 3,
    "num_inference_steps": 10,
    "guidance_scale": 3.0,
    "strength": 0.7,
}
TOLERANCE = 2


def a_mask(width: int = 64, height: int = 64) -> Image.Image:
    """An ellipse right of the middle, whose edge is on no 8 x 8 grid."""
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((width * 0.35, height * 0.2, width * 0.9, height * 0.73), fill=255)
    return mask


def edit(server: Server | Studio, picture: Image.Image, mask: Image.Image | None = None, **fields: Any) -> Pixels:
    if isinstance(server, Studio):
        return server.edit(as_png(picture), None if mask is None else as_png(mask), **fields)
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    files = {"image": ("picture.png", as_png(picture), "image/png")}
    if mask is not None:
        files["mask"] = ("mask.png", as_png(mask), "image/png")
    return pixels(server.post("/edit", data=form, files=files))


def assert_same(
    server: Server | Studio,
    reference: EditReference,
    picture: Image.Image,
    mask: Image.Image | None = None,
    **fields: Any,
) -> None:
    settled = {**SETTLED, **fields}
    expected = reference.edit(picture, mask, **settled)
    assert distance(edit(server, picture, mask, **settled, paste_original=False), expected) <= TOLERANCE


@pytest.fixture(scope="module")
def editing(reference: Reference) -> EditReference:
    return EditReference(reference)


@pytest.fixture(scope="module")
def epsilon_editing(epsilon_reference: Reference) -> EditReference:
    return EditReference(epsilon_reference)


MASKS = {"img2img": None, "inpainting": a_mask()}
with_and_without_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
UNLIKE_SAMPLERS = ("euler", "heun", "euler_ancestral", "dpmpp_2m_sde", "pndm")


@with_and_without_mask
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_every_sampler(server: Server, editing: EditReference, scheduler: str, mask: Image.Image | None) -> None:
    assert_same(server, editing, a_picture(), mask, scheduler=scheduler)


@with_and_without_mask
@pytest.mark.parametrize("scheduler", UNLIKE_SAMPLERS)
def test_the_base_alone(server: Server, editing: EditReference, scheduler: str, mask: Image.Image | None) -> None:
    assert_same(server, editing, a_picture(), mask, scheduler=scheduler, refine="none")


@with_and_without_mask
@pytest.mark.parametrize("scheduler", UNLIKE_SAMPLERS)
def test_every_sampler_with_epsilon(
    epsilon: Studio, epsilon_editing: EditReference, scheduler: str, mask: Image.Image | None
) -> None:
    assert_same(epsilon, epsilon_editing, a_picture(), mask, scheduler=scheduler)


FIELDS: dict[str, dict[str, Any]] = {
    **{f"strength {strength}": {"strength": strength} for strength in (0.3, 0.5, 0.9999, 1.0)},
    "base alone, strength 0.1": {"strength": 0.1, "refine": "none"},
    "base alone, strength 1": {"strength": 1.0, "refine": "none"},
    "full, of second order": {"strength": 1.0, "scheduler": "heun"},
    "full, stochastic": {"strength": 1.0, "scheduler": "dpmpp_2m_sde"},
    **{f"guidance {scale}": {"guidance_scale": scale} for scale in (1.0, 5.0, 12.0)},
    "guidance of the refiner": {"refiner_guidance_scale": 7.5},
    "guidance_rescale": {"guidance_rescale": 0.7, "guidance_scale": 7.0},
    "early cutoff": {"high_noise_frac": 0.4},
    "early cutoff, of second order": {"high_noise_frac": 0.4, "scheduler": "heun", "strength": 0.9},
    "late cutoff": {"high_noise_frac": 0.95, "num_inference_steps": 30},
    "clip_skip": {"clip_skip": 1},
    "prompt_2": {"prompt_2": "a green cone, white background"},
    "negative prompt": {"negative_prompt": "a blue cone", "negative_prompt_2": "a gray background"},
    "sizes": {"original_size": (256, 200), "crops_coords_top_left": (16, 8), "target_size": (160, 120)},
    "negative sizes": {"negative_original_size": (64, 64), "negative_target_size": (128, 64),
                       "negative_crops_coords_top_left": (8, 32)},
    "negative original size alone": {"negative_original_size": (64, 64)},
    "scores": {"aesthetic_score": 7.5, "negative_aesthetic_score": 1.0},
}  # fmt: skip


# Both ways for each field; `make test` has them by turns.
FIELDS_AND_MASKS = [
    pytest.param(fields, mask, id=f"{name}, {kind}", marks=pytest.mark.full if (index + is_other) % 2 else ())
    for index, (name, fields) in enumerate(FIELDS.items())
    for is_other, (kind, mask) in enumerate(MASKS.items())
]


@pytest.mark.parametrize(("fields", "mask"), FIELDS_AND_MASKS)
def test_every_field(server: Server, editing: EditReference, fields: dict[str, Any], mask: Image.Image | None) -> None:
    assert_same(server, editing, a_picture(), mask, **fields)


@pytest.mark.parametrize("size", [(192, 96), (131, 77)], ids=str)
@pytest.mark.parametrize("has_mask", [False, True])
def test_every_size(server: Server, editing: EditReference, size: tuple[int, int], has_mask: bool) -> None:
    assert_same(server, editing, a_picture(*size), a_mask(*size) if has_mask else None)


@with_and_without_mask
@pytest.mark.parametrize("scheduler", UNLIKE_SAMPLERS)
def test_an_edit_under_the_cutoff_is_the_refiners_alone(
    server: Server, editing: EditReference, scheduler: str, mask: Image.Image | None
) -> None:
    settled = {**SETTLED, "strength": 0.15, "num_inference_steps": 20, "scheduler": scheduler}
    expected = editing.by_refiner_alone(a_picture(), mask, **settled)
    assert distance(edit(server, a_picture(), mask, **settled, paste_original=False), expected) <= TOLERANCE


def test_what_is_kept_is_the_originals_pixels(server: Server) -> None:
    picture, mask = a_picture(128, 128), a_mask(128, 128)
    pasted, unpasted = (edit(server, picture, mask, **SETTLED, paste_original=paste) for paste in (True, False))
    kept = np.asarray(mask.filter(ImageFilter.MaxFilter(33))) == 0  # 16 pixels and more from the mask's edge
    assert 2_000 < kept.sum() < 14_000
    assert np.array_equal(pasted[kept], np.asarray(picture)[kept])
    repainted = np.asarray(mask) == 255
    assert np.array_equal(pasted[repainted], unpasted[repainted])
    assert distance(unpasted[repainted][None], np.asarray(picture)[repainted][None]) > 50


def test_edits_share_ticks_with_other_jobs(server: Server) -> None:
    """Company changes nothing: beside each other and beside /generate, the pictures are those made alone."""
    samplers = ["euler", "heun", "euler_ancestral", "pndm", "dpmpp_2m_sde", "ddim"]
    masks = [None, a_mask()]

    def make(index: int) -> Pixels:
        if index % 3 == 2:
            small = {"width": 64, "height": 64}
            return server.generate(prompt=PROMPT, seed=index, num_inference_steps=12, guidance_scale=3.0, **small)
        fields = {**SETTLED, "seed": index, "scheduler": samplers[index % 6], "num_inference_steps": 12 + index}
        return edit(server, a_picture(), masks[index % 2], **fields)

    alone = [make(index) for index in range(9)]
    before = ticks_and_rows(server)
    with ThreadPoolExecutor(9) as pool:
        together = list(pool.map(make, range(9)))
    ticks, rows = (after - earlier for after, earlier in zip(ticks_and_rows(server), before, strict=True))
    assert [distance(one, other) <= TOLERANCE for one, other in zip(alone, together, strict=True)] == [True] * 9
    assert rows / ticks > 3


def ticks_and_rows(server: Server) -> tuple[float, float]:
    """Of the base, since it was started."""
    count, total = (server.metric(f"sdxl_relay_tick_rows_{kind}", stage="base") for kind in ("count", "sum"))
    return count, total
