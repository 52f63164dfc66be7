"""How far the mini checkpoint follows weights and long prompts: `python -m benchmarks.prompts`.

Each prompt is drawn with 50 seeds, the same for all weights. What is seen is told by the judge's own masks: the area
and the saturation of a solid, and which of two colours a solid has. Long prompts are held-out captions behind words
that say nothing of what there is, so that the caption stands in the first, second or third chunk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.in_process import Studio, studio
from training.judge import judge, solid_blots
from training.scenes import scenes

COUNT, SEED = 50, 4242
WEIGHTS = (0.6, 1.0, 1.4)
# Of the grammar that the mini checkpoint has learned, and without an object.
FILLING = "soft light, high quality"
RESULT = Path(__file__).parent / "results" / "prompts.json"
Pixels = NDArray[np.uint8]


def drawn(made_by: Studio, prompts: Sequence[str]) -> list[Pixels]:
    """One picture for each, the seeds from 0 on."""

    def one(seed: int) -> Pixels:
        return made_by.generate(prompt=prompts[seed], prompt_syntax="a1111", seed=seed, watermark=False)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(len(prompts))))


def saturation(picture: Pixels, mask: NDArray[np.bool_]) -> float:
    """Of the pixels within the mask, 0 to 1; 0 without any."""
    if not mask.any():
        return 0.0
    high, low = picture[mask].max(1).astype(float), picture[mask].min(1)
    return float(((high - low) / np.maximum(high, 1)).mean())


def seen(picture: Pixels, background: str) -> dict[str, float]:
    """The area (px) and saturation of what is red and of what is blue."""
    blots = solid_blots(picture, background)
    areas = {colour: float(blots[colour].sum()) for colour in ("red", "blue")}
    return {**areas, "red saturation": saturation(picture, blots["red"])}


def by_weight(made_by: Studio, prompt: str, background: str) -> list[dict[str, Any]]:
    """Means over the seeds, by the weight that stands for {} in the prompt."""
    of_weights = [
        [seen(picture, background) for picture in drawn(made_by, [prompt.format(weight)] * COUNT)] for weight in WEIGHTS
    ]
    found = []
    for weight, pictures in zip(WEIGHTS, of_weights, strict=True):
        told: dict[str, Any] = {name: mean(each[name] for each in pictures) for name in pictures[0]}
        told["mostly red"] = sum(each["red"] > each["blue"] for each in pictures)
        found.append({"prompt": prompt, "weight": weight, **told})
    for name in ("red", "red saturation"):
        rising = [low[name] < high[name] for low, high in zip(of_weights[0], of_weights[-1], strict=True)]
        found[-1][f"rising {name}"] = sum(rising)
    return found


def behind(caption: str, chunk: int) -> str:
    """The caption at the end of so many chunks; those before it are full of other words."""
    before = ", ".join([FILLING] * 12)  # 72 tokens of 75
    return " BREAK ".join([*[before] * (chunk - 1), caption])


def long_prompts(made_by: Studio) -> list[dict[str, Any]]:
    """How many of the held-out scenes are right, by the chunk that says what there is."""
    chosen = scenes(SEED, COUNT, held_out=True)
    found = []
    for name, prompts in {
        "chunk 1": [scene.caption for scene in chosen],
        "chunk 1, then 2 of other words": [
            f"{scene.caption} BREAK {' BREAK '.join([behind('', 2).removesuffix(' BREAK ')] * 2)}" for scene in chosen
        ],
        "chunk 2": [behind(scene.caption, 2) for scene in chosen],
        "chunk 3": [behind(scene.caption, 3) for scene in chosen],
        "every chunk of 3": [" BREAK ".join([scene.caption] * 3) for scene in chosen],
    }.items():
        verdicts = [judge(picture, scene) for picture, scene in zip(drawn(made_by, prompts), chosen, strict=True)]
        found.append(
            {
                "said in": name,
                "all right": sum(verdict.all_right for verdict in verdicts),
                "colours": mean(ok for verdict in verdicts for ok in verdict.colours),
                "solids": mean(ok for verdict in verdicts for ok in verdict.solids),
                "background": mean(verdict.background for verdict in verdicts),
            }
        )
    return found


WEIGHTED = {
    "weight of a solid": "a (red cube:{}) left of a blue sphere, white background",
    "weight of a colour": "a (red:{}) cube, white background",
    "weight of one of two colours": "a (red:{}) blue cube, white background",
}


def main() -> None:
    told: dict[str, list[dict[str, Any]]] = {}
    with studio(max_rows=16) as opened:
        for name, prompt in WEIGHTED.items():
            told[name] = by_weight(opened, prompt, "white")
            print(name, *told[name], sep="\n", flush=True)
        told["long prompts"] = long_prompts(opened)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(told, indent=1, default=float))
    print(*told["long prompts"], sep="\n")


if __name__ == "__main__":
    main()
