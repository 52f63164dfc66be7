"""A picture in two passes: what each is asked for, the enlargement between them, and the record of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image, ImageOps

from entry.http.upload import Original
from runners.frames import Frame, pixels_of
from sdxl.errors import invalid_field
from sdxl.request.fields import MIN_SIDE_PX
from sdxl.request.hires import Hires
from sdxl.request.requests import EditRequest, GenerationRequest
from sdxl.request.settled import Defaults

_RESAMPLING = {"lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST}
_OF_BOTH = EditRequest.model_fields.keys() & GenerationRequest.model_fields.keys() - {"strength"}
_OF_SECOND = {"prompt", "negative_prompt", "guidance_scale", "scheduler", "schedule", "strength"}
# What the second pass decides of the request's record: the base made the first one by itself.
_OF_REFINER = ("refine", "refiner_model", "refiner_guidance_scale", "high_noise_frac")


def first_pass(request: GenerationRequest) -> GenerationRequest:
    """The request for the small picture, by the base alone."""
    return request.model_copy(update={"hires": None, "refine": "none", "refiner_model": None})


def second_pass(request: GenerationRequest, hires: Hires, seed: int | None, steps: int) -> EditRequest:
    """The request for the large picture; `seed` and `steps` are the first pass's."""
    values = request.model_dump(include=_OF_BOTH, exclude_none=True)
    if hires.scheduler is not None:
        values.pop("schedule", None)  # it went with the other sampler
    values |= hires.model_dump(include=_OF_SECOND, exclude_none=True)
    return EditRequest.model_validate({**values, "seed": seed, "num_inference_steps": hires.steps or steps})


def check_size(request: GenerationRequest, hires: Hires, defaults: Defaults, max_pixels: int) -> None:
    """Raises RelayError (400) for a size that no picture can have, before the small picture is made."""
    width, height = hires.size(request.width or defaults.width, request.height or defaults.height)
    if min(width, height) < MIN_SIDE_PX or width * height > max_pixels:
        allowed = f"{MIN_SIDE_PX} px a side or more, and at most {max_pixels} pixels together"
        raise invalid_field("hires", f"{width} x {height}", allowed)


def enlarged(made: Frame, hires: Hires) -> Original:
    """What the second pass begins with."""
    picture = Image.fromarray(pixels_of(made))
    size = hires.size(*picture.size)
    if hires.upscaler == "latent":
        return Original(file=b"", picture=picture, latents_px=size)
    return Original(file=b"", picture=ImageOps.fit(picture, size, _RESAMPLING[hires.upscaler]))


def results_of_both(first: Frame, second: Sequence[Frame]) -> list[Frame]:
    """The stages' results, of which the first says how the whole request was settled."""
    settled, refined = first.meta["settled"], second[0].meta["settled"]
    settled = {**settled, **{name: refined[name] for name in _OF_REFINER if name in refined}}
    return [replace(first, meta={**first.meta, "settled": settled}), *second]
