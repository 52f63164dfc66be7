"""What both stages have in common: the engine over a UNet, the state of a job, the finished picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from runners.frames import Frame, Kind
from runners.metrics import StageMetrics
from sdxl.checkpoint import Checkpoint, Stage, load
from sdxl.config import Settings
from sdxl.latents import decode
from stepbatch.engine import Engine
from stepbatch.job import Conditioning, Denoising
from stepbatch.policy import FirstComeFirstServed

SETTINGS = Settings.or_exit()  # while the module is imported, for BentoML retries a failing __init__ for ever
A_LONG_TIME = 1_000_000_000
RUNNER_OPTIONS: dict[str, Any] = {
    "workers": 1,
    # BentoML's proxy would close its session, and with it calls in flight, after 100 requests or 300 s.
    "runner_connection": {"max_requests": A_LONG_TIME, "max_age": float(A_LONG_TIME)},
    "traffic": {"timeout": 3_600},  # a job's own time limit is the entry service's
}


def load_checkpoint(stage: Stage) -> Checkpoint:
    """Loads on a thread that ends then, and leaves the calling thread without OpenMP's workers.

    Had this thread workers too, besides the engine's, there would be more of them than cores, and OpenMP
    would put each to sleep after every operation: on two cores, a tick then takes twice as long.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(load, stage, SETTINGS).result()


def start_engine(checkpoint: Checkpoint, metrics: StageMetrics) -> Engine:
    """An engine whose thread calls the checkpoint's UNet."""
    unet = checkpoint.pipeline.unet

    def call(latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        metrics.tick(len(latents))
        predicted: Tensor = unet(
            latents,
            timesteps,
            encoder_hidden_states=conditioning.embeddings,
            added_cond_kwargs={"text_embeds": conditioning.pooled, "time_ids": conditioning.time_ids},
            return_dict=False,
        )[0]
        return predicted

    engine = Engine(call, FirstComeFirstServed(max_rows=SETTINGS.max_rows), max_jobs=SETTINGS.max_jobs)
    engine.start()
    return engine


def denoising(
    pipeline: Any,
    latents: Tensor,
    timesteps: Tensor,
    conditioning: Conditioning,
    generator: torch.Generator,
    guidance_scale: float,
    guidance_rescale: float,
) -> Denoising:
    """The state of a job before its first step; `pipeline` has the job's own sampler."""
    return Denoising(
        latents=latents,
        sampler=pipeline.scheduler,
        timesteps=timesteps,
        conditioning=conditioning,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        step_options=pipeline.prepare_extra_step_kwargs(generator, eta=0.0),
    )


def picture(checkpoint: Checkpoint, latents: Tensor, meta: dict[str, Any]) -> Frame:
    """Decodes latents [1, 4, h, w] to a result whose body is the picture's pixels."""
    pixels = decode(checkpoint.pipeline, latents)
    height, width, _ = pixels.shape
    return Frame(kind=Kind.RESULT, meta={**meta, "width": width, "height": height}, body=pixels.tobytes())
