"""AUTOMATIC1111's hires fix: `enable_hr` and its fields, and what they mean here."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from pydantic import ValidationError

from entry.automatic1111.forgiving import Forgiving, as_number
from entry.automatic1111.samplers import Sampling, our_sampler
from sdxl.errors import invalid_field, shorten
from sdxl.request.fields import MAX_STEPS
from sdxl.request.hires import Hires, Upscaler

LATENT_MODES = ("Latent",)
USUAL_STRENGTH, LEAST_STRENGTH = 0.75, 0.02
_UPSCALERS: Mapping[str, Upscaler] = {"lanczos": "lanczos", "none": "lanczos", "nearest": "nearest"}
_SAME = ("", "none", "use same checkpoint", "use same sampler")
_THEIRS = {
    "scale": "hr_scale", "width": "hr_resize_x", "height": "hr_resize_y", "strength": "denoising_strength",
    "steps": "hr_second_pass_steps", "prompt": "hr_prompt", "negative_prompt": "hr_negative_prompt",
    "guidance_scale": "hr_cfg",
}  # fmt: skip


class HiresFields(Forgiving):
    """They count with `enable_hr` alone, and are read only then. The same holds for `denoising_strength`."""

    enable_hr: bool = False
    hr_scale: Any = None
    hr_upscaler: Any = None
    hr_second_pass_steps: Any = None
    hr_resize_x: Any = None
    hr_resize_y: Any = None
    hr_prompt: Any = None
    hr_negative_prompt: Any = None
    hr_sampler_name: Any = None
    hr_scheduler: Any = None
    hr_cfg: Any = None
    hr_checkpoint_name: Any = None
    denoising_strength: Any = None

    def hires(self, steps: int | None) -> Hires | None:
        """The second pass; `steps` are the first one's. Raises RelayError (400) that names the client's field."""
        if not self.enable_hr:
            return None
        if not _is_same(self.hr_checkpoint_name):
            raise invalid_field("hr_checkpoint_name", self.hr_checkpoint_name, "Use same checkpoint")
        strength = as_number(self.denoising_strength)
        strength = USUAL_STRENGTH if strength is None else max(LEAST_STRENGTH, _as_float(strength))
        fields = {
            "scale": as_number(self.hr_scale),
            "width": as_number(self.hr_resize_x) or None,
            "height": as_number(self.hr_resize_y) or None,
            "upscaler": _upscaler(self.hr_upscaler),
            "strength": strength,
            "steps": _steps(as_number(self.hr_second_pass_steps) or steps, strength),
            "prompt": self.hr_prompt,
            "negative_prompt": self.hr_negative_prompt,
            "guidance_scale": as_number(self.hr_cfg),
            **self._second_sampling().as_fields,
        }
        try:
            return Hires.model_validate({name: value for name, value in fields.items() if value is not None})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise invalid_field(_THEIRS[str(first["loc"][0])], first["input"], first["msg"]) from None

    @property
    def hires_without_effect(self) -> dict[str, str]:
        """The client's fields that were given and have no effect, each with the reason."""
        renamed = {"scheduler": "hr_scheduler"}
        return {renamed.get(name, name): why for name, why in self._second_sampling().without_effect.items()}

    def _second_sampling(self) -> Sampling:
        """Nothing where it is the first pass's."""
        if not self.enable_hr or _is_same(self.hr_sampler_name):
            return Sampling()
        schedule = None if _is_same(self.hr_scheduler) else str(self.hr_scheduler)
        return our_sampler(str(self.hr_sampler_name), schedule, sampler_field="hr_sampler_name")


def _is_same(name: object) -> bool:
    return name is None or str(name).strip().lower() in _SAME


def _as_float(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise invalid_field("denoising_strength", shorten(value), "0 to 1")


def _steps(wanted: object, strength: float) -> int | None:
    """AUTOMATIC1111 does all steps of the second pass, and diffusers the strength's share of them."""
    if wanted is None:
        return None if strength > 2 * LEAST_STRENGTH else ceil(1 / strength)
    if not isinstance(wanted, int) or wanted < 0:
        raise invalid_field("hr_second_pass_steps", shorten(wanted), f"0 to {MAX_STEPS}")
    return min(MAX_STEPS, ceil(wanted / strength))


def _upscaler(name: object) -> Upscaler:
    """Without one, AUTOMATIC1111 takes Latent; its other latent modes differ by how they interpolate."""
    wanted = LATENT_MODES[0] if name is None else str(name)
    if wanted.strip().lower().startswith("latent"):
        return "latent"
    if (found := _UPSCALERS.get(wanted.strip().lower())) is None:
        raise invalid_field("hr_upscaler", wanted, ", ".join((*LATENT_MODES, "Lanczos", "Nearest", "None")))
    return found
