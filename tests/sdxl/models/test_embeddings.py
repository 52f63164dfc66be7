"""Textual inversion: a word that stands for the vectors of other words must mean what these mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor

from sdxl.catalog.entries import Embedding
from sdxl.config.references import UnusableFile
from sdxl.errors import RelayError
from sdxl.models.embeddings import read_embedding, words_in
from sdxl.models.lora import LoadedLoras
from sdxl.models.prompt_cache import PromptCache, Wording
from tests.conftest import MINI

PARTS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


def plain(prompt: str, prompt_2: str | None = None) -> Wording:
    return Wording(texts=(prompt, prompt_2 or prompt))


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)


def vectors(pipeline: Any, words: str, part: str) -> Tensor:
    ids = getattr(pipeline, PARTS[part])(words, add_special_tokens=False).input_ids
    weight: Tensor = getattr(pipeline, part).get_input_embeddings().weight
    return weight[ids].detach().clone()


def written(pipeline: Any, path: Path, words: str, keys: tuple[str, str] = ("clip_l", "clip_g")) -> Path:
    save_file({key: vectors(pipeline, words, part) for key, part in zip(keys, PARTS, strict=True)}, path)
    return path


@pytest.fixture
def prompts(pipeline: Any, tmp_path: Path) -> Iterator[PromptCache]:
    cache = PromptCache(pipeline, "cpu", LoadedLoras(pipeline))
    known = {
        name: Embedding(name=name, path=written(pipeline, tmp_path / f"{name}.safetensors", words), fingerprint=words)
        for name, words in (("thing", "red cube"), ("thing-2", "blue sphere"), ("my style (v1.0)", "green"))
    }
    cache.embeddings = lambda: known
    with torch.inference_mode():
        yield cache


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("a thing on top of a thing-2", "a red cube on top of a blue sphere"),
        ("A THING, white background", "A red cube, white background"),
        ("thing", "red cube"),
        ("a my style (v1.0) cone", "a green cone"),
        ("thing thing", "red cube red cube"),
        ("something, anything", "something, anything"),
    ],
)
def test_the_word_means_what_its_vectors_mean(prompts: PromptCache, prompt: str, meant: str) -> None:
    for got, wanted in zip(prompts.encode(plain(prompt)), prompts.encode(plain(meant)), strict=True):
        assert torch.equal(got, wanted)


def test_both_encoders_read_their_own_prompt(prompts: PromptCache) -> None:
    got = prompts.encode(plain("a thing", "a thing-2"))
    wanted = prompts.encode(plain("a red cube", "a blue sphere"))
    assert all(torch.equal(*pair) for pair in zip(got, wanted, strict=True))


def test_the_models_own_words_stay_as_they_are(pipeline: Any, prompts: PromptCache) -> None:
    before = {part: getattr(pipeline, part).state_dict() for part in PARTS}
    size = len(pipeline.tokenizer)
    prompts.encode(plain("a thing"))
    assert len(pipeline.tokenizer) == size
    for part, state in before.items():
        for name, tensor in getattr(pipeline, part).state_dict().items():
            assert torch.equal(tensor, state[name])


def test_a_file_that_changes_is_read_anew(pipeline: Any, prompts: PromptCache, tmp_path: Path) -> None:
    first = prompts.encode(plain("a thing"))
    path = written(pipeline, tmp_path / "thing.safetensors", "yellow cone")
    known = {"thing": Embedding(name="thing", path=path, fingerprint="another")}
    prompts.embeddings = lambda: known
    assert not torch.equal(prompts.encode(plain("a thing"))[0], first[0])
    assert torch.equal(prompts.encode(plain("a thing"))[0], prompts.encode(plain("a yellow cone"))[0])


def test_diffusers_own_names(pipeline: Any, tmp_path: Path) -> None:
    path = written(pipeline, tmp_path / "a.safetensors", "red", ("text_encoders_0", "text_encoders_1"))
    assert read_embedding(path, pipeline).count == 1


def test_one_encoder_of_two(pipeline: Any, tmp_path: Path) -> None:
    save_file({"clip_g": vectors(pipeline, "red cube", "text_encoder_2")}, tmp_path / "a.safetensors")
    found = read_embedding(tmp_path / "a.safetensors", pipeline)
    assert found.of.keys() == {"text_encoder_2"}
    assert found.count == 2


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        (
            {"emb_params": torch.zeros(1, 768)},
            "it has emb_params, and SDXL's textual inversions have clip_l and clip_g",
        ),
        ({"clip_l": torch.zeros(1, 5)}, "its clip_l is 5 wide, and the model's text_encoder takes 64"),
        ({"clip_l": torch.full((1, 64), float("nan"))}, "NaN or infinity in its clip_l"),
    ],
)
def test_what_does_not_fit_is_named(pipeline: Any, tmp_path: Path, tensors: dict[str, Tensor], why: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    with pytest.raises(UnusableFile, match=why):
        read_embedding(path, pipeline)
    cache = PromptCache(pipeline, "cpu", LoadedLoras(pipeline))
    cache.embeddings = lambda: {"a": Embedding(name="a", path=path, fingerprint="")}
    with pytest.raises(RelayError, match=f'^prompt: got "a"; allowed: words without .*{why}') as raised:
        cache.encode(plain("draw a red cube"))
    assert raised.value.status == 400


def test_words() -> None:
    assert words_in(("a cat-style, by Ann", None), ["cat-style", "cat", "ann", "style", "b"]) == (
        "ann",
        "cat",
        "cat-style",
        "style",
    )
