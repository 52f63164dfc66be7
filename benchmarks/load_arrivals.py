"""The work that all contenders get: which pictures, and when each is asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice, product

from training.scenes import scenes

STEPS = (8, 30, 50)
SIZES_PX = (128, 96)  # the mini checkpoint's native size, and a smaller one


@dataclass(frozen=True, kw_only=True)
class Work:
    """One square picture; what is not in `options` is the checkpoint's default."""

    prompt: str
    seed: int
    steps: int
    size_px: int
    options: Mapping[str, object] = field(default_factory=dict)  # more fields of the request

    @property
    def fields(self) -> dict[str, object]:
        """The request's fields, the same for every contender."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "num_inference_steps": self.steps,
            "width": self.size_px,
            "height": self.size_px,
            **self.options,
        }


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """When a picture is asked for, in seconds from the start of the run."""

    at_s: float
    work: Work


def mixed_work(count: int, seed: str) -> list[Work]:
    """Every step count in every size, in equal shares (to one) and random order."""
    rng = random.Random(seed)
    kinds = list(islice(cycle(product(STEPS, SIZES_PX)), count))
    rng.shuffle(kinds)
    prompts = [scene.caption for scene in scenes(rng.randrange(2**32), count, held_out=False)]
    return [
        Work(prompt=prompt, seed=rng.randrange(2**32), steps=steps, size_px=size_px)
        for prompt, (steps, size_px) in zip(prompts, kinds, strict=True)
    ]


def poisson_arrivals(count: int, rate_per_s: float, seed: str) -> list[Arrival]:
    """`count` arrivals within count / rate seconds.

    Times that are uniform and sorted are a Poisson process of which one knows how many came; so the load is
    what it is said to be even in a short run.
    """
    rng = random.Random(f"{seed} times")
    times = sorted(rng.uniform(0, count / rate_per_s) for _ in range(count))
    return [Arrival(at_s=at_s, work=work) for at_s, work in zip(times, mixed_work(count, seed), strict=True)]
