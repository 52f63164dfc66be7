"""What AUTOMATIC1111's clients send, and what it means here. docs/reference/other-apis.md says why for each field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from entry.automatic1111.forgiving import (
    NUMBER,
    Forgiving,
    LenientGuidance,
    LenientSide,
    LenientSteps,
    Portion,
    Whole,
)
from entry.automatic1111.hires import HiresFields
from entry.automatic1111.meaningless import check_refused, ignored_fields
from entry.automatic1111.options import Options
from entry.automatic1111.samplers import Sampling, our_sampler
from sdxl.errors import invalid_field
from sdxl.prompt.loras import without_tags
from sdxl.request.fields import MAX_SEED, ModelName, Prompt, Text
from sdxl.request.requests import GenerationRequest

MAX_PICTURES = 32  # of one request
NO_OPTIONS = Options()
NO_SAMPLER = ("automatic", "none", "default")
Count = Annotated[Whole, Field(ge=1, le=MAX_PICTURES)]


class PicturesWanted(Forgiving):
    """What txt2img and img2img have in common. What is left out falls back to the checkpoint's defaults."""

    prompt: Prompt
    negative_prompt: Text | None = None
    seed: Annotated[Whole, Field(ge=-1, le=MAX_SEED)] | None = None
    steps: LenientSteps | None = None
    cfg_scale: LenientGuidance | None = None
    width: LenientSide | None = None
    height: LenientSide | None = None
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    batch_size: Count | None = None
    n_iter: Count | None = None
    refiner_checkpoint: ModelName | None = None
    refiner_switch_at: Annotated[Portion, NUMBER] | None = None
    eta: Any = None
    send_images: bool | None = None
    disable_extra_networks: bool | None = None
    override_settings: Options = NO_OPTIONS

    def model_post_init(self, _context: object) -> None:
        """Raises RelayError (400) for what cannot be done here, and samplers that are not there."""
        check_refused(self.unknown)
        self._sampling()
        without_tags(self.prompt)
        if self.count > MAX_PICTURES:
            raise invalid_field("batch_size", self.batch_size, f"batch_size x n_iter of at most {MAX_PICTURES}")

    @property
    def sampler(self) -> str | None:
        """In AUTOMATIC1111's words; None for the checkpoint's own."""
        name = self.sampler_name or self.sampler_index
        return None if name and name.strip().lower() in NO_SAMPLER else name

    def _sampling(self) -> Sampling:
        return our_sampler(self.sampler, self.scheduler, sampler_field=self._sampler_field)

    @property
    def count(self) -> int:
        """Pictures."""
        return (self.batch_size or 1) * (self.n_iter or 1)

    @property
    def first_seed(self) -> int | None:
        """None for one that is to be drawn."""
        return None if self.seed == -1 else self.seed

    @property
    def ignored(self) -> dict[str, str]:
        """The fields that were sent and had no effect, each with the reason."""
        ignored = dict(ignored_fields(self.unknown))
        if self.eta is not None:
            ignored["eta"] = "the sampler decides"
        ignored |= self._sampling().without_effect
        return ignored | dict(ignored_fields(self.override_settings.unknown, "override_settings."))

    @property
    def own_names(self) -> Mapping[str, str]:
        """Our names of fields, of which errors may speak, and what the client calls them."""
        return {
            "num_inference_steps": "steps",
            "guidance_scale": "cfg_scale",
            "high_noise_frac": "refiner_switch_at",
            "scheduler": self._sampler_field,
            "schedule": "scheduler",
            "hires": "enable_hr",
            "loras": "prompt",
            "model": "sd_model_checkpoint",
            "refiner_model": "refiner_checkpoint",
        }

    def shared_fields(self, options: Options) -> dict[str, Any]:
        """The fields that all requests of ours have for it; `options` count where `override_settings` say nothing."""
        prompt, loras = without_tags(self.prompt)
        settled = self.override_settings.over(options)
        fields: dict[str, Any] = {
            "prompt": prompt,
            "prompt_syntax": "a1111",
            "loras": None if self.disable_extra_networks else loras,
            "negative_prompt": self.negative_prompt,
            "num_inference_steps": self.steps,
            "guidance_scale": self.cfg_scale,
            **self._sampling().as_fields,
            "clip_skip": _clip_skip(settled.CLIP_stop_at_last_layers),
            "model": settled.sd_model_checkpoint,
            "output_format": settled.samples_format or "png",
            "refiner_model": self.refiner_checkpoint,
        }
        if self.refiner_checkpoint == "None" or self.refiner_switch_at == 1:
            return fields | {"refine": "none", "refiner_model": None}
        if self.refiner_switch_at:
            return fields | {"refine": "ensemble", "high_noise_frac": float(self.refiner_switch_at)}
        return fields

    @property
    def _sampler_field(self) -> str:
        """Where the client says which sampler."""
        return "sampler_name" if self.sampler_name or not self.sampler_index else "sampler_index"


class Txt2Img(PicturesWanted, HiresFields):
    """Pictures from a prompt (`POST /sdapi/v1/txt2img`)."""

    def model_post_init(self, _context: object) -> None:
        """Raises RelayError (400) for a second pass that cannot be done, too."""
        super().model_post_init(_context)
        self.hires(self.steps)

    @property
    def ignored(self) -> dict[str, str]:
        """See `PicturesWanted`."""
        return super().ignored | self.hires_without_effect

    def requests(self, seeds: list[int], options: Options = NO_OPTIONS) -> list[GenerationRequest]:
        """A request of ours for each seed."""
        size = {"width": self.width, "height": self.height}
        fields = {**self.shared_fields(options), **size, "hires": self.hires(self.steps)}
        return [GenerationRequest(**fields, seed=seed) for seed in seeds]


def _clip_skip(stop_at: int | None) -> int | None:
    """In diffusers' count: AUTOMATIC1111 says which layer from the end, and SDXL takes the second one anyway."""
    return None if stop_at in (None, 1) else stop_at - 2
