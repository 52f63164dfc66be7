"""AUTOMATIC1111's and ComfyUI's names of samplers and schedules, both ways."""

from __future__ import annotations

import pytest

from entry.automatic1111.samplers import our_sampler, sampler_items, schedule_items
from sdxl.errors import RelayError
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.schedules import SCHEDULES, ScheduleName

PAIRS = [(name, schedule) for name, each in SAMPLERS.items() for schedule in each.schedules]


def pair(sampler: str | None, schedule: str | None) -> tuple[str | None, str | None]:
    found = our_sampler(sampler, schedule)
    assert not found.without_effect
    return found.sampler, found.schedule


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_each_pair_has_a_name_there_and_back(name: SamplerName, schedule: ScheduleName) -> None:
    sampler, spread = SAMPLERS[name], SCHEDULES[schedule]
    schedules = (spread.label, spread.name, spread.comfyui, spread.label.upper(), *spread.aliases, schedule)
    for ours in (sampler.label, sampler.label.lower(), *sampler.aliases, name, *filter(None, [sampler.comfyui])):
        for theirs in schedules:
            assert pair(ours, theirs) == (name, schedule)
        assert pair(f"{ours} {spread.label}", None) == (name, schedule)


def test_names_are_each_ones_own() -> None:
    for names in (
        [each.label for each in SAMPLERS.values()],
        [each.comfyui for each in SAMPLERS.values() if each.comfyui],
        [each.label for each in SCHEDULES.values()],
        [each.comfyui for each in SCHEDULES.values()],
    ):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("label", "schedule"),
    [  # as modules/sd_samplers_kdiffusion.py of AUTOMATIC1111 1.10 has it
        ("DPM++ 2M", "karras"), ("DPM++ SDE", "karras"), ("DPM++ 2M SDE", "exponential"),
        ("DPM++ 3M SDE", "exponential"), ("DPM2", "karras"), ("DPM2 a", "karras"), ("Euler a", "default"),
        ("Euler", "default"), ("LMS", "default"), ("Heun", "default"), ("DDIM", "default"), ("PLMS", "default"),
        ("UniPC", "default"), ("LCM", "default"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("automatic", [None, "", "Automatic", "automatic"])
def test_automatic_is_what_automatic1111_takes(label: str, schedule: str, automatic: str | None) -> None:
    assert pair(label, automatic)[1] == schedule


@pytest.mark.parametrize(
    ("old", "name", "schedule"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"), ("DPM++ 2M SDE Karras", "dpmpp_2m_sde", "karras"),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde", "exponential"), ("DPM2 a Karras", "dpm2_a", "karras"),
        ("k_dpmpp_2m_ka", "dpmpp_2m", "karras"), ("k_dpm_2_a_ka", "dpm2_a", "karras"), ("LMS Karras", "lms", "karras"),
        ("Euler SGM Uniform", "euler", "sgm_uniform"), ("dpmpp_2m_karras", "dpmpp_2m", "karras"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("schedule_sent", [None, "Automatic", "Beta"])
def test_names_that_end_in_a_schedule(old: str, name: str, schedule: str, schedule_sent: str | None) -> None:
    assert pair(old, schedule_sent) == (name, schedule)


@pytest.mark.parametrize("sampler", [None, ""])
def test_without_a_sampler(sampler: str | None) -> None:
    assert pair(sampler, None) == pair(sampler, "Automatic") == (None, None)
    assert pair(sampler, "Karras") == ("euler", "karras")


@pytest.mark.parametrize(
    ("sampler", "schedule", "ours", "field"),
    [
        ("DPM++ 2M", "Polyexponential", ("dpmpp_2m", "karras"), "scheduler"),
        ("DPM++ 2M SDE", "nonsense", ("dpmpp_2m_sde", "exponential"), "scheduler"),
        ("Euler a", "Karras", ("euler_ancestral", "default"), "scheduler"),
        (None, "KL Optimal", ("euler", "default"), "scheduler"),
        ("LCM Karras", None, ("lcm", "default"), "sampler_name"),
        ("LCM Karras", "Beta", ("lcm", "default"), "sampler_name"),
    ],
)
def test_what_has_no_effect_is_told(
    sampler: str | None, schedule: str | None, ours: tuple[str, str], field: str
) -> None:
    found = our_sampler(sampler, schedule)
    assert (found.sampler, found.schedule) == ours
    (told,) = found.without_effect.items()
    assert told[0] == field
    assert told[1].startswith("Automatic, which is ")
    assert f'"{schedule if field == "scheduler" else sampler}"' in told[1]


@pytest.mark.parametrize("name", ["Restart", "DPM fast", "Karras", " ", "euler karras karras"])
def test_a_sampler_that_there_is_not(name: str) -> None:
    with pytest.raises(RelayError) as raised:
        our_sampler(name, "Karras", sampler_field="sampler_index")
    assert (raised.value.status, raised.value.field) == (400, "sampler_index")
    assert "allowed: Euler, Euler a, Heun, DDIM" in raised.value.message


def test_what_is_listed() -> None:
    assert [each["label"] for each in schedule_items()] == [
        "Automatic", "Uniform", "Karras", "Exponential", "SGM Uniform", "Beta", "Normal", "Align Your Steps",
    ]  # fmt: skip
    assert {each["name"]: each["default_rho"] for each in schedule_items()}["karras"] == 7.0
    listed = {each["name"]: each for each in sampler_items()}
    assert listed["DPM++ 2M SDE"]["options"] == {"scheduler": "exponential"}
    assert listed["Euler a"] == {"name": "Euler a", "aliases": ["k_euler_a", "k_euler_ancestral"], "options": {}}
