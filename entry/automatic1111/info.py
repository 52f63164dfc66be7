"""`info`: what AUTOMATIC1111 says of the pictures of one request, from what was really used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from entry.answer import PictureFile
from entry.automatic1111.img2img import Img2Img
from entry.automatic1111.jobs import Job
from entry.automatic1111.lists import SHORT_HASH
from entry.automatic1111.requests import PicturesWanted, Txt2Img
from sdxl.picture.parameters import parameters_text, parsed
from sdxl.picture.record import AnyRecord
from sdxl.request.samplers import SAMPLERS
from sdxl.version import PRODUCT, VERSION


def info_of(wanted: PicturesWanted, pictures: Sequence[PictureFile], seeds: list[int], job: Job) -> dict[str, Any]:
    """All of AUTOMATIC1111's fields, and two of ours: `ignored` and `interrupted`.

    `seeds` are those of the answer's pictures. Of a job that was interrupted there may be no picture that is finished.
    """
    texts = [parameters_text(picture.record) for picture in pictures if picture.record]
    return {
        **_words(wanted, len(seeds)),
        **_seeds(seeds),
        **(_used(pictures[0], pictures[0].record) if pictures and pictures[0].record else _asked(wanted, job)),
        "batch_size": wanted.batch_size or 1,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "denoising_strength": _strength(wanted),
        "extra_generation_params": _extra(texts[0]) if texts else {},
        "index_of_first_image": 0,
        "infotexts": texts + [""] * (len(seeds) - len(texts)),
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(job.begun)),
        "is_using_inpainting_conditioning": False,
        "version": f"{PRODUCT} {VERSION}",
        "ignored": wanted.ignored,
        "interrupted": len(pictures) < job.count,
    }


def _strength(wanted: PicturesWanted) -> float | None:
    if isinstance(wanted, Img2Img):
        return float(wanted.denoising_strength)
    hires = wanted.hires(wanted.steps) if isinstance(wanted, Txt2Img) else None
    return hires.strength if hires else None


def _words(wanted: PicturesWanted, count: int) -> dict[str, Any]:
    negative = wanted.negative_prompt or ""
    return {
        "prompt": wanted.prompt,
        "all_prompts": [wanted.prompt] * count,
        "negative_prompt": negative,
        "all_negative_prompts": [negative] * count,
    }


def _seeds(seeds: list[int]) -> dict[str, Any]:
    first = seeds[0] if seeds else -1
    return {
        "seed": first,
        "all_seeds": seeds,
        "subseed": first,
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
    }


def _used(picture: PictureFile, record: AnyRecord) -> dict[str, Any]:
    """From a picture's record, in which everything is settled."""
    request = record.request
    return {
        "width": picture.width_px,
        "height": picture.height_px,
        "sampler_name": SAMPLERS[request.scheduler or "euler"].label,
        "cfg_scale": request.guidance_scale,
        "steps": request.num_inference_steps,
        "sd_model_name": picture.model,
        "sd_model_hash": picture.digest[:SHORT_HASH],
        "clip_skip": 1 if request.clip_skip is None else request.clip_skip + 2,
    }


def _asked(wanted: PicturesWanted, job: Job) -> dict[str, Any]:
    """Of a job without a finished picture: what is known without one."""
    height, width = (0, 0) if job.preview is None else (8 * job.preview.shape[0], 8 * job.preview.shape[1])
    return {
        "width": width,
        "height": height,
        "sampler_name": wanted.sampler,
        "cfg_scale": wanted.cfg_scale,
        "steps": wanted.steps,
        "sd_model_name": None,
        "sd_model_hash": None,
        "clip_skip": wanted.override_settings.CLIP_stop_at_last_layers or 1,
    }


def _extra(text: str) -> dict[str, str]:
    """What a text says beyond the fields of `info`."""
    found = parsed(text)
    if found is None:
        return {}
    schedule = {} if found.schedule_type is None else {"Schedule type": found.schedule_type}
    return {**schedule, **found.others}
