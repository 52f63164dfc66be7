from __future__ import annotations

import json
from importlib import import_module
from inspect import signature
from pkgutil import iter_modules

import diffusers.utils
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from sdxl.denoising.sampler import (
    base_steps,
    cutoff_timestep,
    diffusers_class,
    digest,
    edit_steps,
    img2img_steps,
    make_sampler,
    refiner_steps,
    set_steps,
)
from sdxl.errors import RelayError
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.schedules import ScheduleName
from tests.service.server import ROOT

CONFIG = json.loads((ROOT / "checkpoints/mini/base/scheduler/scheduler_config.json").read_text())
# What diffusers has in the place of classes whose packages are not installed.
DUMMIES = [import_module(f"diffusers.utils.{module.name}")
           for module in iter_modules(diffusers.utils.__path__) if module.name.startswith("dummy_")]  # fmt: skip


PAIRS = [(name, schedule) for name, each in SAMPLERS.items() for schedule in each.schedules]
OF_SECOND_ORDER = ("heun", "dpm2", "dpm2_a")


@pytest.mark.parametrize("name", SAMPLERS)
def test_diffusers_asks_for_no_package_that_is_not_required(name: SamplerName) -> None:
    """The tests' environment has packages that requirements.txt does not have."""
    (dummy,) = [vars(module)[kind] for module in DUMMIES if (kind := SAMPLERS[name].diffusers_class) in vars(module)]
    required = (ROOT / "requirements.txt").read_text()
    assert all(f"\n{package}==" in required for package in dummy._backends)


@example(("euler", "default"), 10, 0.799)  # the cutoff is one of the timesteps
@given(st.sampled_from(PAIRS), st.integers(1, 50), st.floats(0.01, 0.99))
def test_both_stages_timesteps_tile(pair: tuple[SamplerName, ScheduleName], steps: int, high_noise_frac: float) -> None:
    (name, schedule), cutoff = pair, cutoff_timestep(high_noise_frac)
    whole = base_steps(make_sampler(name, CONFIG, schedule), steps, None)
    if (whole < cutoff).all() or (whole >= cutoff).all():
        with pytest.raises(RelayError, match="of which none falls to"):
            base_steps(make_sampler(name, CONFIG, schedule), steps, cutoff)
        return
    first = base_steps(make_sampler(name, CONFIG, schedule), steps, cutoff)
    refiner = make_sampler(name, CONFIG, schedule)
    second = refiner_steps(refiner, steps, cutoff)
    again = len(first) + len(second) - len(whole)
    assert again == (1 if name in OF_SECOND_ORDER and len(first) % 2 == 1 else 0)
    assert [*first, *second[again:]] == [*whole]
    if hasattr(refiner, "begin_index"):
        assert refiner.begin_index == len(whole) - len(second)


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_a_pairs_timesteps_fall_and_its_noise_levels_are_finite(name: SamplerName, schedule: ScheduleName) -> None:
    for steps in (1, 2, 7, 30, 50, 150)[: 5 if name == "lcm" else 6]:
        sampler = make_sampler(name, CONFIG, schedule)
        timesteps = set_steps(sampler, steps)
        assert timesteps.dtype in (torch.int64, torch.float32)
        assert timesteps.isfinite().all()
        assert ((timesteps >= 0) & (timesteps < 1000)).all()
        starts = timesteps[:: sampler.order]  # between them, dpm2_a looks further ahead than it goes
        assert (starts[1:] <= starts[:-1]).all()
        if hasattr(sampler, "sigmas"):
            assert sampler.sigmas.isfinite().all()


def test_the_table_has_what_diffusers_has() -> None:
    """By the arguments of each class and of its set_timesteps. What is left out, and why, is in LEFT_OUT."""
    for name, each in SAMPLERS.items():
        kind = diffusers_class(name)
        known, settable = signature(kind).parameters, signature(kind.set_timesteps).parameters
        has = {schedule for schedule in ("karras", "exponential", "beta") if f"use_{schedule}_sigmas" in known}
        has |= {"sgm_uniform", "normal"} if "timestep_spacing" in known else set()
        has |= {"align_your_steps"} if "timesteps" in settable else set()
        assert {*each.schedules, *LEFT_OUT.get(name, ())} == {"default", *has, *ADDED.get(name, ())}, name


# LCM's timesteps are those that it was distilled with, whatever the spacing. ddim and pndm take steps of equal length,
# which would with "linspace" end before the next timestep.
# The last four go astray over steps as uneven as those of beta: with 20 of them, a fifth to three quarters of the
# mini's pictures were wrong.
LEFT_OUT = {
    "lcm": {"sgm_uniform", "normal", "align_your_steps"},
    "ddim": {"normal"},
    "pndm": {"normal"},
    "lms": {"beta"},
    "dpmpp_3m_sde": {"beta"},
    "dpmpp_2m_sde": {"beta"},
    "dpmpp_sde": {"beta"},
}
ADDED = {"dpmpp_sde": {"normal"}}  # DPMSolverSinglestepScheduler knows no other spacing


def test_the_cutoff_is_rounded() -> None:
    assert [cutoff_timestep(share) for share in (0.8, 0.3, 0.9999, 0.12345)] == [200, 700, 0, 877]


@pytest.mark.parametrize("name", SAMPLERS)
def test_img2img_takes_the_last_steps(name: SamplerName) -> None:
    sampler = make_sampler(name, CONFIG)
    steps = img2img_steps(sampler, 20, 0.3)
    assert [*steps] == [*sampler.timesteps[14 * sampler.order :]]


def test_a_strength_that_leaves_no_step() -> None:
    with pytest.raises(RelayError, match=r"strength: got 0\.04"):
        img2img_steps(make_sampler("euler", CONFIG), 20, 0.04)


@pytest.mark.parametrize("strength", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("name", SAMPLERS)
def test_both_stages_timesteps_of_an_edit_tile(name: SamplerName, strength: float) -> None:
    whole = edit_steps(img2img_steps(make_sampler(name, CONFIG), 20, strength), 20, None)
    assert [*whole] == [*img2img_steps(make_sampler(name, CONFIG), 20, strength)]
    first = edit_steps(whole, 20, 200)
    second = refiner_steps(make_sampler(name, CONFIG), 20, 200)
    again = len(first) + len(second) - len(whole)
    assert again == (1 if name in OF_SECOND_ORDER and len(first) % 2 == 1 else 0)
    assert [*first, *second[again:]] == [*whole]


def test_an_edit_under_the_cutoff_leaves_the_base_no_step() -> None:
    assert len(edit_steps(img2img_steps(make_sampler("euler", CONFIG), 20, 0.1), 20, 200)) == 0


def test_an_edit_that_leaves_the_refiner_no_step() -> None:
    with pytest.raises(RelayError, match="none falls to the refiner"):
        edit_steps(img2img_steps(make_sampler("euler", CONFIG), 2, 1.0), 2, cutoff_timestep(0.9999))


def test_lcm_knows_50_steps_at_most() -> None:
    with pytest.raises(RelayError, match="num_inference_steps: got 51"):
        base_steps(make_sampler("lcm", CONFIG), 51, None)


def test_a_checkpoints_own_schedule_is_another_ones_no_more() -> None:
    """diffusers refuses two at once."""
    config = {**CONFIG, "use_karras_sigmas": True}
    own, exponential = make_sampler("euler", config), make_sampler("euler", config, "exponential")
    normal = make_sampler("euler", config, "normal")
    assert [each.config.use_karras_sigmas for each in (own, exponential, normal)] == [True, False, False]
    assert [*set_steps(exponential, 9)] == [*set_steps(make_sampler("euler", CONFIG, "exponential"), 9)]


def test_digests_tell_samplers_and_schedules_apart() -> None:
    digests = {digest(name, CONFIG, schedule) for name, schedule in PAIRS}
    assert len(digests) == len(PAIRS)
    assert digest("euler", CONFIG) in digests
    assert digest("euler", {**CONFIG, "beta_end": 0.02}) not in digests
