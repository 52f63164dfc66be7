from __future__ import annotations

import json
from importlib import import_module
from pkgutil import iter_modules

import diffusers.utils
import pytest

from sdxl.denoising.sampler import (
    base_steps,
    cutoff_timestep,
    digest,
    edit_steps,
    img2img_steps,
    make_sampler,
    refiner_steps,
)
from sdxl.errors import RelayError
from sdxl.request.samplers import SAMPLERS, SamplerName
from tests.service.server import ROOT

CONFIG = json.loads((ROOT / "checkpoints/mini/base/scheduler/scheduler_config.json").read_text())
# What diffusers has in the place of classes whose packages are not installed.
DUMMIES = [import_module(f"diffusers.utils.{module.name}")
           for module in iter_modules(diffusers.utils.__path__) if module.name.startswith("dummy_")]  # fmt: skip


@pytest.mark.parametrize("name", SAMPLERS)
def test_diffusers_asks_for_no_package_besides_torch(name: SamplerName) -> None:
    """The tests' environment has packages that requirements.txt does not have, such as scipy."""
    (dummy,) = [vars(module)[kind] for module in DUMMIES if (kind := SAMPLERS[name].diffusers_class) in vars(module)]
    assert dummy._backends == ["torch"]


@pytest.mark.parametrize("steps", [5, 10, 30, 50])
@pytest.mark.parametrize("high_noise_frac", [0.3, 0.799, 0.8, 0.95])  # 0.799: the cutoff is one of 10 timesteps
@pytest.mark.parametrize("name", SAMPLERS)
def test_both_stages_timesteps_tile(name: SamplerName, high_noise_frac: float, steps: int) -> None:
    cutoff = cutoff_timestep(high_noise_frac)
    whole = base_steps(make_sampler(name, CONFIG), steps, None)
    if (whole < cutoff).all() or (whole >= cutoff).all():
        with pytest.raises(RelayError, match="of which none falls to"):
            base_steps(make_sampler(name, CONFIG), steps, cutoff)
        return
    first = base_steps(make_sampler(name, CONFIG), steps, cutoff)
    second = refiner_steps(make_sampler(name, CONFIG), steps, cutoff)
    again = len(first) + len(second) - len(whole)
    assert again == (1 if name == "heun" and len(first) % 2 == 1 else 0)
    assert [*first, *second[again:]] == [*whole]


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
    assert again == (1 if name == "heun" and len(first) % 2 == 1 else 0)
    assert [*first, *second[again:]] == [*whole]


def test_an_edit_under_the_cutoff_leaves_the_base_no_step() -> None:
    assert len(edit_steps(img2img_steps(make_sampler("euler", CONFIG), 20, 0.1), 20, 200)) == 0


def test_an_edit_that_leaves_the_refiner_no_step() -> None:
    with pytest.raises(RelayError, match="none falls to the refiner"):
        edit_steps(img2img_steps(make_sampler("euler", CONFIG), 2, 1.0), 2, cutoff_timestep(0.9999))


def test_lcm_knows_50_steps_at_most() -> None:
    with pytest.raises(RelayError, match="num_inference_steps: got 51"):
        base_steps(make_sampler("lcm", CONFIG), 51, None)


def test_digests_tell_samplers_apart() -> None:
    digests = {digest(name, CONFIG) for name in SAMPLERS}
    assert len(digests) == len(SAMPLERS)
    assert digest("euler", CONFIG) in digests
    assert digest("euler", {**CONFIG, "beta_end": 0.02}) not in digests
