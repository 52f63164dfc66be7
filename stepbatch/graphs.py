"""CUDA graphs: a UNet call recorded once for each shape, then given to the GPU as one piece.

A call of SDXL's UNet is some thousand kernels. At few rows the host takes longer to launch them one by one than the
GPU to run them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stepbatch.denoising import Conditioning
from stepbatch.tick import UNet

WARM_UPS = 3  # calls before the recording: libraries choose their kernels and allocate


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]  # where the graph reads
    output: Tensor  # where it writes; overwritten by the next replay of any graph


class GraphedUNet:
    """Calls a UNet by CUDA graphs, one for each shape of its inputs, recorded when the shape first comes.

    All graphs share their memory, for one runs at a time. A recording takes seconds, and no other thread may use the
    GPU meanwhile: let all shapes come before there are jobs.
    """

    def __init__(self, unet: UNet) -> None:
        self._unet = unet
        self._recordings: dict[tuple[torch.Size, int], _Recording] = {}
        self._pool: Any = None  # the graphs' memory

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """From [n, 4, h, w], [n] and conditioning of n rows to [n, 4, h, w]."""
        given = (latents, timesteps, conditioning.embeddings, conditioning.pooled, conditioning.time_ids)
        shape = latents.shape, conditioning.tokens
        recording = self._recordings.get(shape)
        if recording is None:
            recording = self._recordings[shape] = self._record(tuple(tensor.clone() for tensor in given))
        for own, tensor in zip(recording.inputs, given, strict=True):
            own.copy_(tensor, non_blocking=True)
        recording.graph.replay()
        return recording.output.clone()

    def _record(self, inputs: tuple[Tensor, ...]) -> _Recording:
        latents, timesteps, embeddings, pooled, time_ids = inputs
        conditioning = Conditioning(embeddings=embeddings, pooled=pooled, time_ids=time_ids)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._unet(latents, timesteps, conditioning)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = self._unet(latents, timesteps, conditioning)
        self._pool = graph.pool()
        return _Recording(graph=graph, inputs=inputs, output=output)
