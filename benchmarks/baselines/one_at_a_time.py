"""A baseline: one request at a time, as BentoML's own diffusion examples serve a pipeline."""

from __future__ import annotations

from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.baselines.pipelines import NO_TIMEOUT_S, Pipelines


@bentoml.service(name="one_at_a_time", workers=1, traffic={"timeout": NO_TIMEOUT_S})
class OneAtATime:
    """A synchronous API: BentoML calls it on one thread, in order of arrival."""

    def __init__(self) -> None:
        self.pipelines = Pipelines()

    @bentoml.api(route="/generate")
    def generate(
        self, prompt: str, seed: int, num_inference_steps: int, width: int, height: int
    ) -> Annotated[bytes, ContentType("image/png")]:
        """A picture from a prompt."""
        return self.pipelines.pictures([prompt], [seed], num_inference_steps, width, height)[0]
