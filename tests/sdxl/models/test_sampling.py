"""How a checkpoint in one file says that it predicts, and what becomes of it: samplers, and pictures as diffusers'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from sdxl.errors import RelayError
from sdxl.files.header import Header, Tensor
from sdxl.files.sampling import sampling_of
from sdxl.models.facts import bounds_for
from sdxl.request.bounds import Bounds
from sdxl.request.samplers import SAMPLERS
from tests.conftest import MINI
from tests.in_process import Studio, studio
from tests.sdxl.files.checkpoints import edit, folder, more, original, spoiled
from tests.sdxl.models.test_weights import loaded
from tests.service.reference import distance

PROMPT = "a red cube on top of a blue sphere, yellow background"
V = {"prediction_type": "v_prediction"}
ZERO_SNR = {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
NO_VALUES = Tensor("F32", (0,))


@pytest.mark.parametrize(
    ("marks", "metadata", "want"),
    [
        ([], {}, {}),
        (["v_pred"], {}, V),
        (["model.diffusion_model.v_pred"], {}, V),
        (["v_pred", "ztsnr"], {}, ZERO_SNR),
        (["ztsnr"], {}, {}),
        ([], {"modelspec.predict_key": "v"}, V),
        ([], {"modelspec.prediction_type": "v_prediction"}, V),
        ([], {"modelspec.prediction_type": "V-Prediction"}, V),
        (["ztsnr"], {"modelspec.prediction_type": "v"}, ZERO_SNR),
        ([], {"modelspec.predict_key": "epsilon"}, {"prediction_type": "epsilon"}),
        (["v_pred"], {"modelspec.predict_key": "epsilon"}, V),  # as ComfyUI, which goes by the marks
        ([], {"modelspec.architecture": "stable-diffusion-xl-v1-base", "modelspec.noise_process": "ddpm"}, {}),
    ],
)
def test_what_a_file_says(marks: list[str], metadata: dict[str, str], want: dict[str, object]) -> None:
    assert sampling_of(Header(dict.fromkeys(marks, NO_VALUES), metadata)) == want


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The mini checkpoint with ComfyUI's marks, and with a configuration that says otherwise."""
    path = tmp_path_factory.mktemp("marked")
    marks = more(v_pred=torch.tensor([]), ztsnr=torch.tensor([]))
    file = spoiled(original("base", path / "base.safetensors"), path / "own.safetensors", marks)
    edit(folder(path / "config") / "scheduler" / "scheduler_config.json", prediction_type="epsilon")
    with studio(base=str(file), base_config=str(path / "config"), max_rows=8) as opened:
        yield opened


@pytest.fixture(scope="module")
def reference() -> Any:
    pipeline = StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


ABLE = ("euler", "euler_ancestral", "ddim", "ddpm", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "unipc", "lcm")
SPREAD = ("default", "karras", "exponential", "sgm_uniform", "normal", "align_your_steps")


@pytest.mark.parametrize("name", ABLE)
def test_pictures_of_zero_terminal_snr_are_diffusers_own(opened: Studio, reference: Any, name: Any) -> None:
    sampler = SAMPLERS[name]
    fields: dict[str, Any] = {"prompt": PROMPT, "num_inference_steps": 4, "guidance_scale": 3.0}
    made = getattr(diffusers, sampler.diffusers_class)
    reference.scheduler = made.from_config(
        made.load_config(MINI / "base" / "scheduler"), **{**sampler.options, **ZERO_SNR}
    )
    want = np.asarray(reference(**fields, generator=torch.Generator("cpu").manual_seed(5)).images[0])
    got = opened.generate(**fields, seed=5, scheduler=name, refine="none", watermark=False)
    assert distance(got, want) <= 2


def test_samplers_that_would_leave_it_out_are_refused(opened: Studio) -> None:
    for name in SAMPLERS.keys() - set(ABLE):
        with pytest.raises(RelayError) as raised:
            opened.generate(prompt=PROMPT, scheduler=name)
        assert raised.value.field == "scheduler"
        assert f"allowed: {', '.join(ABLE)}, by the checkpoint's zero terminal SNR" in raised.value.message


def test_bounds_of_a_preset_stay() -> None:
    own = Bounds(scheduler=("heun", "euler"), num_inference_steps=(1, 4), reason="SDXL_PRESET=turbo")
    found = bounds_for(ZERO_SNR, own)
    assert (found.scheduler, found.num_inference_steps) == (("euler",), (1, 4))
    assert found.schedule == SPREAD
    assert found.reason == "SDXL_PRESET=turbo and the checkpoint's zero terminal SNR"
    assert bounds_for(V, own) == own


def test_a_folder_with_zero_terminal_snr_has_the_same_bounds(tmp_path: Path) -> None:
    edit(folder(tmp_path / "own") / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    assert loaded("base", base=tmp_path / "own").facts.defaults.bounds.scheduler == ABLE
