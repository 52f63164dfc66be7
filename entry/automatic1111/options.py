"""Options: what AUTOMATIC1111's one user sets for all requests, and here each caller for their own.

A caller is whoever shows the same API key; without keys, all are one. So there are no more callers than keys, and what
one may keep is bounded. Options live in the memory of this entry, and end with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.requests import Request

from entry.automatic1111.forgiving import Forgiving, Whole
from entry.automatic1111.lists import title_of
from entry.fleet.fleet import Fleet
from entry.fleet.names import model_named
from entry.http.keys import shown_key
from sdxl.config.settings import Settings
from sdxl.errors import RelayError, invalid_field
from sdxl.handoff.offer import OfferedModel
from sdxl.request.fields import ModelName, OutputFormat

MAX_OPTIONS, MAX_OPTIONS_BYTES = 1_000, 100_000  # of one caller; AUTOMATIC1111 has about 250, of 20 KB
FORMATS: Mapping[str, OutputFormat] = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}

# What clients look for, with AUTOMATIC1111's defaults.
USUAL: Mapping[str, Any] = {
    "samples_save": False, "samples_format": "png", "jpeg_quality": 90, "grid_save": False, "return_grid": False,
    "do_not_show_images": False, "send_seed": True, "send_size": True, "outdir_samples": "",
    "outdir_txt2img_samples": "", "outdir_img2img_samples": "", "outdir_grids": "", "outdir_save": "",
    "save_to_dirs": False, "enable_pnginfo": True, "sd_vae": "Automatic", "sd_hypernetwork": "None", "sd_lora": "None",
    "sd_unet": "None", "sd_checkpoint_cache": 0, "CLIP_stop_at_last_layers": 1, "eta_noise_seed_delta": 0,
    "eta_ddim": 0.0, "eta_ancestral": 1.0, "randn_source": "CPU", "face_restoration": False,
    "face_restoration_model": "None", "tiling": False, "upscaler_for_img2img": "None",
    "img2img_color_correction": False, "img2img_fix_steps": False, "img2img_background_color": "#ffffff",
    "inpainting_mask_weight": 1.0, "initial_noise_multiplier": 1.0, "live_previews_enable": True,
    "show_progress_every_n_steps": 10, "show_progress_type": "Approx cheap", "live_previews_image_format": "png",
    "quicksettings": "sd_model_checkpoint", "disabled_extensions": [], "disable_all_extensions": "none",
}  # fmt: skip


def _checkpoint(value: object) -> object:
    """None where the default model is meant."""
    return None if value == "None" else value


def _format(value: object) -> object:
    """Ours; what is none of them is left for the error."""
    return FORMATS.get(value.lower(), value) if isinstance(value, str) else value


class Options(Forgiving):
    """The options that have an effect; others are kept."""

    sd_model_checkpoint: Annotated[ModelName | None, BeforeValidator(_checkpoint)] = None
    CLIP_stop_at_last_layers: Annotated[Whole, Field(ge=1, le=12)] | None = None
    samples_format: Annotated[OutputFormat, BeforeValidator(_format)] | None = None

    def over(self, others: Options) -> Options:
        """These, and the others where these say nothing."""
        mine, theirs = (each.model_dump(include=set(Options.model_fields)) for each in (self, others))
        return Options(**{name: theirs[name] if value is None else value for name, value in mine.items()})


class CallersOptions:
    """Of all callers of this entry."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet, self._has_keys = fleet, bool(settings.api_keys)
        self._kept: dict[str, dict[str, Any]] = {}

    def caller(self, request: Request) -> str:
        """Who asks: without keys, all are the same."""
        return shown_key(request.scope).hex() if self._has_keys else ""

    def of(self, caller: str) -> Options:
        """What counts for a request that says nothing else."""
        return Options(**self._kept.get(caller, {}))

    def shown(self, caller: str) -> dict[str, Any]:
        """All of them, as AUTOMATIC1111 shows its own."""
        model = self._model(self.of(caller).sd_model_checkpoint)
        named = {"sd_model_checkpoint": model and title_of(model), "sd_checkpoint_hash": model and (model.sha256 or "")}
        return {**USUAL, **self._kept.get(caller, {}), **named}

    def keep(self, caller: str, sent: Mapping[str, Any]) -> None:
        """Takes over what a caller sets; an empty value is the default again.

        Raises RelayError: 404 for a model that is not there, 400 for too many options.
        """
        wanted = Options(**sent)
        model_named(wanted.sd_model_checkpoint, self._fleet.base.offers, "sd_model_checkpoint")
        kept = {**self._kept.get(caller, {}), **sent}
        kept = {name: value for name, value in kept.items() if value not in (None, "", USUAL.get(name))}
        try:
            size = len(json.dumps(kept, allow_nan=False))
        except ValueError:
            raise invalid_field("options", "NaN or infinity", "numbers") from None
        if len(kept) > MAX_OPTIONS or size > MAX_OPTIONS_BYTES:
            got = f"{len(kept)} options of {size} bytes"
            raise invalid_field("options", got, f"up to {MAX_OPTIONS} of {MAX_OPTIONS_BYTES} bytes in all")
        self._kept[caller] = kept

    def _model(self, name: str | None) -> OfferedModel | None:
        """The caller's, or the default where that has gone."""
        try:
            return model_named(name, self._fleet.base.offers)
        except RelayError:
            return self._fleet.default_model()
