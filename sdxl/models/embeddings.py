"""Textual inversion: words that stand for learned vectors among a prompt's (arXiv 2208.01618)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sdxl.config.references import UnusableFile
from sdxl.files.header import read_header

# By the names of both text encoders: those of AUTOMATIC1111, ComfyUI and kohya, and diffusers' own.
KEYS = {"text_encoder": ("clip_l", "text_encoders_0"), "text_encoder_2": ("clip_g", "text_encoders_1")}
STAND_IN = 0  # a token that no pipeline looks for: where the text ends is told by another


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """One embedding's for each text encoder, [count, width]."""

    of: Mapping[str, Tensor]

    @property
    def count(self) -> int:
        """How many tokens of a prompt it takes."""
        return max(len(vectors) for vectors in self.of.values())


def read_embedding(path: Path, pipeline: Any) -> Vectors:
    """Raises UnusableFile for what is no textual inversion of this model's text encoders."""
    header = read_header(path)
    found = {part: next((key for key in keys if key in header.tensors), None) for part, keys in KEYS.items()}
    if not any(found.values()):
        some = ", ".join(sorted(header.tensors)[:3]) or "nothing"
        raise UnusableFile(
            f"it has {some}, and SDXL's textual inversions have clip_l and clip_g: it is another model's"
        )
    tensors = load_file(path)
    vectors = {}
    for part, key in found.items():
        encoder = getattr(pipeline, part, None)
        if encoder is None or key is None:
            continue
        own = encoder.get_input_embeddings().weight
        given = tensors[key].reshape(-1, tensors[key].shape[-1])
        if given.shape[1] != own.shape[1]:
            raise UnusableFile(f"its {key} is {given.shape[1]} wide, and the model's {part} takes {own.shape[1]}")
        if not given.isfinite().all():
            raise UnusableFile(f"there is NaN or infinity in its {key}")
        vectors[part] = given.to(own.device, own.dtype)
    if not vectors:
        raise UnusableFile("it has nothing for the text encoder that this model has")
    return Vectors(of=vectors)


def words_in(texts: Iterable[str | None], names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that the texts have as words, in any case."""
    whole = " ".join(text for text in texts if text)
    return tuple(sorted(name for name in names if _word(name).search(whole)))


@contextmanager
def reading(pipeline: Any, embeddings: Mapping[str, Vectors]) -> Iterator[tuple[Any, Reader]]:
    """A pipeline that knows the words, and what makes of a prompt the one that it understands."""
    reader = Reader(embeddings)
    if not embeddings:
        yield pipeline, reader
        return
    own = copy.copy(pipeline)
    for part, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        encoder = getattr(pipeline, part, None)
        if encoder is None:
            continue
        words = copy.deepcopy(getattr(pipeline, tokenizer))
        first = len(words)
        words.add_tokens(reader.tokens)
        setattr(own, tokenizer, words)
        setattr(own, part, _Encoder(encoder, first, reader.vectors(part, encoder)))
    yield own, reader


class Reader:
    """Writes a token for each vector in the place of an embedding's name."""

    def __init__(self, embeddings: Mapping[str, Vectors]) -> None:
        self._embeddings = embeddings
        self._tokens = {
            name: [f"<embedding-{number}-{index}>" for index in range(vectors.count)]
            for number, (name, vectors) in enumerate(embeddings.items())
        }

    @property
    def tokens(self) -> list[str]:
        """In the order of `vectors`."""
        return [token for tokens in self._tokens.values() for token in tokens]

    def groups(self, tokenizer: Any) -> dict[int, int]:
        """How many tokens belong together, by the first of them: those of one embedding."""
        first = {name: tokenizer.convert_tokens_to_ids(tokens[0]) for name, tokens in self._tokens.items()}
        return {first[name]: len(tokens) for name, tokens in self._tokens.items()}

    def vectors(self, part: str, encoder: Any) -> Tensor:
        """[tokens, width]; zeros where an embedding has none for this encoder."""
        weight = encoder.get_input_embeddings().weight
        rows: list[Tensor] = []
        for vectors in self._embeddings.values():
            given = vectors.of.get(part, weight.new_zeros(0, weight.shape[1]))
            rows += [given, weight.new_zeros(vectors.count - len(given), weight.shape[1])]
        return torch.cat(rows)

    def __call__(self, prompt: str) -> str:
        """The prompt; the longest names first, for one may begin like another."""
        for name in sorted(self._tokens, key=len, reverse=True):
            prompt = _word(name).sub(" ".join(self._tokens[name]), prompt)
        return prompt


class _Encoder:
    """A text encoder that puts vectors where their tokens are.

    It sees a usual token there. Were it to see a higher number than that of the text's end, some would take it for the
    end, and give its place for the whole prompt's (transformers' CLIPTextModel, where eos_token_id is 2).
    """

    def __init__(self, encoder: Any, first: int, vectors: Tensor) -> None:
        self._encoder, self._first, self._vectors = encoder, first, vectors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def __call__(self, input_ids: Tensor, **options: Any) -> Any:
        places = input_ids >= self._first
        wanted = (input_ids - self._first)[places].to(self._vectors.device)

        def put_in(_module: nn.Module, _inputs: Sequence[Any], embedded: Tensor) -> Tensor:
            changed = embedded.clone()
            changed[places.to(embedded.device)] = self._vectors[wanted]
            return changed

        hook = self._encoder.get_input_embeddings().register_forward_hook(put_in)
        try:
            return self._encoder(input_ids.masked_fill(places, STAND_IN), **options)
        finally:
            hook.remove()


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
