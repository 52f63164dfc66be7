"""What a client may ask for: the typed requests, and how a checkpoint's defaults settle what was left out.

A request holds what came, None for what was left out. `GenerationRequest.with_defaults` gives a
`Generation`, in which everything is settled; the two are never mixed.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, Strict, field_validator, model_validator

from sdxl.errors import invalid_field
from sdxl.request.fields import (
    MAX_PROMPT_CHARACTERS,
    EditRefineMode,
    Guidance,
    Integer,
    MaskedContent,
    ModelName,
    OpenShare,
    OutputFormat,
    Pair,
    PromptSyntax,
    RefineMode,
    Seed,
    Side,
    Steps,
    Strength,
)
from sdxl.request.hires import Hires
from sdxl.request.samplers import SamplerName, with_present_names
from sdxl.request.schedules import ScheduleName
from sdxl.request.settled import Defaults, Edit, Generation, Refinement
from sdxl.request.shared import TEXTS, SharedFields


class _Request(SharedFields):
    """The fields that all endpoints have. Pairs are (height, width) or (top, left) in pixels, as in diffusers."""

    model: ModelName | None = None
    """Which of the server's models makes the picture; without one, its default."""
    prompt_syntax: PromptSyntax | None = None
    """plain: prompts count as they stand; a1111: with AUTOMATIC1111's weights, BREAK, prompt editing and LoRA tags."""
    long_prompts: Annotated[bool, Strict()] | None = None
    """Whether plain prompts may have more than 77 tokens, in chunks of 75. Those of a1111 always may."""
    num_inference_steps: Steps | None = None
    """Denoising steps of both stages together."""
    guidance_scale: Guidance | None = None
    """How strongly the prompt counts. Up to 1 means no guidance, and half the work."""
    seed: Seed | None = None
    """Where the noise begins. Without one, a seed is drawn; the answer says which."""
    scheduler: SamplerName | None = None
    """The sampler, by the name of diffusers' scheduler."""
    schedule: ScheduleName | None = None
    """How its steps are spread over the noise levels. `default` is as the checkpoint says."""
    strength: Strength | None = None
    """How much of the way to noise to go back."""
    original_size: Pair | None = None
    """Size conditioning: the original's (height, width); without it, the picture's own size."""
    target_size: Pair | None = None
    """Size conditioning: the (height, width) that the picture is to look like; without it, its own."""
    negative_original_size: Pair | None = None
    """The same for the negative prompt; without it, original_size."""
    negative_target_size: Pair | None = None
    """The same for the negative prompt; without it, target_size."""
    output_format: OutputFormat = "png"
    """The file's format."""
    quality: Annotated[Integer, Field(ge=1, le=100)] = 90
    """Of a JPEG or WebP file."""
    watermark: Annotated[bool, Strict()] = True
    """Whether the picture carries SDXL's invisible watermark."""
    metadata: Annotated[bool, Strict()] = True
    """Whether the file says how the picture was made."""

    @model_validator(mode="before")
    @classmethod
    def _with_present_names(cls, values: object) -> object:
        return with_present_names(values)

    def schedule_of(self, defaults: Defaults) -> dict[str, ScheduleName]:
        """The field `schedule`: the checkpoint's default goes with the checkpoint's sampler, and with no other."""
        own = defaults.schedule if self.scheduler is None else "default"
        return {"schedule": own if self.schedule is None else self.schedule}


class GenerationRequest(_Request):
    """A picture from a prompt (`POST /generate`)."""

    width: Side | None = None
    """Pixels; without it, the checkpoint's native size."""
    height: Side | None = None
    """Pixels; without it, the checkpoint's native size."""
    refiner_model: ModelName | None = None
    """Which of the server's models refines the picture; without one, the model's own refiner."""
    refiner_guidance_scale: Guidance | None = None
    """The refiner's guidance_scale; without it, the base's."""
    refine: RefineMode | None = None
    """ensemble: hand over at the cutoff; sdedit: refine the base's finished latents; none: no refiner."""
    high_noise_frac: OpenShare | None = None
    """With ensemble: the base's share of the noise levels."""
    hires: Hires | None = None
    """A second pass over the enlarged picture, in which the refiner has its part. The first one is the base's alone."""

    def model_post_init(self, _context: object) -> None:
        """Raises RelayError (400) for what a second pass cannot have."""
        if self.hires is None:
            return
        if self.refine == "sdedit":
            raise invalid_field("refine", self.refine, "ensemble or none, with hires")
        texts = [*(getattr(self, name) for name in TEXTS), self.hires.prompt, self.hires.negative_prompt]
        if (together := sum(len(text or "") for text in texts)) > MAX_PROMPT_CHARACTERS:
            allowed = f"up to {MAX_PROMPT_CHARACTERS} characters of all prompts together"
            raise invalid_field("hires", f"{together} characters", allowed)

    def with_defaults(self, defaults: Defaults) -> Generation:
        """Settles what was left out; the seed must have been drawn (else pydantic's ValidationError).

        `guidance_scale` counts for both stages unless the refiner's is given.
        """
        own = defaults.of((*_OF_ALL, *_OF_BOTH_STAGES, "width", "height", "refine", "strength"))
        return Generation.model_validate({**own, **_given_to_both(self), **self.schedule_of(defaults)})


_PAIRS = tuple(name for name in _Request.model_fields if name.endswith(("_size", "_top_left")))


class _FormRequest(_Request):
    """A request that comes as a form, for a file comes with it."""

    @field_validator("prompt", "prompt_2", "negative_prompt", "negative_prompt_2", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """Gives back the text that BentoML has read as JSON in a form's field: a prompt may be `123`."""
        return str(value) if isinstance(value, int | float) else value

    @field_validator("watermark", "metadata", "paste_original", mode="before", check_fields=False)
    @classmethod
    def _as_bool(cls, value: object) -> object:
        """`true` has been read as JSON already; clients in Python may write `True`."""
        return {"True": True, "False": False}.get(value, value) if isinstance(value, str) else value

    @field_validator(*_PAIRS, mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        """A list of numbers may come as `1024,1024`, for that is how many tools write one in a form."""
        return json.loads(f"[{value}]") if isinstance(value, str) else value


class RefineRequest(_FormRequest):
    """A better picture from a picture (`POST /refine`), whose file comes in a field of its own."""

    def with_defaults(self, defaults: Defaults) -> Refinement:
        """Settles what was left out; guidance falls back to the checkpoint's guidance for the refiner."""
        values = self.model_dump(exclude_none=True, exclude=_PICTURE_FIELDS)
        own = defaults.of((*_OF_ALL, "num_inference_steps", "scheduler", "strength"))
        guidance = {"guidance_scale": defaults.for_refiner}
        return Refinement.model_validate({**own, **guidance, **values, **self.schedule_of(defaults)})


class EditRequest(_FormRequest):
    """A picture changed by a prompt (`POST /edit`); its file, and a mask's, come in fields of their own."""

    refiner_model: ModelName | None = None
    """Which of the server's models refines the picture; without one, the model's own refiner."""
    refiner_guidance_scale: Guidance | None = None
    """The refiner's guidance_scale; without it, the base's."""
    refine: EditRefineMode | None = None
    """ensemble or none. If the strength leaves the base no step above the cutoff, the refiner edits alone."""
    high_noise_frac: OpenShare | None = None
    """With ensemble: the base's share of the noise levels."""
    paste_original: Annotated[bool, Strict()] = True
    """Whether the original's own pixels come back where the mask is black."""
    masked_content: MaskedContent = "original"
    """What an edit begins with where the mask is white: what is there, the colours around it, noise, or zeros."""

    def with_defaults(self, defaults: Defaults, *, has_mask: bool) -> Edit:
        """Settles what was left out, as `GenerationRequest.with_defaults` does."""
        own = {
            "strength": defaults.inpaint_strength if has_mask else defaults.edit_strength,
            "refine": "none" if defaults.refine == "none" else "ensemble",
            "num_inference_steps": defaults.edit_steps or defaults.num_inference_steps,
        }
        given = {**_given_to_both(self), **self.schedule_of(defaults)}
        return Edit.model_validate({**defaults.of((*_OF_ALL, *_OF_BOTH_STAGES)), **own, **given})


PictureRequest = GenerationRequest | RefineRequest | EditRequest
_PICTURE_FIELDS = {  # for the entry service alone
    "output_format", "quality", "watermark", "metadata", "paste_original", "hires",
}  # fmt: skip
_OF_ALL = ("prompt_syntax", "long_prompts")
_OF_BOTH_STAGES = ("num_inference_steps", "guidance_scale", "refiner_guidance_scale", "scheduler", "high_noise_frac")


def _given_to_both(request: GenerationRequest | EditRequest) -> dict[str, object]:
    values = request.model_dump(exclude_none=True, exclude=_PICTURE_FIELDS)
    if request.guidance_scale is not None:
        values.setdefault("refiner_guidance_scale", request.guidance_scale)
    return values
