"""Prompts as the text encoders read them, kept for when they come again: negative prompts mostly do."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from torch import Tensor

KEPT = 128  # of SDXL's size, each is 0.6 MB in float32


class PromptCache:
    """Encodes prompts by a pipeline's own `encode_prompt`; not thread-safe.

    `adapters` says what the text encoders are changed by at present: a prompt is encoded anew for each.
    """

    def __init__(
        self, pipeline: Any, device: str, adapters: Callable[[], Hashable] = lambda: (), kept: int = KEPT
    ) -> None:
        self._pipeline, self._device, self._adapters = pipeline, device, adapters
        self._encode = lru_cache(maxsize=kept)(self._encode_anew)
        self.tell: Callable[[bool], None] = lambda _: None  # after each prompt: whether it was kept

    def encode(self, prompt: str, prompt_2: str | None, clip_skip: int | None) -> tuple[Tensor, Tensor]:
        """Embeddings [1, 77, width] and the pooled embedding [1, width]; without a `prompt_2`, `prompt` is both."""
        hits = self._encode.cache_info().hits
        encoded = self._encode(prompt, prompt_2 or prompt, clip_skip, self._adapters())
        self.tell(self._encode.cache_info().hits > hits)
        return encoded

    def _encode_anew(
        self, prompt: str, prompt_2: str, clip_skip: int | None, _adapters: Hashable
    ) -> tuple[Tensor, Tensor]:
        embeddings, _, pooled, _ = self._pipeline.encode_prompt(
            prompt=prompt,
            prompt_2=prompt_2,
            device=self._device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
            clip_skip=clip_skip,
        )
        return embeddings, pooled
