"""What people type: whole pictures from weighted, long and changing prompts, beside diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sdxl.denoising.sampler import diffusers_class
from sdxl.errors import RelayError
from sdxl.models.lora import LoadedLoras
from sdxl.models.prompt_cache import PromptCache, Wording
from sdxl.request.samplers import SAMPLERS
from tests.in_process import Studio, record_of_file, studio
from tests.kept import Pixels
from tests.service.reference import Reference, distance
from tests.service.test_refine import a_picture, as_png

RED, GREEN = "a red cube, white background", "a green cone, gray background"
SETTLED: dict[str, Any] = {"seed": 7, "num_inference_steps": 10, "guidance_scale": 3.0, "width": 64, "height": 64}
A1111: dict[str, Any] = {**SETTLED, "prompt_syntax": "a1111"}
TOLERANCE = 2


class Told:
    """diffusers' base alone, told at each of its UNet calls what the prompts of that call are: the texts come by call.

    Each text is encoded by itself; that these embeddings are right is tests/sdxl/models/test_emphasis.py's affair.
    """

    def __init__(self, reference: Reference) -> None:
        self.pipeline = reference.base
        self.cache = PromptCache(self.pipeline, "cpu", LoadedLoras(self.pipeline))

    @torch.inference_mode()
    def picture(self, texts: list[str], negatives: list[str] | None = None, scheduler: str = "euler") -> Pixels:
        sampler: Any = SAMPLERS[scheduler]  # type: ignore[index]
        own = self.pipeline.own_scheduler_config
        self.pipeline.scheduler = diffusers_class(scheduler).from_config(own, **sampler.options)  # type: ignore[arg-type]
        negatives = negatives or [""] * len(texts)

        def encoded(text: str) -> tuple[torch.Tensor, torch.Tensor]:
            return self.cache.encode(Wording(texts=(text, text), syntax="a1111"))

        def told(_pipeline: Any, step: int, _timestep: Any, _tensors: Any) -> dict[str, torch.Tensor]:
            following = min(step + 1, len(texts) - 1)
            both = encoded(negatives[following]), encoded(texts[following])
            embeddings, pooled = (torch.cat(pair) for pair in zip(*both, strict=True))
            return {"prompt_embeds": embeddings, "add_text_embeds": pooled}

        (embeddings, pooled), (negative, negative_pooled) = encoded(texts[0]), encoded(negatives[0])
        made = self.pipeline(
            prompt_embeds=embeddings,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=negative,
            negative_pooled_prompt_embeds=negative_pooled,
            generator=torch.Generator("cpu").manual_seed(SETTLED["seed"]),
            num_inference_steps=SETTLED["num_inference_steps"],
            guidance_scale=SETTLED["guidance_scale"],
            width=SETTLED["width"],
            height=SETTLED["height"],
            callback_on_step_end=told,
            callback_on_step_end_tensor_inputs=["prompt_embeds", "add_text_embeds"],
            output_type="np",
        ).images[0]
        levels: Pixels = (made * 255).round().astype(np.uint8)
        return levels


@pytest.fixture(scope="module")
def told(reference: Reference) -> Told:
    return Told(reference)


TEN = range(10)
# The prompt, and its text at each UNet call.
CHANGING: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "weights": ("a (red:1.4) [cube]", ["a (red:1.4) [cube]"] * 10, {}),
    "editing": ("a [red:green:4] cube", [f"a {'red' if call < 4 else 'green'} cube" for call in TEN], {}),
    "a share": ("a [red:green:0.3] cube", [f"a {'red' if call < 3 else 'green'} cube" for call in TEN], {}),
    "alternating": ("a [red|green|blue] cube", [f"a {('red', 'green', 'blue')[call % 3]} cube" for call in TEN], {}),
    "of second order": (
        "a [red|green] cube",
        [f"a {('red', 'green')[call // 2 % 2]} cube" for call in range(19)],
        {"scheduler": "heun"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "texts", "fields"), CHANGING.values(), ids=CHANGING)
def test_each_step_is_told_its_words(
    mini: Studio, told: Told, prompt: str, texts: list[str], fields: dict[str, Any]
) -> None:
    got = mini.generate(**A1111, prompt=prompt, negative_prompt="", refine="none", **fields)
    assert distance(got, told.picture(texts, **fields)) <= TOLERANCE


def test_the_negative_prompt_changes_too_and_lengths_may_differ(mini: Studio, told: Told) -> None:
    """Told beside diffusers with both prompts equally long, by what changes nothing: the same chunk twice."""
    got = mini.generate(
        **A1111, prompt=f"[{RED}:{GREEN} BREAK {RED}:5]", negative_prompt="[a blue cone|gray]", refine="none"
    )
    texts = [f"{RED} BREAK {RED}" if call < 5 else f"{GREEN} BREAK {RED}" for call in TEN]
    negatives = [" BREAK ".join([("a blue cone", "gray")[call % 2]] * 2) for call in TEN]
    assert distance(got, told.picture(texts, negatives)) <= TOLERANCE


@pytest.mark.parametrize("fields", [{}, {"scheduler": "heun"}], ids=str)
def test_the_refiner_counts_on(mini: Studio, fields: dict[str, Any]) -> None:
    """Of 10 steps the base takes 8: what changes after the 8th changes the refiner's part alone, and at its step."""

    def picture(**asked: Any) -> Pixels:
        return mini.generate(**{**SETTLED, **fields, "prompt_syntax": "a1111", **asked})

    whole = picture(prompt="a red cube", prompt_syntax="plain")
    at_8, at_9, at_10 = (picture(prompt=f"a red [cube:cone:{when}]") for when in (8, 9, 10))
    assert np.array_equal(at_10, whole)
    assert all(distance(*pair) > TOLERANCE for pair in ((at_8, whole), (at_9, whole), (at_8, at_9)))


def test_sdedit_comes_after_the_last_step(mini: Studio) -> None:
    wanted = {**A1111, "refine": "sdedit", "strength": 0.5}
    whole = mini.generate(**wanted, prompt="a red cube")
    assert distance(mini.generate(**wanted, prompt="a red [cube:cone:10]"), whole) > TOLERANCE
    assert np.array_equal(mini.generate(**wanted, prompt="a [green:red:0] cube"), whole)


def test_an_edit_and_a_refinement_begin_with_step_1(mini: Studio) -> None:
    """Of 10 steps at strength 0.5 there are 5: the sixth never comes, and the first is the first that is taken."""
    for make in (mini.edit, mini.refine):
        wanted: dict[str, Any] = {"seed": 7, "num_inference_steps": 10, "guidance_scale": 3.0, "strength": 0.5}
        as_png_of = as_png(a_picture(128, 128))
        plain = make(as_png_of, **wanted, prompt="a red cube")
        assert np.array_equal(plain, make(as_png_of, **wanted, prompt="a [red:green:5] cube", prompt_syntax="a1111"))
        other = make(as_png_of, **wanted, prompt="a [red:green:4] cube", prompt_syntax="a1111")
        assert distance(plain, other) > TOLERANCE


def test_plain_prompts_are_read_as_they_stand(mini: Studio) -> None:
    plain = mini.generate(**SETTLED, prompt="a (red:1.4) [cube|cone]")
    assert np.array_equal(plain, mini.generate(**SETTLED, prompt="a (red:1.4) [cube|cone]", prompt_syntax="plain"))
    assert np.array_equal(plain, mini.generate(**A1111, prompt=r"a \(red:1.4\) \[cube\|cone\]".replace(r"\|", "|")))


def test_a_long_prompt_is_read_to_its_end_and_not_truncated(mini: Studio) -> None:
    long = {**SETTLED, "prompt": f"{'a red cube ' * 30}, {GREEN}"}
    cut, whole = mini.generated(**long), mini.generated(**long, long_prompts=True)
    assert cut.warnings == {"truncated": "prompt", **whole.warnings}
    assert "truncated" not in whole.warnings
    by_a1111 = mini.generated(**long, prompt_syntax="a1111")
    assert by_a1111.warnings == whole.warnings
    assert cut.data != whole.data


def unlike_jobs() -> list[dict[str, Any]]:
    """24: of 1 to 4 chunks, weighted, edited, alternating, by all samplers, with and without guidance and refiner."""
    prompts = cycle([
        f"({RED}:1.2)", f"{RED} BREAK {GREEN}", f"[{RED}:{GREEN}:0.4]", f"{RED} BREAK {GREEN} BREAK (blue:1.3)",
        "a [red|green|blue] cube", " BREAK ".join([RED, GREEN] * 2), f"[{RED}|{RED} BREAK {GREEN}]", r"a \(red\) cube",
    ])  # fmt: skip
    negatives = cycle([None, "gray", "[blue:green:3]", "blue BREAK gray BREAK white", ""])
    modes, guidances, steps = cycle(["ensemble", "none", "sdedit"]), cycle([3.0, 5.0, 1.0]), cycle([8, 12, 10, 15])
    return [
        {"prompt": prompt, "negative_prompt": next(negatives), "prompt_syntax": "a1111", "seed": index, "width": 64,
         "height": 64, "scheduler": scheduler, "refine": next(modes), "guidance_scale": next(guidances),
         "num_inference_steps": next(steps), "strength": 0.5}
        for index, (prompt, scheduler) in enumerate(islice(zip(prompts, cycle(SAMPLERS)), 24))
    ]  # fmt: skip


def test_24_unlike_jobs_together_give_what_each_gives_alone(mini: Studio) -> None:
    jobs = unlike_jobs()
    alone = [mini.generate(**job) for job in jobs]
    ticks = mini.base.engine.stats.ticks, mini.base.engine.stats.rows
    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda job: mini.generate(**job), jobs))
    assert [distance(*pair) <= TOLERANCE for pair in zip(alone, together, strict=True)] == [True] * 24
    rows_per_tick = (mini.base.engine.stats.rows - ticks[1]) / (mini.base.engine.stats.ticks - ticks[0])
    assert rows_per_tick > 4


@pytest.fixture(scope="module")
def fixed() -> Iterator[Studio]:
    with studio(fixed_rows=4) as opened:
        yield opened


def test_with_fixed_rows_company_changes_no_byte(fixed: Studio) -> None:
    jobs = [job for job in unlike_jobs() if job["refine"] != "sdedit"][:10]
    alone = [fixed.generate(**job) for job in jobs]
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(lambda job: fixed.generate(**job), jobs))
    assert [np.array_equal(*pair) for pair in zip(alone, together, strict=True)] == [True] * 10


def test_a_picture_says_how_its_prompt_was_read(mini: Studio) -> None:
    made = mini.generated(**A1111, prompt="a [red|green] (cube:1.2)", negative_prompt="(gray)")
    request = record_of_file(made.data)["request"]
    assert (request["prompt_syntax"], request["prompt"]) == ("a1111", "a [red|green] (cube:1.2)")
    assert mini.generated(**request).data == made.data
    plain = record_of_file(mini.generated(**SETTLED, prompt=RED, long_prompts=True).data)["request"]
    assert (plain["prompt_syntax"], plain["long_prompts"]) == ("plain", True)


THIRTEEN = " BREAK ".join([RED] * 13)
FIFTY = "|".join(" BREAK ".join([str(number)] * 5) for number in range(10))  # chunks, in 10 texts


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": THIRTEEN}, "prompt"),
        ({"prompt": RED, "prompt_2": THIRTEEN}, "prompt_2"),
        ({"prompt": RED, "negative_prompt": THIRTEEN}, "negative_prompt"),
        ({"prompt": f"[{FIFTY}]", "refine": "none"}, "prompt"),
        ({"prompt": "x" * 8_001}, "prompt"),
        ({"prompt": "x" * 7_990, "negative_prompt": "y" * 11}, "negative_prompt"),
        ({"prompt": RED, "prompt_syntax": "compel"}, "prompt_syntax"),
        ({"prompt": f"{RED} <lora:unknown:1>"}, "loras"),
        ({"prompt": f"{RED} <lora:unknown:strong>"}, "prompt"),
    ],
)
def test_what_is_too_much_is_named(mini: Studio, fields: dict[str, Any], field: str) -> None:
    with pytest.raises((RelayError, ValidationError)) as raised:
        mini.generate(**{**A1111, **fields})
    match raised.value:
        case ValidationError() as invalid:
            assert invalid.errors()[0]["loc"] == (field,)
        case RelayError() as error:
            assert (error.status, error.field) == (400, field)
