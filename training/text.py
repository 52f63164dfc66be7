"""Builds the tokenizers and trains the two text encoders, before and apart from the UNets, as SDXL's were.

Throw-away heads must read a caption's content from just what the UNets will see: the penultimate hidden
states of both encoders and the pooled projection of the second.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from training.loop import WORK, Loop
from training.scenes import BACKGROUNDS, COLOURS, RELATIONS, SOLIDS, Scene, layout, random_scene, scenes

STEPS = 900
BATCH = 64
TOKENS = 77
WORDS = (
    *COLOURS,
    *BACKGROUNDS,
    *SOLIDS,
    *" ".join(RELATIONS).split(),
    *[
        "a",
        "an",
        "the",
        "and",
        "of",
        "on",
        "in",
        "to",
        "with",
        "front",
        "picture",
        "photo",
        "render",
        "above",
        "below",
        "beneath",
        "background",
        "soft",
        "light",
        "high",
        "quality",
    ],
)
LAYOUT_CLASSES = 1 + len(COLOURS) * len(SOLIDS)
# Of `Scene.canonical`: both solids' colour and kind (the last class: there is none), the relation, the background.
SLOTS = (len(COLOURS), len(SOLIDS), len(COLOURS) + 1, len(SOLIDS) + 1, 3, len(BACKGROUNDS))
UNSAID = -100  # cross_entropy's ignored class


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A CLIP byte-pair vocabulary in which every word of `WORDS` is one token, and all other text falls to bytes."""
    letters = sorted(ByteLevel.alphabet())  # "!" comes first, so that its id is 0, as in SDXL's
    tokens = letters + [f"{letter}</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in dict.fromkeys(WORDS):
        parts = [*word[:-1], f"{word[-1]}</w>"]
        for merge in merges:  # what earlier words' merges already join, in their order
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == merge:
                    parts[i : i + 2] = ["".join(merge)]
                i += 1
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
            tokens.append(parts[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges


def build_tokenizer(pad_token: str) -> CLIPTokenizer:
    """SDXL pads with the end token in the first tokenizer and with "!" in the second."""
    vocab, merges = vocabulary()
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad_token, model_max_length=TOKENS)


def build_encoders(tokenizer: CLIPTokenizer) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    first = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=64,
        hidden_act="quick_gelu",
        pad_token_id=tokenizer.eos_token_id,
        **ids,
    )
    second = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        projection_dim=128,
        hidden_act="gelu",
        pad_token_id=0,
        **ids,
    )
    return CLIPTextModel(first), CLIPTextModelWithProjection(second)


class SlotHead(nn.Module):
    """Predicts the six slots from one vector per slot."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.ModuleList(nn.Linear(width, classes) for classes in SLOTS)

    def forward(self, vectors: Tensor) -> list[Tensor]:  # [batch, 6, width]
        return [head(vectors[:, i]) for i, head in enumerate(self.out)]


class StatesHead(nn.Module):
    """Attends to the hidden states as a UNet's cross-attention does: 256 places and six slots ask, 77 tokens answer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(256 + len(SLOTS), width) * 0.3)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.layout = nn.Linear(width, LAYOUT_CLASSES)
        self.slots = SlotHead(width)

    def forward(self, states: Tensor) -> tuple[Tensor, list[Tensor]]:
        asked = self.queries.expand(len(states), -1, -1)
        answers = self.mix(asked + self.attend(asked, states, states, need_weights=False)[0])
        return self.layout(answers[:, :256]), self.slots(answers[:, 256:])


def slot_targets(scene: Scene, caption: str) -> list[int]:
    scene = scene.canonical
    solids = [list(COLOURS).index(scene.solid.colour), SOLIDS.index(scene.solid.kind)]
    if scene.other is None:
        solids += [len(COLOURS), len(SOLIDS), 0]
    else:
        solids += [
            list(COLOURS).index(scene.other.colour),
            SOLIDS.index(scene.other.kind),
            1 if scene.relation == "on top of" else 2,
        ]
    return [*solids, list(BACKGROUNDS).index(scene.background) if "background" in caption else UNSAID]


class Task:
    """Batches of captions with what the heads must read from them."""

    def __init__(self, tokenizer: CLIPTokenizer, pad_second: int) -> None:
        self.tokenizer, self.pad_second = tokenizer, pad_second
        self.layouts: dict[str, Tensor] = {}

    def batch(self, chosen: list[Scene], rng: random.Random) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        captions = [scene.wording(rng) for scene in chosen]
        first = token_ids(self.tokenizer, captions)
        second = pad_after_end(first, self.tokenizer.eos_token_id, self.pad_second)
        slots = torch.tensor([slot_targets(s, c) for s, c in zip(chosen, captions, strict=True)])
        return first, second, torch.stack([self._layout(s) for s in chosen]), slots

    def _layout(self, scene: Scene) -> Tensor:
        key = f"{scene.canonical.solids} {scene.canonical.relation}"
        if key not in self.layouts:
            self.layouts[key] = torch.from_numpy(layout(scene)).flatten()
        return self.layouts[key]


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """[captions, 77]"""
    ids = tokenizer(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids
    assert isinstance(ids, Tensor)
    return ids


def pad_after_end(ids: Tensor, end: int, pad: int) -> Tensor:
    after = (ids == end).cumsum(1) > 1
    return ids.masked_fill(after, pad)


def train(folder: Path) -> None:
    torch.manual_seed(2)
    tokenizer, second_tokenizer = build_tokenizer("<|endoftext|>"), build_tokenizer("!")
    first, second = build_encoders(tokenizer)
    heads = nn.ModuleList([StatesHead(64), StatesHead(128), SlotHead(128)])
    task = Task(tokenizer, second_tokenizer.pad_token_id)
    loop = Loop("text", [first, second, heads], STEPS, rate=1.5e-3, flat_share=0.4, ema=0.99)
    rng = random.Random(21 + loop.step)

    def predict(
        one: nn.Module, two: nn.Module, h: nn.ModuleList, a: Tensor, b: Tensor
    ) -> list[tuple[Tensor | None, list[Tensor]]]:
        states = one(a, output_hidden_states=True).hidden_states[-2]
        out = two(b, output_hidden_states=True)
        pooled = out.text_embeds[:, None].expand(-1, len(SLOTS), -1)
        return [h[0](states), h[1](out.hidden_states[-2]), (None, h[2](pooled))]

    def loss_of() -> Tensor:
        chosen: list[Scene] = []
        while len(chosen) < BATCH:
            scene = random_scene(rng)
            if not scene.is_held_out:
                chosen.append(scene)
        a, b, layouts, slots = task.batch(chosen, rng)
        total = torch.zeros(())
        for layout_logits, slot_logits in predict(first, second, heads, a, b):
            if layout_logits is not None:
                total = total + F.cross_entropy(layout_logits.float().flatten(0, 1), layouts.flatten())
            for i, logits in enumerate(slot_logits):
                total = total + F.cross_entropy(logits.float(), slots[:, i], ignore_index=UNSAID)
        return total / 20

    loop.run(loss_of)
    averaged = [loop.averaged(m).eval() for m in (first, second)]
    averaged_heads = loop.averaged(heads)
    with torch.no_grad():
        a, b, layouts, slots = task.batch(scenes(77, 500, held_out=True), random.Random(3))
        for name, (layout_logits, slot_logits) in zip(
            ("states 1", "states 2", "pooled"),
            predict(averaged[0], averaged[1], averaged_heads, a, b),
            strict=True,
        ):
            right = [
                float((logits.argmax(1) == slots[:, i])[slots[:, i] != UNSAID].float().mean())
                for i, logits in enumerate(slot_logits)
            ]
            cells = None if layout_logits is None else float((layout_logits.argmax(2) == layouts).float().mean())
            print(f"held out, {name}: slots {right}, layout cells {cells}")
    parts: dict[str, Any] = {"text_encoder": averaged[0], "text_encoder_2": averaged[1]}
    for name, part in {**parts, "tokenizer": tokenizer, "tokenizer_2": second_tokenizer}.items():
        part.save_pretrained(folder / name)


if __name__ == "__main__":
    train(WORK / "base")
