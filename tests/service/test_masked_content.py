"""What the masked part of an edit begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdxl.errors import RelayError
from tests.in_process import Studio, as_pixels, record_of_file
from tests.service.test_refine import a_picture, as_png

FIELDS: dict[str, Any] = {
    "prompt": "a red cube, white background",
    "seed": 3,
    "num_inference_steps": 10,
    "strength": 0.9,
}
MASK = Image.new("L", (128, 128))
MASK.paste(255, (40, 40, 96, 96))


def edited(mini: Studio, **fields: Any) -> Any:
    return mini.edited(as_png(a_picture(128, 128)), as_png(MASK), **{**FIELDS, **fields})


def test_each_content_makes_a_picture_of_its_own(mini: Studio) -> None:
    files = {content: edited(mini, masked_content=content) for content in ("original", "fill", "noise", "nothing")}
    pictures = {content: as_pixels(file).astype(int) for content, file in files.items()}
    original = np.asarray(a_picture(128, 128)).astype(int)
    for content, file in files.items():
        assert record_of_file(file.data)["request"]["masked_content"] == content
        assert np.abs(pictures[content] - original)[:28].max() <= 1, "what is kept, but for the watermark"
        assert all(np.abs(pictures[content] - pictures[other]).max() > 20 for other in pictures if other != content)
    assert np.abs(as_pixels(edited(mini)) - pictures["original"]).max() == 0, "which is the default"


def test_noise_over_nothing_is_what_diffusers_has_at_strength_1(mini: Studio) -> None:
    """There, it begins with noise alone; a picture of zeros under all noise is the same but for what is kept."""
    whole = as_png(Image.new("L", (128, 128), 255))
    picture = as_png(a_picture(128, 128))
    asked = {**FIELDS, "refine": "none", "scheduler": "ddim"}
    at_1 = mini.edit(picture, whole, **{**asked, "strength": 1.0}).astype(int)
    nothing = mini.edit(picture, whole, **{**asked, "strength": 0.9999}, masked_content="nothing").astype(int)
    assert np.abs(at_1 - nothing).mean() < np.abs(at_1 - mini.edit(picture, whole, **asked).astype(int)).mean()


@pytest.mark.parametrize(
    ("mask", "fields"),
    [(None, {"masked_content": "noise"}), (MASK, {"masked_content": "nothing", "strength": 0.1})],
    ids=["no mask", "no step"],
)
def test_where_it_could_have_no_effect_it_is_refused(mini: Studio, mask: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(RelayError, match="masked_content: got ") as raised:
        mini.edit(as_png(a_picture(128, 128)), mask and as_png(mask), **{**FIELDS, **fields})
    assert (raised.value.status, raised.value.field) == (400, "masked_content")
    mini.edit(as_png(a_picture(128, 128)), as_png(MASK), **{**FIELDS, **fields, "masked_content": "fill"})
