"""One tick: one UNet call for many jobs, then each job's own guidance and sampler step."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from stepbatch.contexts import common_length, repeated
from stepbatch.denoising import Conditioning, Denoising
from stepbatch.failure import Failure, attempt


class UNet(Protocol):
    """Predicts the noise (or velocity) of n independent rows."""

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """From [n, 4, h, w], [n] and conditioning of n rows to [n, 4, h, w]."""


Stack = Callable[[list[Conditioning]], Conditioning]


def stacked(parts: list[Conditioning]) -> Conditioning:
    """All parts' rows, in order; contexts of unlike length are repeated."""
    tokens = common_length(part.tokens for part in parts)
    return Conditioning(
        embeddings=torch.cat([repeated(part.embeddings, tokens) for part in parts]),
        pooled=torch.cat([part.pooled for part in parts]),
        time_ids=torch.cat([part.time_ids for part in parts]),
        adapters=_adapters(parts),
    )


def _adapters(parts: list[Conditioning]) -> tuple[Hashable, ...]:
    if not any(part.adapters for part in parts):
        return ()
    return tuple(adapter for part in parts for adapter in part.adapters or ((),) * part.rows)


class KeptStack:
    """`stacked`, but the last result again while the parts are the same objects.

    Jobs stay together for many ticks, and embeddings are larger than latents. What was stacked last stays in
    memory until the next call.
    """

    def __init__(self) -> None:
        self._parts: list[Conditioning] = []
        self._result: Conditioning | None = None

    def __call__(self, parts: list[Conditioning]) -> Conditioning:
        """See `stacked`."""
        if self._result is None or parts != self._parts:
            self._result = None  # frees its memory before as much is taken
            self._result = stacked(parts)
            self._parts = parts
        return self._result


def tick(unet: UNet, jobs: Sequence[Denoising], stack: Stack = stacked) -> list[Tensor | Failure]:
    """Give each job's next latents [1, 4, h, w], or its failure; raises nothing.

    All jobs have the same latent shape. An error of the UNet is the failure of every job in the call, one of
    a job's own sampler or guidance is that job's alone. Of the jobs only their samplers' state is changed.

    Nothing here waits for a GPU: a tick tells it what to do, and the host goes on meanwhile. (A few samplers wait by
    themselves; docs/explanation/gpu.md names them.)
    """
    inputs = [attempt(model_input, job) for job in jobs]
    sound = [(job, x) for job, x in zip(jobs, inputs, strict=True) if not isinstance(x, Failure)]
    predictions = attempt(predict, unet, sound, stack)
    if isinstance(predictions, Failure):
        return [x if isinstance(x, Failure) else predictions for x in inputs]
    unread = iter(predictions)
    return [
        x if isinstance(x, Failure) else attempt(next_latents, job, next(unread))
        for job, x in zip(jobs, inputs, strict=True)
    ]


def model_input(job: Denoising) -> Tensor:
    """Scale the latents once and show them once for each of the job's rows, without a copy: [rows, 4, h, w]."""
    return job.sampler.scale_model_input(job.latents, job.timestep).expand(job.rows, -1, -1, -1)


def predict(unet: UNet, inputs: Sequence[tuple[Denoising, Tensor]], stack: Stack = stacked) -> tuple[Tensor, ...]:
    """Stack all jobs' rows, call the UNet once, and split its answer into [rows, 4, h, w] for each job."""
    rows = [job.rows for job, _ in inputs]
    # torch.stack makes int64 and float32 together float32, which is exact for timesteps.
    timesteps = torch.stack([t for (job, _), n in zip(inputs, rows, strict=True) for t in [job.timestep] * n])
    conditioning = stack([job.conditioning for job, _ in inputs])
    latents = torch.cat([x for _, x in inputs])
    output = unet(latents, timesteps.to(latents.device, non_blocking=True), conditioning)
    return torch.split(output, rows)


def next_latents(job: Denoising, prediction: Tensor) -> Tensor:
    """Take the job's step from its prediction [rows, 4, h, w] to its next latents [1, 4, h, w].

    Raises whatever the sampler raises.
    """
    if job.rows == 2:
        prediction = guided(prediction, scale=job.guidance_scale, rescale=job.guidance_rescale)
    timestep, sample = job.timestep, job.latents
    stepped = job.sampler.step(prediction, timestep, sample, return_dict=False, **job.step_options)
    # A sampler that changed the dtype would change it for the whole of the next tick.
    return stepped[0].to(sample.dtype)


def guided(prediction: Tensor, *, scale: float, rescale: float) -> Tensor:
    """Classifier-free guidance: from [2, 4, h, w], negative row first, to [1, 4, h, w].

    `rescale` is the factor phi of arXiv 2305.08891, section 3.4: it draws the guided prediction's standard
    deviation back to that of the prompt's own prediction, against overexposure.
    """
    negative, positive = prediction.chunk(2)
    # negative + scale * (positive - negative), to the bit; in place, because fresh memory costs more than sums.
    x_cfg = (positive - negative).mul_(scale).add_(negative)
    if rescale == 0.0:
        return x_cfg
    of_picture = (1, 2, 3)
    x_rescaled = x_cfg * (positive.std(of_picture, keepdim=True) / x_cfg.std(of_picture, keepdim=True))
    return rescale * x_rescaled + (1 - rescale) * x_cfg
