"""What AUTOMATIC1111's clients send, and what it means here. docs/reference/other-apis.md says why for each field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from entry.automatic1111.samplers import our_sampler
from sdxl.errors import invalid_field, shorten
from sdxl.prompt.loras import without_tags
from sdxl.request.fields import MAX_SEED, Guidance, Integer, ModelName, Number, Prompt, Side, Steps, Text
from sdxl.request.requests import GenerationRequest

MAX_PICTURES = 32  # of one request

# Fields without meaning here, and the values with which they have none in AUTOMATIC1111 either; null always is one.
MEANINGLESS: dict[str, tuple[object, ...]] = {
    "styles": ([],), "subseed_strength": (0,), "seed_resize_from_h": (-1, 0), "seed_resize_from_w": (-1, 0),
    "restore_faces": (False,), "tiling": (False,), "enable_hr": (False,), "eta": (), "ddim_discretize": ("uniform",),
    "s_churn": (0,), "s_tmin": (0,), "s_tmax": (0,), "s_noise": (1,), "s_min_uncond": (0,),
    "token_merging_ratio": (0,), "token_merging_ratio_hr": (0,), "script_name": ("",), "script_args": ([],),
    "alwayson_scripts": ({},), "infotext": ("",), "extra_generation_params": ({},),
}  # fmt: skip
# Those that change no picture here: nothing is kept on the server, there are no subseeds and no hires fix.
HARMLESS = {
    "save_images", "do_not_save_samples", "do_not_save_grid", "override_settings_restore_afterwards", "force_task_id",
    "subseed", "seed_enable_extras", "denoising_strength", "do_not_reload_embeddings",
    "comments", "firstphase_width", "firstphase_height", "hr_scale", "hr_upscaler", "hr_second_pass_steps",
    "hr_resize_x", "hr_resize_y", "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt",
    "hr_negative_prompt",
}  # fmt: skip


Checkpoint = ModelName | Literal["", "None"]
Flag = Annotated[bool, Strict()]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Options(_Model):
    """The options that there are. Each is the same for all clients, and cannot be changed."""

    sd_model_checkpoint: Checkpoint | None = None
    """Of requests that name none in `override_settings`."""
    CLIP_stop_at_last_layers: Annotated[Integer, Field(ge=1, le=1)] | None = None
    samples_format: Annotated[str, Field(pattern="^png$")] | None = None


OPTIONS = Options(CLIP_stop_at_last_layers=1, samples_format="png")


class OverrideSettings(_Model):
    """Of one request."""

    sd_model_checkpoint: Checkpoint | None = None
    CLIP_stop_at_last_layers: Annotated[Integer, Field(ge=1, le=12)] | None = None


class Txt2Img(_Model):
    """Pictures from a prompt (`POST /sdapi/v1/txt2img`). What is left out falls back to the checkpoint's defaults."""

    # Fields that are allowed with some values only are not in the schema.
    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})

    prompt: Prompt
    negative_prompt: Text | None = None
    seed: Annotated[Integer, Field(ge=-1, le=MAX_SEED)] | None = None
    steps: Steps | None = None
    cfg_scale: Guidance | None = None
    width: Side | None = None
    height: Side | None = None
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    batch_size: Annotated[Integer, Field(ge=1, le=MAX_PICTURES)] | None = None
    n_iter: Annotated[Integer, Field(ge=1, le=MAX_PICTURES)] | None = None
    refiner_checkpoint: Checkpoint | None = None
    refiner_switch_at: Annotated[Number, Field(gt=0, le=1)] | None = None
    send_images: Flag | None = None
    disable_extra_networks: Flag | None = None
    override_settings: OverrideSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_meaningless(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        for name, harmless in MEANINGLESS.items():
            if values.get(name) is not None and values[name] not in harmless:
                allowed = " or ".join(shorten(value) for value in (*harmless, None))
                raise invalid_field(name, values[name], f"{allowed}, for there is no such thing here")
        return {name: value for name, value in values.items() if name not in MEANINGLESS and name not in HARMLESS}

    def model_post_init(self, _context: object) -> None:
        """Raises RelayError (400) for fields that do not go together, and samplers that are not there."""
        our_sampler(self.sampler, self.scheduler)
        without_tags(self.prompt)
        if self.count > MAX_PICTURES:
            raise invalid_field("batch_size", self.batch_size, f"batch_size x n_iter of at most {MAX_PICTURES}")

    @property
    def sampler(self) -> str | None:
        """In AUTOMATIC1111's words."""
        return self.sampler_name or self.sampler_index

    @property
    def count(self) -> int:
        """Pictures."""
        return (self.batch_size or 1) * (self.n_iter or 1)

    @property
    def first_seed(self) -> int | None:
        """None for one that is to be drawn."""
        return None if self.seed == -1 else self.seed

    @property
    def clip_skip(self) -> int | None:
        """In diffusers' count: AUTOMATIC1111 says which layer from the end, and SDXL takes the second one anyway."""
        stop_at = None if self.override_settings is None else self.override_settings.CLIP_stop_at_last_layers
        return None if stop_at in (None, 1) else stop_at - 2

    def requests(self, seeds: list[int]) -> list[GenerationRequest]:
        """A request of ours for each seed."""
        prompt, loras = without_tags(self.prompt)
        fields: dict[str, Any] = {
            "prompt": prompt,
            "prompt_syntax": "a1111",
            "loras": None if self.disable_extra_networks else loras,
            "negative_prompt": self.negative_prompt,
            "num_inference_steps": self.steps,
            "guidance_scale": self.cfg_scale,
            "width": self.width,
            "height": self.height,
            "scheduler": our_sampler(self.sampler, self.scheduler),
            "clip_skip": self.clip_skip,
            "model": None if self.override_settings is None else _named(self.override_settings.sd_model_checkpoint),
            "refiner_model": _named(self.refiner_checkpoint),
        }
        if self.refiner_checkpoint == "None" or self.refiner_switch_at == 1:
            fields |= {"refine": "none", "refiner_model": None}
        elif self.refiner_switch_at is not None:
            fields |= {"refine": "ensemble", "high_noise_frac": self.refiner_switch_at}
        return [GenerationRequest(**fields, seed=seed) for seed in seeds]


def _named(checkpoint: str | None) -> str | None:
    """None where the default is meant."""
    return None if checkpoint in (None, "", "None") else checkpoint
