"""What AUTOMATIC1111's clients get: pictures with their infotexts, and a job's progress."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from entry.answer import PictureFile
from entry.automatic1111.jobs import Job
from entry.automatic1111.lists import SHORT_HASH
from entry.automatic1111.requests import Txt2Img
from entry.http.document import Error
from sdxl.picture.image import encode_preview


class Txt2ImgAnswer(BaseModel):
    """PNG files in base64, the request as it was understood, and JSON with what tells them apart."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class ProgressAnswer(BaseModel):
    """Of the job that came last; without one, all is 0."""

    progress: float
    eta_relative: float
    """Seconds."""
    state: dict[str, Any]
    current_image: str | None = None
    textinfo: str | None = None


class AUTOMATIC1111Error(Error):
    """The body of every error under /sdapi."""

    detail: str


def txt2img_answer(wanted: Txt2Img, pictures: Sequence[PictureFile]) -> Txt2ImgAnswer:
    """The answer to a request."""
    sends = wanted.send_images is not False
    return Txt2ImgAnswer(
        images=[_base64(picture.data) for picture in pictures] if sends else [],
        parameters=wanted.model_dump(),
        info=json.dumps(_info(wanted, pictures)),
    )


def _info(wanted: Txt2Img, pictures: Sequence[PictureFile]) -> dict[str, Any]:
    """What was left out in the request is null, for the checkpoint's defaults are the stages' business."""
    seeds = [picture.seed for picture in pictures]
    stop_at = None if wanted.override_settings is None else wanted.override_settings.CLIP_stop_at_last_layers
    return {
        "prompt": wanted.prompt,
        "all_prompts": [wanted.prompt] * len(pictures),
        "negative_prompt": wanted.negative_prompt or "",
        "all_negative_prompts": [wanted.negative_prompt or ""] * len(pictures),
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": seeds[0],
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": pictures[0].width_px,
        "height": pictures[0].height_px,
        "sampler_name": wanted.sampler,
        "cfg_scale": wanted.cfg_scale,
        "steps": wanted.steps,
        "batch_size": wanted.batch_size or 1,
        "sd_model_name": pictures[0].model,
        "sd_model_hash": pictures[0].digest[:SHORT_HASH],
        "clip_skip": stop_at or 1,
        "index_of_first_image": 0,
        "infotexts": [_infotext(wanted, picture) for picture in pictures],
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
    }


def _infotext(wanted: Txt2Img, picture: PictureFile) -> str:
    """The lines by which AUTOMATIC1111's users pass on how a picture was made."""
    stop_at = None if wanted.override_settings is None else wanted.override_settings.CLIP_stop_at_last_layers
    refiner = None
    if len(picture.models) > 1:
        refiner = f"{picture.models['refiner']} [{picture.digests['refiner'][:SHORT_HASH]}]"
    settings = {
        "Steps": wanted.steps,
        "Sampler": wanted.sampler,
        "Schedule type": wanted.scheduler,
        "CFG scale": wanted.cfg_scale,
        "Seed": picture.seed,
        "Size": f"{picture.width_px}x{picture.height_px}",
        "Model hash": picture.digest[:SHORT_HASH],
        "Model": picture.model,
        "Clip skip": None if stop_at == 1 else stop_at,
        "Refiner": refiner,
        "Refiner switch at": wanted.refiner_switch_at if refiner else None,
    }
    negative = [f"Negative prompt: {wanted.negative_prompt}"] if wanted.negative_prompt else []
    last = ", ".join(f"{name}: {value}" for name, value in settings.items() if value is not None)
    return "\n".join([wanted.prompt, *negative, last])


def progress_answer(job: Job | None, *, with_image: bool) -> ProgressAnswer:
    """The answer to a question for a job's progress."""
    done, whole = (0, 0) if job is None else job.steps
    state = {
        "skipped": False,
        "interrupted": job is not None and job.interrupted.is_set(),
        "stopping_generation": False,
        "job": "" if job is None else "txt2img",
        "job_count": 0 if job is None else job.count,
        "job_timestamp": "0" if job is None else time.strftime("%Y%m%d%H%M%S", time.localtime(job.begun)),
        "job_no": 0,
        "sampling_step": done,
        "sampling_steps": whole,
    }
    if job is None:
        return ProgressAnswer(progress=0.0, eta_relative=0.0, state=state)
    image = None
    if with_image and job.preview is not None:
        image = _base64(encode_preview(job.preview, output_format="png"))
    return ProgressAnswer(progress=job.share, eta_relative=job.eta_s, state=state, current_image=image)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
