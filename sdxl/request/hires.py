"""A second pass: the picture is enlarged, and changed by the prompt at its large size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sdxl.request.fields import Guidance, Number, Prompt, Side, Steps, Strength, StrictModel, Text
from sdxl.request.samplers import SamplerName
from sdxl.request.schedules import ScheduleName

Upscaler = Literal["lanczos", "nearest", "latent"]
MAX_SCALE = 4.0
STEP_PX = 8  # sides are multiples of it


class Hires(StrictModel):
    """How the picture is enlarged, and how the second pass differs from the first one."""

    scale: Annotated[Number, Field(gt=1, le=MAX_SCALE)] = 2.0
    """By how much both sides grow, rounded to multiples of 8 pixels."""
    width: Side | None = None
    """Pixels, instead of scale. Without a height, the picture keeps its proportions."""
    height: Side | None = None
    """Pixels, instead of scale. With a width, what is too much at two sides is cut off."""
    upscaler: Upscaler = "lanczos"
    """lanczos and nearest enlarge the picture; latent enlarges its latents, and needs a strength above 0.5."""
    strength: Strength = 0.5
    """How much of the way to noise to go back at the large size."""
    steps: Steps | None = None
    """The second pass's num_inference_steps, of which the strength leaves a part; without them, the first one's."""
    guidance_scale: Guidance | None = None
    """The second pass's; without it, the first one's. The same holds for the other fields."""
    prompt: Prompt | None = None
    negative_prompt: Text | None = None
    scheduler: SamplerName | None = None
    schedule: ScheduleName | None = None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the picture that a picture of this size becomes, in pixels."""
        wide, high = self.width, self.height
        if wide is None and high is None:
            wide, high = _even(width * self.scale), _even(height * self.scale)
        return wide or _even(width * (high or 0) / height), high or _even(height * (wide or 0) / width)

    def steps_done(self, first_steps: int) -> int:
        """Steps that the second pass takes, of samplers of first order; the first has `first_steps`."""
        return int((self.steps or first_steps) * self.strength)


def _even(side: float) -> int:
    return max(STEP_PX, round(side / STEP_PX) * STEP_PX)
