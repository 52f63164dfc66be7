"""Prompts as the text encoders read them, kept for when they come again: negative prompts mostly do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from torch import Tensor

from sdxl.catalog.entries import Embedding
from sdxl.config.references import UnusableFile
from sdxl.errors import invalid_field
from sdxl.models.embeddings import Vectors, read_embedding, reading, words_in
from sdxl.models.lora import Adapters, LoadedLoras

KEPT = 128  # of SDXL's size, each is 0.6 MB in float32
KEPT_EMBEDDINGS = 32  # each is some ten kilobytes
Known = Callable[[], Mapping[str, Embedding]]


class PromptCache:
    """Encodes prompts by a pipeline's own `encode_prompt`, with LoRAs in its text encoders; not thread-safe."""

    def __init__(self, pipeline: Any, device: str, loras: LoadedLoras, kept: int = KEPT) -> None:
        self._pipeline, self._device, self._loras = pipeline, device, loras
        self._encode = lru_cache(maxsize=kept)(self._encode_anew)
        self._read = lru_cache(maxsize=KEPT_EMBEDDINGS)(self._read_anew)
        self.tell: Callable[[bool], None] = lambda _: None  # after each prompt: whether it was kept
        self.embeddings: Known = dict
        """The textual inversions that prompts may name at present."""

    def encode(
        self, prompt: str, prompt_2: str | None, clip_skip: int | None, adapters: Adapters = ()
    ) -> tuple[Tensor, Tensor]:
        """Embeddings [1, 77, width] and the pooled embedding [1, width]; without a `prompt_2`, `prompt` is both.

        Raises RelayError (400) for a textual inversion that does not fit this model.
        """
        known = self.embeddings()
        named = tuple(known[name] for name in words_in((prompt, prompt_2), known))
        hits = self._encode.cache_info().hits
        encoded = self._encode(prompt, prompt_2 or prompt, clip_skip, adapters, named)
        self.tell(self._encode.cache_info().hits > hits)
        return encoded

    def forget(self) -> None:
        """Lets go of what was read."""
        self._encode.cache_clear()

    def _encode_anew(
        self,
        prompt: str,
        prompt_2: str,
        clip_skip: int | None,
        adapters: Adapters,
        named: tuple[Embedding, ...],
    ) -> tuple[Tensor, Tensor]:
        words = reading(self._pipeline, {each.name: self._read(each) for each in named})
        with words as (pipeline, written), self._loras.for_text(adapters):
            embeddings, _, pooled, _ = pipeline.encode_prompt(
                prompt=written(prompt),
                prompt_2=written(prompt_2),
                device=self._device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
                clip_skip=clip_skip,
            )
        return embeddings, pooled

    def _read_anew(self, embedding: Embedding) -> Vectors:
        try:
            return read_embedding(embedding.path, self._pipeline)
        except UnusableFile as error:
            raise invalid_field("prompt", embedding.name, f"words without this textual inversion: {error}") from error
