"""What every training run shares: master weights, an average of them, a rate schedule, progress, resuming."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

WORK = Path(__file__).parent / "work"
SAVE_EVERY_S = 60.0


class Loop:
    """Trains modules in bfloat16 over float32 master weights, and keeps their exponential moving average.

    The modules' own parameters are bfloat16 copies that forward and backward use; after each step they are
    rewritten from the master weights. State is saved to `work/NAME.pt` once a minute, and read again by the
    next run of the same name.
    """

    def __init__(
        self,
        name: str,
        modules: Iterable[nn.Module],
        steps: int,
        rate: float,
        *,
        flat_share: float = 0.6,
        ema: float = 0.998,
        weight_decay: float = 0.01,
    ) -> None:
        self.name, self.steps, self.rate, self.flat_share, self.ema_decay = name, steps, rate, flat_share, ema
        self.modules = nn.ModuleList(modules)
        self.params = [p for p in self.modules.parameters() if p.requires_grad]
        self.master = [p.detach().clone().float() for p in self.params]
        self.average = [m.clone() for m in self.master]
        self.modules.to(torch.bfloat16)
        self.optimizer = torch.optim.AdamW(self.master, lr=rate, betas=(0.9, 0.99), weight_decay=weight_decay)
        self.step = 0
        self.seconds = 0.0
        self.path = WORK / f"{name}.pt"
        if self.path.exists():
            self._load()

    def run(self, loss_of: Callable[[], torch.Tensor]) -> None:
        """Takes steps until `steps` are done; `loss_of()` gives a scalar loss."""
        saved = started = time.monotonic()
        before = self.seconds
        shown = 0.0
        with tqdm(total=self.steps, initial=self.step, desc=self.name, mininterval=5) as bar:
            while self.step < self.steps:
                loss = loss_of()
                loss.backward()
                self._update()
                self.step += 1
                now = time.monotonic()
                self.seconds = before + now - started
                shown = loss.item() if shown == 0.0 else 0.98 * shown + 0.02 * loss.item()
                bar.set_postfix(loss=f"{shown:.4f}", refresh=False)
                bar.update()
                if now - saved > SAVE_EVERY_S:
                    self._save()
                    saved = now
        self._save()

    def averaged(self, module: nn.Module) -> Any:
        """A float32 copy of one of the modules, with the averaged weights."""
        result = copy.deepcopy(module).float()
        where = {id(p): a for p, a in zip(self.params, self.average, strict=True)}
        with torch.no_grad():
            for mine, theirs in zip(result.parameters(), module.parameters(), strict=True):
                if id(theirs) in where:
                    mine.copy_(where[id(theirs)])
        return result

    def _rate_now(self) -> float:
        warm = min(1.0, (self.step + 1) / 100)
        done = self.step / self.steps
        falling = max(0.0, (done - self.flat_share) / (1 - self.flat_share))
        return self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * falling)))

    @torch.no_grad()
    def _update(self) -> None:
        for master, p in zip(self.master, self.params, strict=True):
            master.grad = None if p.grad is None else p.grad.float()
            p.grad = None
        torch.nn.utils.clip_grad_norm_(self.master, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate_now()
        self.optimizer.step()
        decay = min(self.ema_decay, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.average, self.master, 1 - decay)
        for master, p in zip(self.master, self.params, strict=True):
            p.copy_(master)

    def _save(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "master": self.master,
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        with torch.no_grad():
            for mine, saved in zip(self.master + self.average, state["master"] + state["average"], strict=True):
                mine.copy_(saved)
            for master, p in zip(self.master, self.params, strict=True):
                p.copy_(master)
        self.optimizer.load_state_dict(state["optimizer"])
