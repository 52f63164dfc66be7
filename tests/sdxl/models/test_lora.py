"""LoRAs loaded by `LoadedLoras` do what diffusers' load_lora_weights and set_adapters do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from sdxl.config.references import UnusableFile
from sdxl.config.settings import MINI
from sdxl.models.lora import Adapters, LoadedLoras
from tests.sdxl.models.lora_files import RANK, loaded, write_diffusers, write_kohya, write_sgm

ALL = ["unet", "text_encoder", "text_encoder_2"]


def base() -> Any:
    return StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)


@pytest.fixture(scope="module")
def plain() -> Any:
    return base()


@torch.inference_mode()
def outputs(pipeline: Any, loras: LoadedLoras | None = None, choice: Adapters = ()) -> list[Tensor]:
    """What the text encoders and the UNet make of one prompt and of noise."""
    with nullcontext() if loras is None else loras.for_text(choice):
        embeddings, _, pooled, _ = pipeline.encode_prompt("a red cube", device="cpu", do_classifier_free_guidance=False)
    if loras is not None:
        loras.for_rows([choice])
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    conditions = {"text_embeds": pooled, "time_ids": torch.tensor([[128.0, 128, 0, 0, 128, 128]])}
    noise = pipeline.unet(latents, 500, encoder_hidden_states=embeddings, added_cond_kwargs=conditions).sample
    if loras is not None:
        loras.for_rows([()])
    return [embeddings, pooled, noise]


def assert_near(got: Tensor, wanted: Tensor) -> None:
    """To rounding: factors are applied between down and up here, and after both by PEFT."""
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=5e-5)


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")  # of diffusers' own
def test_one_after_another_is_set_adapters(plain: Any, tmp_path: Path) -> None:
    files = {
        "style.v1": write_diffusers(tmp_path / "style.safetensors", plain, ALL, seed=1),
        "object": write_kohya(tmp_path / "object.safetensors", plain, ALL, seed=2, alpha=RANK / 2),
        "offset": write_sgm(tmp_path / "offset.safetensors", plain, seed=3),
    }
    reference = base()
    for index, path in enumerate(files.values()):
        reference.load_lora_weights(str(path), adapter_name=f"other_{index}")
    inner = {name: f"other_{index}" for index, name in enumerate(files)}
    pipeline = base()
    loras = loaded(pipeline, files)
    without = outputs(plain)
    assert same(outputs(pipeline), without)
    choices: list[Adapters] = [
        (("style.v1", 0.7),), (), (("object", -1.0),), (("offset", 1.5),), (("object", 0.5), ("offset", 1.0)), (),
        (("offset", 0.3), ("style.v1", 1.0)), (("offset", 0.2), ("style.v1", 1.0)),
    ]  # fmt: skip
    for choice in choices:
        got = outputs(pipeline, loras, choice)
        if not choice:
            assert same(got, without), "the same bytes"
            continue
        reference.set_adapters([inner[str(name)] for name, _ in choice], [scale for _, scale in choice])
        for ours, theirs in zip(got, outputs(reference), strict=True):
            assert_near(ours, theirs)
        changed = [not torch.equal(a, b) for a, b in zip(got, without, strict=True)]
        assert changed == ([False, False, True] if choice == (("offset", 1.5),) else [True, True, True])


@pytest.mark.parametrize("write", [write_kohya, write_sgm])
def test_every_layout_of_the_same_lora(plain: Any, tmp_path: Path, write: Callable[..., Path]) -> None:
    """Over each linear layer and convolution of the UNet, as in the offset example, and at half its alpha."""
    # kohya's scripts, which have the original layout's names for SDXL, never wrote diffusers' name of these.
    everything = "^(?!add_embedding)" if write is write_kohya else ""
    files = {"a": write_diffusers(tmp_path / "a.safetensors", plain, ["unet"], seed=4, modules=everything)}
    extra = {"parts": ["unet"]} if write is write_kohya else {}
    files["b"] = write(tmp_path / "b.safetensors", plain, seed=4, modules=everything, alpha=RANK / 2, **extra)
    pipeline = base()
    loras = loaded(pipeline, files)
    one = outputs(pipeline, loras, (("a", 0.5),))
    for got, wanted in zip(outputs(pipeline, loras, (("b", 1.0),)), one, strict=True):
        assert_near(got, wanted)


def _spoiled(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    save_file({name: tensor.clone() for name, tensor in change(load_file(path)).items()}, path)
    return path


SPOILED: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "no tensors": (lambda _: {}, "it is something else, with no tensors; a LoRA is needed"),
    "other names": (lambda t: {f"model.{name}": tensor for name, tensor in t.items()}, "it is another model's"),
    "no lora": (lambda t: {name.replace("lora", "laro"): tensor for name, tensor in t.items()}, "a LoRA is needed"),
    "a layer that is not there": (
        lambda t: {**t, "unet.no.lora_A.weight": torch.ones(4, 8), "unet.no.lora_B.weight": torch.ones(8, 4)},
        "it has 2 tensors such as unet.no.lora_A.weight, and this model's unet, text_encoder, text_encoder_2 no such",
    ),
    "half of a pair": (lambda t: dict(list(t.items())[1:]), "no such change is known, or a part of it is missing"),
    "8 bits": (
        lambda t: {n: (100 * tensor).to(torch.int8) for n, tensor in t.items()}, "its weights are quantized: "
    ),
    "other widths": (lambda t: {n: tensor[:, :-1].contiguous() for n, tensor in t.items()}, "do not belong together"),
    "turned round": (lambda t: {n: tensor.T.contiguous() for n, tensor in t.items()}, "do not belong together"),
    "something besides": (
        lambda t: {**t, "bundle_emb.token.clip_l": torch.ones(2, 64)},
        "it brings a textual inversion with it (bundle_emb.token.clip_l); write the LoRA without embeddings",
    ),
    "an unknown kind": (
        lambda t: {**t, "lora_unet_down_blocks_0_resnets_0_conv1.oft_blocks": torch.ones(4, 2, 2)},
        "it has lora_unet_down_blocks_0_resnets_0_conv1.oft_blocks, which cannot be applied",
    ),
    "NaN": (lambda t: t | {next(iter(t)): next(iter(t.values())) * torch.nan}, "there is NaN or infinity in its "),
    "too large for float32": (
        lambda t: t | {next(iter(t)): next(iter(t.values())).double() * 1e300},
        "there is NaN or infinity in its ",
    ),
    "two names of one layer": (
        lambda t: t | {n.removeprefix("unet."): tensor for n, tensor in t.items() if n.startswith("unet.")}
        | {f"text_encoder.text_model.{n[13:]}": tensor for n, tensor in t.items() if n.startswith("text_encoder.")},
        "has two of its tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("fault", SPOILED)
def test_what_does_not_fit_is_named(plain: Any, tmp_path: Path, fault: str, part: str) -> None:
    change, said = SPOILED[fault]
    path = _spoiled(write_diffusers(tmp_path / "lora.safetensors", plain, [part], seed=1), change)
    with pytest.raises(UnusableFile) as raised:
        LoadedLoras(plain).read(path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("metadata", ["{", "[1]", "null"])
def test_metadata_of_another_form(plain: Any, tmp_path: Path, metadata: str) -> None:
    path = write_diffusers(tmp_path / "lora.safetensors", plain, ["unet"], seed=1)
    save_file(load_file(path), path, metadata={"lora_adapter_metadata": metadata})
    with pytest.raises(UnusableFile, match="its metadata lora_adapter_metadata is no JSON object"):
        LoadedLoras(plain).read(path)


def test_no_pickle_and_no_broken_file(tmp_path: Path, plain: Any) -> None:
    path = tmp_path / "lora.safetensors"
    torch.save({"unet.a.lora_A.weight": torch.ones(1)}, path)
    with pytest.raises(UnusableFile, match="it holds pickled weights"):
        LoadedLoras(plain).read(path)


def test_a_lora_of_the_base_does_not_fit_the_refiner(plain: Any, tmp_path: Path) -> None:
    refiner = StableDiffusionXLImg2ImgPipeline.from_pretrained(MINI / "refiner", add_watermarker=False)
    for parts, said in ((["unet"], "do not belong together"), (["text_encoder"], "this model's unet, text_encoder_2")):
        path = write_diffusers(tmp_path / "lora.safetensors", plain, parts, seed=1)
        with pytest.raises(UnusableFile, match=said):
            LoadedLoras(refiner).read(path)


def test_marks_without_values_are_no_fault(plain: Any, tmp_path: Path) -> None:
    path = write_diffusers(tmp_path / "lora.safetensors", plain, ["unet"], seed=1)
    _spoiled(path, lambda tensors: {**tensors, "v_pred": torch.tensor([])})
    assert loaded(plain, {"mine": path}).digests.keys() == {"mine"}


def company_of(pipeline: Any, loras: LoadedLoras, rows: list[Adapters]) -> Tensor:
    """A UNet call whose rows have these LoRAs; its noise and its prompt are each row's own."""
    numbers = [torch.Generator().manual_seed(row) for row in range(len(rows))]

    def drawn(*shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=each) for each in numbers])

    config = pipeline.unet.config
    pooled = pipeline.text_encoder_2.config.projection_dim
    told = {"text_embeds": drawn(pooled), "time_ids": torch.full((len(rows), 6), 128.0)}
    loras.for_rows(rows)
    with torch.inference_mode():
        made: Tensor = pipeline.unet(
            drawn(4, 16, 16), 500, encoder_hidden_states=drawn(77, config.cross_attention_dim), added_cond_kwargs=told
        ).sample
    loras.for_rows([()])
    return made


COMPANY: list[Adapters] = [
    (), (("a", 0.7),), (("b", -0.5),), (("a", 0.2), ("b", 1.0)), (("lokr", 1.0), ("a", 0.3)), (),
]  # fmt: skip


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two LoRAs of linear layers and convolutions, and one of another kind."""
    folder, pipeline = tmp_path_factory.mktemp("unlike"), base()
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    out, into = pipeline.unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q.weight.shape
    torch.manual_seed(5)
    lokr = {f"{layer}.lokr_w1": torch.randn(2, 2), f"{layer}.lokr_w2": 0.1 * torch.randn(out // 2, into // 2)}
    save_file(lokr, folder / "lokr.safetensors")
    return {
        "a": write_kohya(folder / "a.safetensors", pipeline, ["unet"], seed=1, modules="^(?!add_embedding)"),
        "b": write_kohya(folder / "b.safetensors", pipeline, ["unet"], seed=2, alpha=RANK / 2),
        "lokr": folder / "lokr.safetensors",
    }


@pytest.mark.parametrize("row_by_row", [False, True])
def test_rows_with_unlike_loras_are_what_each_is_alone(unlike: dict[str, Path], row_by_row: bool) -> None:
    pipeline = base()
    loras = loaded(pipeline, unlike, row_by_row=row_by_row)
    together = company_of(pipeline, loras, COMPANY)
    without = company_of(pipeline, loras, [()] * len(COMPANY))
    for row, adapters in enumerate(COMPANY):
        alone = company_of(pipeline, loras, [adapters if other == row else () for other in range(len(COMPANY))])
        if not adapters or row_by_row:
            assert torch.equal(together[row], alone[row]), "to the bit"
        assert_near(together[row], alone[row])
        assert torch.equal(together[row], without[row]) == (not adapters)


def test_a_lora_that_overflows_is_its_own_rows_affair(unlike: dict[str, Path], tmp_path: Path) -> None:
    """Were its product in other rows multiplied by 0, there would be NaN."""
    pipeline = base()
    huge = {name: tensor.clone() for name, tensor in load_file(unlike["b"]).items()}
    huge = {name: (tensor * 1e39).clamp(-3e38, 3e38) if "down" in name else tensor for name, tensor in huge.items()}
    save_file(huge, tmp_path / "huge.safetensors")
    loras = loaded(pipeline, {**unlike, "huge": tmp_path / "huge.safetensors"})
    made = company_of(pipeline, loras, [(("a", 0.7),), (("huge", 1.0),), ()])
    expected = company_of(pipeline, loras, [(("a", 0.7),), (), ()])
    assert not made[1].isfinite().all()
    for row in (0, 2):
        assert_near(made[row], expected[row])
