"""Samplers and schedules in requests: old names, what a checkpoint's defaults mean, and what goes together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from sdxl.errors import RelayError
from sdxl.picture.record import GenerationRecord, from_json
from sdxl.request.bounds import Bounds
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest
from sdxl.request.samplers import OLD_NAMES, SAMPLERS, with_present_names
from sdxl.request.settled import Defaults
from tests.sdxl.picture.test_metadata import record

KARRAS = Defaults(scheduler="dpmpp_2m", schedule="karras")
REQUESTS = (GenerationRequest, EditRequest, RefineRequest)


@pytest.mark.parametrize("request_type", REQUESTS)
def test_the_old_name_of_a_pair_is_read_as_two(request_type: Any) -> None:
    def read(**fields: Any) -> tuple[str, str | None]:
        asked = request_type.model_validate_json(json.dumps({"prompt": "a", **fields}))
        assert request_type.model_validate_json(asked.model_dump_json()) == asked
        return asked.scheduler, asked.schedule

    assert read(scheduler="dpmpp_2m_karras") == ("dpmpp_2m", "karras")
    assert read(scheduler="dpmpp_2m_karras", schedule=None) == ("dpmpp_2m", "karras")
    assert read(scheduler="dpmpp_2m_karras", schedule="beta") == ("dpmpp_2m", "beta")
    assert read(scheduler="dpmpp_2m") == ("dpmpp_2m", None)


def test_it_is_in_no_schema_and_no_table() -> None:
    for name in OLD_NAMES:
        assert name not in SAMPLERS
        assert all(name not in json.dumps(each.model_json_schema()) for each in (*REQUESTS, Defaults))


def test_a_relay_json_may_have_it() -> None:
    own = Defaults.model_validate_json(
        '{"scheduler": "dpmpp_2m_karras", "bounds": {"scheduler": ["dpmpp_2m", "dpmpp_2m_karras", "euler"]}}'
    )
    assert (own.scheduler, own.schedule) == ("dpmpp_2m", "karras")
    assert own.bounds.scheduler == ("dpmpp_2m", "euler")
    with pytest.raises(ValidationError, match="scheduler"):
        Bounds.model_validate({"scheduler": "dpmpp_2m_karras"})


def test_a_pictures_record_may_have_it() -> None:
    written = record(scheduler="dpmpp_2m").model_dump(mode="json")
    written["request"] |= {"scheduler": "dpmpp_2m_karras"}
    written["request"].pop("schedule")
    read = from_json(json.dumps(written))
    assert isinstance(read, GenerationRecord)
    assert (read.request.scheduler, read.request.schedule) == ("dpmpp_2m", "karras")


@pytest.mark.parametrize("values", [None, [], "a", {"scheduler": ["dpmpp_2m_karras"]}, {"scheduler": 3}, {}])
def test_other_values_are_left_to_their_types(values: object) -> None:
    assert with_present_names(values) == values


@pytest.mark.parametrize(
    ("fields", "pair"),
    [
        ({}, ("dpmpp_2m", "karras")),
        ({"scheduler": "euler"}, ("euler", "default")),
        ({"scheduler": "dpmpp_2m"}, ("dpmpp_2m", "default")),
        ({"schedule": "beta"}, ("dpmpp_2m", "beta")),
        ({"schedule": "default"}, ("dpmpp_2m", "default")),
        ({"scheduler": "heun", "schedule": "karras"}, ("heun", "karras")),
    ],
)
def test_a_checkpoints_schedule_goes_with_its_sampler(fields: dict[str, Any], pair: tuple[str, str]) -> None:
    generation = GenerationRequest(prompt="a", seed=1, **fields).with_defaults(KARRAS)
    edit = EditRequest(prompt="a", seed=1, **fields).with_defaults(KARRAS, has_mask=False)
    refinement = RefineRequest(prompt="a", seed=1, **fields).with_defaults(KARRAS)
    for settled in (generation, edit, refinement):
        assert (settled.scheduler, settled.schedule) == pair


def test_bounds_name_what_the_sampler_and_the_checkpoint_have() -> None:
    def said(bounds: Bounds, **fields: Any) -> str:
        with pytest.raises(RelayError) as raised:
            bounds.check(GenerationRequest(prompt="a", seed=1, **fields).with_defaults(Defaults()))
        assert raised.value.field == "schedule"
        return raised.value.message

    narrow = Bounds(schedule=("default", "karras"), reason="SDXL_PRESET=turbo")
    message = said(Bounds(), scheduler="ddim", schedule="karras")
    assert message == 'schedule: got "karras"; allowed: default, sgm_uniform with the scheduler ddim'
    assert said(narrow, scheduler="euler", schedule="beta") == (
        'schedule: got "beta"; allowed: default, karras with the scheduler euler, by SDXL_PRESET=turbo'
    )
    assert said(narrow, scheduler="ddim", schedule="karras").endswith("allowed: default with the scheduler ddim")
