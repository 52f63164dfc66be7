"""Embeddings of weighted and long prompts, beside a plain computation with transformers' models themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from sdxl.catalog.entries import Embedding
from sdxl.errors import RelayError
from sdxl.models.lora import LoadedLoras
from sdxl.models.prompt_cache import MAX_CHUNKS, PromptCache, Wording
from tests.conftest import MINI

Weighted = list[tuple[str, float]]
RED, CUBE = "a red cube on top of a blue sphere", "a green cone, white background"


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)


@pytest.fixture
def prompts(pipeline: Any) -> Iterator[PromptCache]:
    with torch.inference_mode():
        yield PromptCache(pipeline, "cpu", LoadedLoras(pipeline))


def a1111(text: str, text_2: str | None = None, **options: Any) -> Wording:
    return Wording(texts=(text, text_2 or text), syntax="a1111", **options)


def same(got: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(got, wanted, strict=True))


class Plain:
    """Token by token and encoder by encoder; the texts, their weights and chunks are given, not parsed."""

    def __init__(self) -> None:
        folder = MINI / "base"
        self.parts: list[tuple[Any, Any]] = [
            (
                CLIPTokenizer.from_pretrained(folder / "tokenizer"),
                CLIPTextModel.from_pretrained(folder / "text_encoder"),
            ),
            (
                CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
                CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2"),
            ),
        ]

    def embeddings(self, chunks: list[Weighted], clip_skip: int = 0) -> tuple[Tensor, Tensor]:
        of_encoders = []
        for tokenizer, model in self.parts:
            states = []
            for chunk in chunks:
                ids, weights = [tokenizer.bos_token_id], [1.0]
                for text, weight in chunk:
                    for token in tokenizer(text, add_special_tokens=False).input_ids:
                        ids.append(token)
                        weights.append(weight)
                ids.append(tokenizer.eos_token_id)
                ids += [tokenizer.pad_token_id] * (77 - len(ids))
                weights += [1.0] * (77 - len(weights))
                output = model(torch.tensor([ids]), output_hidden_states=True)
                state = output.hidden_states[-2 - clip_skip][0]
                weighted = torch.stack([token * weight for token, weight in zip(state, weights, strict=True)])
                states.append(weighted * (state.mean() / weighted.mean()))
                if chunk is chunks[0] and hasattr(output, "text_embeds"):
                    pooled = output.text_embeds
            of_encoders.append(torch.cat(states))
        return torch.cat(of_encoders, dim=1)[None], pooled


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain()


LONG = ", ".join([RED] * 12)  # 120 tokens
# fmt: off
CASES: dict[str, tuple[str, list[Weighted]]] = {
    "stronger": ("a (red:1.4) cube", [[("a", 1), ("red", 1.4), ("cube", 1)]]),
    "weaker": ("a (red:0.6) cube", [[("a", 1), ("red", 0.6), ("cube", 1)]]),
    "nested": ("((red)) [cube]", [[("red", 1.21), ("cube", 1 / 1.1)]]),
    "all": ("(a red cube:1.3)", [[("a red cube", 1.3)]]),
    "zero": ("a (red:0) cube", [[("a", 1), ("red", 0), ("cube", 1)]]),
    "escaped": (r"a red \(dark\) cube", [[("a red (dark) cube", 1)]]),
    "break": (f"{RED} BREAK (green:1.2) cone", [[(RED, 1)], [("green", 1.2), ("cone", 1)]]),
    "an empty chunk": (f"BREAK {RED}", [[], [(RED, 1)]]),
    "three chunks": (f"({RED}:1.1) BREAK {CUBE} BREAK [{RED}]", [[(RED, 1.1)], [(CUBE, 1)], [(RED, 1 / 1.1)]]),
}
# fmt: on


@pytest.mark.parametrize(("prompt", "chunks"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("clip_skip", [None, 1])
def test_as_computed_plainly(
    prompts: PromptCache, plain: Plain, prompt: str, chunks: list[Weighted], clip_skip: int | None
) -> None:
    embeddings, pooled = prompts.encode(a1111(prompt, clip_skip=clip_skip))
    wanted, wanted_pooled = plain.embeddings(chunks, clip_skip or 0)
    torch.testing.assert_close(embeddings, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pooled, wanted_pooled, rtol=1e-5, atol=1e-5)


def test_a_long_prompt_is_parted_at_a_comma(prompts: PromptCache, plain: Plain) -> None:
    words = [RED] * 12  # with its comma each is 10 tokens; 75 are full in the eighth
    embeddings, _ = prompts.encode(a1111(LONG))
    wanted, _ = plain.embeddings([[(", ".join(words[:7]) + ",", 1)], [(", ".join(words[7:]), 1)]])
    torch.testing.assert_close(embeddings, wanted, rtol=1e-4, atol=1e-4)


def test_a_plain_long_prompt_is_parted_at_75_tokens(prompts: PromptCache, plain: Plain) -> None:
    words = " ".join(["red"] * 100)
    embeddings, _ = prompts.encode(Wording(texts=(words, words), is_long=True))
    wanted, _ = plain.embeddings([[(" ".join(["red"] * 75), 1)], [(" ".join(["red"] * 25), 1)]])
    torch.testing.assert_close(embeddings, wanted, rtol=1e-4, atol=1e-4)
    brackets = Wording(texts=("a (red:2) BREAK cube",) * 2, is_long=True)
    assert same(prompts.encode(brackets), prompts.encode(Wording(texts=brackets.texts)))


@pytest.mark.parametrize("prompt", [RED, CUBE, "", "red " * 75, r"a cube \(red\)"])
@pytest.mark.parametrize("options", [{}, {"clip_skip": 1}], ids=str)
def test_without_syntax_in_one_chunk_as_plain_to_the_bit(prompts: PromptCache, prompt: str, options: Any) -> None:
    meant = prompt.replace("\\", "")
    by_diffusers = prompts.encode(Wording(texts=(meant, meant), **options))
    assert same(prompts.encode(a1111(prompt, **options)), by_diffusers)
    assert same(prompts.encode(Wording(texts=(meant, meant), is_long=True, **options)), by_diffusers)


def test_a_refiner_has_one_encoder_and_reads_the_first_text() -> None:
    refiner = StableDiffusionXLImg2ImgPipeline.from_pretrained(MINI / "refiner", add_watermarker=False)
    prompts = PromptCache(refiner, "cpu", LoadedLoras(refiner))
    with torch.inference_mode():
        assert same(prompts.encode(a1111(RED, CUBE)), prompts.encode(Wording(texts=(RED, CUBE))))
        assert not torch.equal(prompts.encode(a1111(f"({RED}:1.3) x"))[0], prompts.encode(a1111(f"{RED} x"))[0])


def test_encoders_of_unlike_length(prompts: PromptCache) -> None:
    """Empty chunks stand where one of them has fewer."""
    embeddings, pooled = prompts.encode(a1111(RED, f"{CUBE} BREAK {RED}"))
    own, _ = prompts.encode(a1111(f"{RED} BREAK"))
    empty, _ = prompts.encode(a1111(""))
    other, other_pooled = prompts.encode(a1111(f"{CUBE} BREAK {RED}"))
    width = 64  # of the first encoder
    assert embeddings.shape[1] == 2 * 77
    torch.testing.assert_close(embeddings[:, :77, :width], own[..., :width])
    torch.testing.assert_close(embeddings[:, 77:, :width], empty[..., :width])
    assert torch.equal(embeddings[..., width:], other[..., width:])
    assert torch.equal(pooled, other_pooled)


def test_textual_inversions_have_weights_and_are_not_parted(
    pipeline: Any, prompts: PromptCache, tmp_path: Path
) -> None:
    words = "red cube"
    vectors = {}
    for key, part, tokenizer in (("clip_l", "text_encoder", "tokenizer"), ("clip_g", "text_encoder_2", "tokenizer_2")):
        ids = getattr(pipeline, tokenizer)(words, add_special_tokens=False).input_ids
        vectors[key] = getattr(pipeline, part).get_input_embeddings().weight[ids].detach().clone()
    save_file(vectors, tmp_path / "thing.safetensors")
    known = {
        name: Embedding(name=name, path=tmp_path / "thing.safetensors", fingerprint=name)
        for name in ("thing", "my (thing)")
    }
    prompts.embeddings = lambda: known
    for text, meant in (
        ("a (thing:1.3), white", "a (red cube:1.3), white"),
        (r"a my \(thing\)", "a red cube"),
        ("red " * 74 + "thing", "red " * 74 + "BREAK red cube"),
    ):
        assert same(prompts.encode(a1111(text)), prompts.encode(a1111(meant)))


def test_weights_without_a_mean_to_go_back_to_do_no_harm(prompts: PromptCache) -> None:
    for prompt in ("(red:0)", "(red cube:-1)", "(a:1000) " * 60):
        assert prompts.encode(a1111(prompt))[0].isfinite().all()


def test_too_many_chunks_are_named(prompts: PromptCache) -> None:
    breaks = " BREAK ".join(["red"] * MAX_CHUNKS)
    assert prompts.encode(a1111(breaks))[0].shape[1] == MAX_CHUNKS * 77
    fields = "negative_prompt", "negative_prompt_2"
    for wording, field in (
        (a1111(f"{breaks} BREAK red"), "prompt"),
        (a1111("red", f"{breaks} BREAK red"), "prompt_2"),
        (a1111(f"{breaks} BREAK red", fields=fields), "negative_prompt"),
        (Wording(texts=("red " * 901,) * 2, is_long=True), "prompt"),
    ):
        with pytest.raises(RelayError, match=f'^{field}: got "13 chunks"; allowed: at most 12 chunks') as raised:
            prompts.encode(wording)
        assert (raised.value.status, raised.value.field) == (400, field)


def test_what_is_kept_is_bound_by_tokens(pipeline: Any) -> None:
    cache = PromptCache(pipeline, "cpu", LoadedLoras(pipeline), kept_tokens=4 * 77)
    was_kept: list[bool] = []
    cache.tell = was_kept.append
    with torch.inference_mode():
        for prompt in ("a", "b", "a", "a BREAK b BREAK c", "b", "a", "b"):
            cache.encode(a1111(prompt))
    assert was_kept == [False, False, True, False, False, False, True]
