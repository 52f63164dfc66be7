"""A baseline: BentoML's adaptive batching in front of the pipelines, as its documentation has it.

A batch runs to its end before the next one begins, and a pipeline takes one step count and one size per call:
a batch is as many calls as it has kinds of work.
"""

from __future__ import annotations

import base64
from collections import defaultdict

import bentoml
from pydantic import BaseModel

from benchmarks.baselines.pipelines import NO_TIMEOUT_S, Pipelines

MAX_BATCH_SIZE = 16


class Wanted(BaseModel):
    """One picture's request."""

    prompt: str
    seed: int
    num_inference_steps: int
    width: int
    height: int


@bentoml.service(name="adaptive_batching", workers=1, traffic={"timeout": NO_TIMEOUT_S})
class AdaptiveBatching:
    """Takes lists, gives lists; BentoML joins the lists of several requests to one call."""

    def __init__(self) -> None:
        self.pipelines = Pipelines()

    # A request that waits longer than max_latency_ms, or is expected to, would get a 503.
    @bentoml.api(route="/generate", batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=1_000 * NO_TIMEOUT_S)
    def generate(self, requests: list[Wanted]) -> list[str]:
        """PNG files in base 64, one for each request."""
        alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for index, wanted in enumerate(requests):
            alike[wanted.num_inference_steps, wanted.width, wanted.height].append(index)
        made: dict[int, str] = {}
        for kind, indices in alike.items():
            prompts = [requests[index].prompt for index in indices]
            seeds = [requests[index].seed for index in indices]
            pictures = self.pipelines.pictures(prompts, seeds, *kind)
            made |= {index: base64.b64encode(png).decode() for index, png in zip(indices, pictures, strict=True)}
        return [made[index] for index in range(len(requests))]
