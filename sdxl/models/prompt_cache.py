"""Prompts as the text encoders read them, kept for when they come again: negative prompts mostly do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from torch import Tensor

from sdxl.catalog.entries import Embedding
from sdxl.config.references import UnusableFile
from sdxl.errors import invalid_field
from sdxl.models.chunks import CHUNK_TOKENS, Chunk, chunks, empty_chunk
from sdxl.models.embeddings import Reader, Vectors, read_embedding, reading, words_in
from sdxl.models.emphasis import encoded
from sdxl.models.lora import Adapters, LoadedLoras
from sdxl.prompt.weights import Part, passages
from sdxl.request.fields import PromptSyntax

KEPT_TOKENS = 128 * CHUNK_TOKENS  # of SDXL's size, each chunk of 77 is 0.6 MB in float32
KEPT_EMBEDDINGS = 32  # each is some ten kilobytes
MAX_CHUNKS = 12
Known = Callable[[], Mapping[str, Embedding]]
Encoded = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Wording:
    """A prompt for each text encoder, and how they are read."""

    texts: tuple[str, str]
    clip_skip: int | None = None
    syntax: PromptSyntax = "plain"
    is_long: bool = False
    fields: tuple[str, str] = field(default=("prompt", "prompt_2"), compare=False)
    """Where they come from, for errors."""

    @property
    def is_in_chunks(self) -> bool:
        """Whether it may be longer than an encoder's context."""
        return self.is_long or self.syntax == "a1111"


class PromptCache:
    """Encodes prompts by a pipeline's text encoders, with LoRAs in them; not thread-safe."""

    def __init__(self, pipeline: Any, device: str, loras: LoadedLoras, kept_tokens: int = KEPT_TOKENS) -> None:
        self._pipeline, self._device, self._loras = pipeline, device, loras
        self._kept: OrderedDict[object, Encoded] = OrderedDict()  # the least recently used first
        self._kept_tokens, self._most_tokens = 0, kept_tokens
        self._read = lru_cache(maxsize=KEPT_EMBEDDINGS)(self._read_anew)
        self.tell: Callable[[bool], None] = lambda _: None  # after each prompt: whether it was kept
        self.embeddings: Known = dict
        """The textual inversions that prompts may name at present."""

    def encode(self, wording: Wording, adapters: Adapters = ()) -> Encoded:
        """Embeddings [1, 77 x chunks, width] and the pooled embedding [1, width].

        Raises RelayError (400) for a textual inversion that does not fit this model, and for too many chunks.
        """
        known = self.embeddings()
        named = tuple(known[name] for name in words_in(_as_read(wording), known))
        key = wording, adapters, named
        kept = self._kept.get(key)
        self.tell(kept is not None)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        encoded_now = self._encode_anew(wording, adapters, named)
        self._keep(key, encoded_now)
        return encoded_now

    def forget(self) -> None:
        """Lets go of what was read."""
        self._kept.clear()
        self._kept_tokens = 0

    def _keep(self, key: object, value: Encoded) -> None:
        self._kept[key] = value
        self._kept_tokens += value[0].shape[1]
        while self._kept_tokens > self._most_tokens:
            _, (oldest, _) = self._kept.popitem(last=False)
            self._kept_tokens -= oldest.shape[1]

    def _encode_anew(self, wording: Wording, adapters: Adapters, named: tuple[Embedding, ...]) -> Encoded:
        words = reading(self._pipeline, {each.name: self._read(each) for each in named})
        with words as (pipeline, reader), self._loras.for_text(adapters):
            if wording.is_in_chunks:
                embeddings, pooled = encoded(pipeline, _in_chunks(pipeline, reader, wording), wording.clip_skip)
                return embeddings.to(dtype=pipeline.text_encoder_2.dtype, device=self._device), pooled
            first, second = wording.texts
            embeddings, _, pooled, _ = pipeline.encode_prompt(
                prompt=reader(first),
                prompt_2=reader(second),
                device=self._device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
                clip_skip=wording.clip_skip,
            )
        return embeddings, pooled

    def _read_anew(self, embedding: Embedding) -> Vectors:
        try:
            return read_embedding(embedding.path, self._pipeline)
        except UnusableFile as error:
            raise invalid_field("prompt", embedding.name, f"words without this textual inversion: {error}") from error


def _in_chunks(pipeline: Any, reader: Reader, wording: Wording) -> list[list[Chunk]]:
    """For each text encoder; where one has fewer than the other, empty ones follow."""
    tokenizers = [tokenizer for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2) if tokenizer is not None]
    found = []
    # As in diffusers' encode_prompt: a model with one encoder alone reads the first text.
    for tokenizer, text, name in zip(tokenizers, wording.texts, wording.fields, strict=False):
        parted = _passages(text, wording.syntax)
        written = [tuple(Part(text=reader(part.text), weight=part.weight) for part in parts) for parts in parted]
        own = chunks(written, tokenizer, reader.groups(tokenizer), parts_at_commas=wording.syntax == "a1111")
        if len(own) > MAX_CHUNKS:
            allowed = f"at most {MAX_CHUNKS} chunks of 75 tokens, by the words that are read at one step"
            raise invalid_field(name, f"{len(own)} chunks", allowed)
        found.append(own)
    most = max(map(len, found))
    return [
        own + [empty_chunk(tokenizer)] * (most - len(own)) for own, tokenizer in zip(found, tokenizers, strict=True)
    ]


def _passages(text: str, syntax: PromptSyntax) -> tuple[tuple[Part, ...], ...]:
    return passages(text) if syntax == "a1111" else ((Part(text=text),),)


def _as_read(wording: Wording) -> list[str]:
    """The words without the syntax around them."""
    return ["".join(part.text for part in parts) for text in wording.texts for parts in _passages(text, wording.syntax)]
