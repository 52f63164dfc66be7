"""A backend's settings, its models beside torch's own, and its cache."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from sdxl.config import backends
from sdxl.config.settings import ConfigurationError, Settings
from sdxl.models.checkpoint import Checkpoint
from sdxl.models.interrupt import Interruptible
from sdxl.models.prompt_cache import Wording
from tests.loading import load_stage

NAMES = ("openvino", "onnxruntime")


def refiner(**settings: Any) -> Checkpoint:
    return load_stage("refiner", Settings.model_validate({"device": "cpu", **settings}))


@pytest.fixture(scope="module")
def own() -> Checkpoint:
    return refiner()


@pytest.fixture(scope="module", params=NAMES)
def converted(request: pytest.FixtureRequest, converted_models: Path) -> Checkpoint:
    return refiner(backend=request.param, backend_cache=converted_models)


def inputs(rows: int, height: int, width: int) -> dict[str, Any]:
    drawn = torch.Generator().manual_seed(rows)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=drawn)

    return {
        "sample": normal(rows, 4, height, width),
        "timestep": torch.arange(rows) * 60,
        "encoder_hidden_states": normal(1, 77, 128).expand(rows, -1, -1),
        "added_cond_kwargs": {"text_embeds": normal(rows, 128), "time_ids": 100 * normal(rows, 5)},
        "return_dict": False,
    }


@torch.inference_mode()
def test_the_unet_of_any_rows_and_size(own: Checkpoint, converted: Checkpoint) -> None:
    shapes = [(1, 16, 16), (2, 13, 18), (16, 8, 8), (3, 17, 15)]
    kept = [converted.pipeline.unet(**inputs(*shape))[0] for shape in shapes]  # later calls must not change them
    for shape, predicted in zip(shapes, kept, strict=True):
        torch.testing.assert_close(predicted, own.pipeline.unet(**inputs(*shape))[0], rtol=0, atol=2e-4)


def resident_mb(key: str = "VmRSS") -> float:
    """What this process has in memory, or ("VmHWM") had at most since `clear_refs` was written."""
    (kilobytes,) = re.findall(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) / 1024


@torch.inference_mode()
def test_memory_does_not_grow_with_the_square_of_the_pixels(converted: Checkpoint) -> None:
    unet = converted.pipeline.unet
    unet(**inputs(2, 16, 16))
    gc.collect()
    before = resident_mb()
    Path("/proc/self/clear_refs").write_text("5")
    unet(**inputs(2, 80, 80))
    # A matrix of all pixels by all pixels: 2 rows, 2 heads, 6400 x 6400 floats, and its softmax.
    assert resident_mb("VmHWM") - before < 300 < 2 * (2 * 2 * 6400**2 * 4 / 2**20)
    unet(**inputs(2, 16, 16))
    assert resident_mb() < 1.3 * before


@torch.inference_mode()
def test_onnxruntimes_calls_that_nobody_waits_for_end_early(converted_models: Path) -> None:
    assert_they_end_early(refiner(backend="onnxruntime", backend_cache=converted_models))


@torch.inference_mode()
def test_torchs_calls_that_nobody_waits_for_end_early(own: Checkpoint) -> None:
    assert_they_end_early(own)


def assert_they_end_early(checkpoint: Checkpoint) -> None:
    interruptible = Interruptible()
    interruptible.add(checkpoint.pipeline)
    end_early = interruptible.end_early
    unet, vae = checkpoint.pipeline.unet, checkpoint.pipeline.vae
    large = torch.randn(1, 4, 64, 64)
    calls: list[Callable[[], object]] = [lambda: unet(**inputs(2, 64, 64)), lambda: vae.decode(large)]
    for call in calls:
        timer = threading.Timer(0.2, end_early, (True,))
        timer.start()
        with pytest.raises(Exception, match=r"^$|terminate flag"):
            call()
        timer.join()
        end_early(False)
        unet(**inputs(2, 16, 16))


def test_onnxruntime_writes_nothing_into_the_home_folder(tmp_path: Path) -> None:
    code = "from sdxl.models.backends.backend import backend; backend('onnxruntime')"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []


@torch.inference_mode()
def test_the_vae_of_any_size(own: Checkpoint, converted: Checkpoint) -> None:
    for shape in ((16, 16), (13, 18)):
        latents = torch.randn(1, 4, *shape, generator=torch.Generator().manual_seed(1))
        pixels = own.pipeline.vae.decode(latents).sample
        torch.testing.assert_close(converted.pipeline.vae.decode(latents).sample, pixels, rtol=0, atol=2e-4)
        drawn = [
            each.pipeline.vae.encode(pixels.clamp(-1, 1)).latent_dist.sample(torch.Generator().manual_seed(2))
            for each in (own, converted)
        ]
        torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=5e-4)


@torch.inference_mode()
@pytest.mark.parametrize("clip_skip", [None, 0, 1, 2])
def test_the_text_encoder(own: Checkpoint, converted: Checkpoint, clip_skip: int | None) -> None:
    for prompt in ("a red cube", " ".join(["a red cube"] * 40)):
        expected, got = (
            each.prompts.encode(Wording(texts=(prompt, prompt), clip_skip=clip_skip)) for each in (own, converted)
        )
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-4)


def test_no_weights_are_left_in_torch(converted: Checkpoint) -> None:
    pipeline = converted.pipeline
    models = (pipeline.unet, pipeline.vae, pipeline.text_encoder_2)
    assert [name for model in models for name, _ in model.named_parameters()] == []


def test_what_is_in_the_cache_is_not_written_again(converted: Checkpoint, converted_models: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in converted_models.rglob("*.onnx")}
    assert len({path for path in files if path.parent.name.startswith("unet")}) >= 1
    assert {path.parent.parent for path in files} == {converted_models}
    other = refiner(backend=NAMES[1], backend_cache=converted_models)
    assert other.digest == converted.digest
    assert {path: path.stat().st_mtime_ns for path in converted_models.rglob("*.onnx")} == files


@pytest.mark.parametrize("name", NAMES)
def test_a_package_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(backends, "find_spec", lambda package: None if package == name else find(package))
    said = f"SDXL_BACKEND={name}: .*{name} not installed; pip install -r requirements-{name}.txt"
    with pytest.raises(ConfigurationError, match=said):
        Settings.from_environment({"SDXL_BACKEND": name})


@pytest.mark.parametrize("other", [{"SDXL_DEVICE": "cuda"}, {"SDXL_DTYPE": "bfloat16"}], ids=str)
def test_only_float32_on_the_cpu(other: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"SDXL_BACKEND=openvino: .*it is for SDXL_DEVICE=cpu and"):
        Settings.from_environment({"SDXL_BACKEND": "openvino", **other})


def test_an_unknown_backend() -> None:
    with pytest.raises(ConfigurationError, match="SDXL_BACKEND=tensorrt: "):
        Settings.from_environment({"SDXL_BACKEND": "tensorrt"})


def test_auto_is_the_fastest_that_is_there(converted_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype, is_torch in (("float32", False), ("bfloat16", True)):
        unet = refiner(backend="auto", backend_cache=converted_models, dtype=dtype).pipeline.unet
        assert isinstance(unet, UNet2DConditionModel) is is_torch
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    assert isinstance(refiner(backend="auto").pipeline.unet, UNet2DConditionModel)
