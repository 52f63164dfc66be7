"""Requests for many models, with the shares of the public trace GenTD26 (Alibaba; 26,823 requests, 87 checkpoints)."""

from __future__ import annotations

import random
from dataclasses import dataclass

MODELS = 87
FIRST_SHARE, TEN_SHARE = 0.307, 0.866  # of all requests: the most used model's, and the ten most used ones'
SAME_AGAIN = 0.25  # of consecutive requests want the same model
LORA_SHARE = 0.17
PICTURES = {1: 0.58, 4: 0.30, 8: 0.12}  # mean 2.74, and 79% of all pictures are of requests for several


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request. It is answered when its last picture is."""

    at_s: float
    model: int
    pictures: int
    lora: int | None
    seed: int


def shares() -> list[float]:
    """Of each model, the most used one first: the given sums, falling evenly in between."""
    falling = [0.8**rank for rank in range(9)]
    others = [0.95**rank for rank in range(MODELS - 10)]
    middle = [(TEN_SHARE - FIRST_SHARE) * each / sum(falling) for each in falling]
    return [FIRST_SHARE, *middle, *((1 - TEN_SHARE) * each / sum(others) for each in others)]


def requests(count: int, rate_per_s: float, loras: int, seed: str) -> list[Asked]:
    """`count` Poisson arrivals within count / rate seconds."""
    rng = random.Random(seed)
    probabilities = shares()
    # Some of those that are drawn anew are the same by chance.
    by_chance = sum(share**2 for share in probabilities)
    repeats = (SAME_AGAIN - by_chance) / (1 - by_chance)
    times = sorted(rng.uniform(0, count / rate_per_s) for _ in range(count))
    model, asked = 0, []
    for at_s in times:
        if rng.random() >= repeats:
            (model,) = rng.choices(range(MODELS), probabilities)
        (pictures,) = rng.choices([*PICTURES], [*PICTURES.values()])
        lora = rng.randrange(loras) if rng.random() < LORA_SHARE else None
        asked.append(Asked(at_s=at_s, model=model, pictures=pictures, lora=lora, seed=rng.randrange(2**31)))
    return asked


def lru_loads(asked: list[Asked], kept: int) -> int:
    """How often a cache of the last `kept` models would load, over the same requests in order."""
    there: list[int] = []
    loads = 0
    for each in asked:
        if each.model in there:
            there.remove(each.model)
        else:
            loads += 1
        there = [*there, each.model][-kept:]
    return loads
