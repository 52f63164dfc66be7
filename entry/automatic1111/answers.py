"""What AUTOMATIC1111's clients get: pictures with what is said of them, and a job's progress."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from entry.answer import PictureFile
from entry.automatic1111.base64_pictures import as_base64
from entry.automatic1111.img2img import Img2Img
from entry.automatic1111.info import info_of
from entry.automatic1111.jobs import Job
from entry.automatic1111.requests import PicturesWanted
from entry.http.document import Error
from sdxl.picture.image import encode_preview
from sdxl.request.fields import OutputFormat


class PicturesAnswer(BaseModel):
    """Files in base64, the request as it was understood, and JSON with what tells the pictures apart."""

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


def pictures_answer(
    wanted: PicturesWanted, pictures: Sequence[PictureFile], seeds: list[int], job: Job, output_format: OutputFormat
) -> PicturesAnswer:
    """The answer to a request, whose pictures have these seeds.

    An interrupted job without a finished picture has the last preview in its place, if there is one.
    """
    files = [picture.data for picture in pictures]
    shown = [picture.seed or 0 for picture in pictures]
    if not files and job.preview is not None:
        files, shown = [encode_preview(job.preview, output_format=output_format)], seeds[:1]
    is_without = {} if isinstance(wanted, Img2Img) and wanted.include_init_images else {"init_images", "mask"}
    return PicturesAnswer(
        images=[] if wanted.send_images is False else [as_base64(file) for file in files],
        parameters=wanted.model_dump(mode="json", exclude=set(is_without)),
        info=json.dumps(info_of(wanted, pictures, shown, job)),
    )


def progress_answer(job: Job | None, *, with_image: bool) -> ProgressAnswer:
    """The answer to a question for a job's progress."""
    done, whole = (0, 0) if job is None else job.steps
    is_interrupted = job is not None and job.interrupted.is_set()
    state = {
        "skipped": False,
        "interrupted": is_interrupted,
        "stopping_generation": False,
        "job": "" if job is None else job.name,
        "job_count": 0 if job is None else job.count,
        "job_timestamp": "0" if job is None else time.strftime("%Y%m%d%H%M%S", time.localtime(job.begun)),
        "job_no": 0 if job is None else len(job.made),
        "sampling_step": done,
        "sampling_steps": whole,
    }
    if job is None:
        return ProgressAnswer(progress=0.0, eta_relative=0.0, state=state)
    image = None
    if with_image and job.preview is not None:
        image = as_base64(encode_preview(job.preview, output_format="png"))
    return ProgressAnswer(progress=job.share, eta_relative=job.eta_s, state=state, current_image=image)
