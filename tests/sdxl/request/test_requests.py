from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest
from sdxl.request.settled import Defaults

OWN = Defaults(width=128, height=128, guidance_scale=3.0, refiner_guidance_scale=1.0)


def settled(defaults: Defaults = OWN, **fields: Any) -> Any:
    return GenerationRequest(prompt="a", seed=1, **fields).with_defaults(defaults)


def test_what_is_left_out_is_the_checkpoints() -> None:
    wanted = settled()
    assert (wanted.width, wanted.height, wanted.num_inference_steps, wanted.scheduler) == (128, 128, 30, "euler")
    assert (wanted.guidance_scale, wanted.refiner_guidance_scale) == (3.0, 1.0)


@pytest.mark.parametrize(
    ("fields", "base", "refiner"),
    [
        ({"guidance_scale": 5.0}, 5.0, 5.0),
        ({"refiner_guidance_scale": 2.0}, 3.0, 2.0),
        ({"guidance_scale": 5.0, "refiner_guidance_scale": 2.0}, 5.0, 2.0),
        ({"guidance_scale": 0.0}, 0.0, 0.0),
    ],
)
def test_guidance_counts_for_both_stages(fields: dict[str, Any], base: float, refiner: float) -> None:
    wanted = settled(**fields)
    assert (wanted.guidance_scale, wanted.refiner_guidance_scale) == (base, refiner)


def test_without_defaults_of_its_own_a_checkpoint_guides_both_alike() -> None:
    assert settled(Defaults()).refiner_guidance_scale == 5.0
    assert RefineRequest(prompt="a", seed=1).with_defaults(Defaults()).guidance_scale == 5.0


def test_refine_takes_the_refiners_guidance() -> None:
    assert RefineRequest(prompt="a", seed=1).with_defaults(OWN).guidance_scale == 1.0
    assert RefineRequest(prompt="a", seed=1, guidance_scale=4.0).with_defaults(OWN).guidance_scale == 4.0


@pytest.mark.parametrize("value", ["1,2", "1, 2", [1, 2]])
def test_a_pair_in_a_form_may_be_two_numbers_with_a_comma(value: object) -> None:
    fields: dict[str, Any] = {"original_size": value, "crops_coords_top_left": value}
    wanted = EditRequest(prompt="a", **fields)
    assert (wanted.original_size, wanted.crops_coords_top_left) == ((1, 2), (1, 2))


@pytest.mark.parametrize("value", ["1", "1,2,3", "a,b", "1;2", "1,", '{"a": 1}', "[1, 2]"])
def test_anything_else_is_no_pair(value: object) -> None:
    fields: dict[str, Any] = {"original_size": value}
    with pytest.raises(ValidationError, match="original_size"):
        EditRequest(prompt="a", **fields)


def test_an_edit_has_strengths_of_its_own() -> None:
    request = EditRequest(prompt="a", seed=1)
    assert request.with_defaults(OWN, has_mask=False).strength == 0.8
    assert request.with_defaults(OWN, has_mask=True).strength == 0.9999
    assert EditRequest(prompt="a", seed=1, strength=0.2).with_defaults(OWN, has_mask=True).strength == 0.2


def test_an_edit_is_refined_unless_the_checkpoint_has_no_refiner() -> None:
    request = EditRequest(prompt="a", seed=1)
    for refine, expected in (("ensemble", "ensemble"), ("sdedit", "ensemble"), ("none", "none")):
        own = OWN.model_copy(update={"refine": refine})
        assert request.with_defaults(own, has_mask=False).refine == expected


def test_an_edit_takes_both_stages_guidance() -> None:
    wanted = EditRequest(prompt="a", seed=1).with_defaults(OWN, has_mask=False)
    assert (wanted.guidance_scale, wanted.refiner_guidance_scale) == (3.0, 1.0)
    wanted = EditRequest(prompt="a", seed=1, guidance_scale=5.0).with_defaults(OWN, has_mask=False)
    assert (wanted.guidance_scale, wanted.refiner_guidance_scale) == (5.0, 5.0)


def test_a_seed_must_have_been_drawn() -> None:
    with pytest.raises(ValidationError, match="seed"):
        GenerationRequest(prompt="a").with_defaults(OWN)


def test_an_empty_negative_prompt_is_not_none() -> None:
    assert settled(negative_prompt="").negative_prompt == ""
    assert settled().negative_prompt is None


def test_how_prompts_are_read_is_the_checkpoints_default() -> None:
    own = Defaults(prompt_syntax="a1111", long_prompts=True)
    cases: list[tuple[Defaults, dict[str, Any], tuple[str, bool]]] = [
        (Defaults(), {}, ("plain", False)),
        (own, {}, ("a1111", True)),
        (own, {"prompt_syntax": "plain", "long_prompts": False}, ("plain", False)),
    ]
    for defaults, given, expected in cases:
        for request in (GenerationRequest, RefineRequest):
            found = request(prompt="a", seed=1, **given).with_defaults(defaults)
            assert (found.prompt_syntax, found.long_prompts) == expected
        edit = EditRequest(prompt="a", seed=1, **given).with_defaults(defaults, has_mask=False)
        assert (edit.prompt_syntax, edit.long_prompts) == expected


def test_all_prompts_together_have_a_bound() -> None:
    texts: dict[str, Any] = {"prompt": "a" * 5_000, "prompt_2": "b" * 1_000, "negative_prompt": "c" * 1_500}
    assert GenerationRequest(**texts, negative_prompt_2="d" * 500).negative_prompt_2 == "d" * 500
    with pytest.raises(ValidationError, match="8000 characters of all prompts together, which have 8001") as raised:
        GenerationRequest(**texts, negative_prompt_2="d" * 501)
    assert raised.value.errors()[0]["loc"] == ("negative_prompt_2",)
