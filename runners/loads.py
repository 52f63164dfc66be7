"""How a stage's models come: each load on a thread of its own, beside the engine's."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from runners.bento_models import folder_of
from runners.metrics import LoadKind, StageMetrics
from runners.shelf import Known, Shelf
from sdxl.config.references import UnusableFile
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.errors import RelayError, invalid_field
from sdxl.files.check import NO_MEMORY, one_line
from sdxl.models import checkpoint as checkpoints
from sdxl.models.checkpoint import Checkpoint
from sdxl.models.device import device_of
from sdxl.models.host_copy import Parked
from sdxl.models.interrupt import Interruptible
from sdxl.models.shared import SharedParts, parts_of
from sdxl.models.unet import make_unet
from stepbatch.job import Need
from stepbatch.residence import Loaded, Parts

SMOOTHING = 0.3  # weight of the newest load
FIRST_GUESS_S = 10.0
LORA_S = 0.2  # about what a LoRA takes; too little to be measured

logger = logging.getLogger("bentoml.sdxl_relay")
T = TypeVar("T")


class Loads:
    """See `stepbatch.residence.Loader`."""

    def __init__(self, stage: StageName, settings: Settings, shelf: Shelf) -> None:
        self.checkpoints: dict[Need, Checkpoint] = {}
        """Those that are there; for the engine's thread."""
        self.load_s = FIRST_GUESS_S
        """About how long a model takes."""
        self.metrics: StageMetrics | None = None
        self.interruptible = Interruptible()
        self._stage, self._settings, self._shelf = stage, settings, shelf
        self._shared = SharedParts()
        device = device_of(settings)
        self._parked: Parked[Checkpoint] | None = None
        if device != "cpu" and settings.ram_gb:  # on a CPU, what has left would lie in the same memory
            self._parked = Parked(int(settings.ram_gb * 1e9), device)
        self._sizes: dict[Need, int] = {}  # bytes of what has been loaded before
        self._leaving: dict[Need, Callable[[], object]] = {}

    def load(self, need: Need) -> Future[Loaded]:
        """See `Loader`."""
        return in_own_thread(lambda: self._timed(need))

    def now(self, need: Need) -> Loaded:
        """A load that the caller waits for. Raises ConfigurationError."""
        return in_own_thread(lambda: self._lora(need) if need.is_extra else self._loaded(need)).result()

    def parts(self, need: Need) -> Parts:
        """See `Loader`."""
        if need.is_extra:
            return {need: self._shelf.file_of(need).path.stat().st_size}
        return {need: self._sizes.get(need) or self._shelf.of(need).facts.size_bytes}

    def seconds(self, need: Need) -> float:
        """See `Loader`."""
        return LORA_S if need.is_extra else self.load_s

    def is_pinned(self, need: Need) -> bool:
        """See `Loader`."""
        return not need.is_extra and self._shelf.is_pinned(self._shelf.of(need))

    def when_left(self, need: Need, call: Callable[[], object]) -> None:
        """Lets `call` follow when the model makes room for another."""
        self._leaving[need] = call

    def _timed(self, need: Need) -> Loaded:
        begun = time.perf_counter()
        if need.is_extra:
            lora = self._lora(need)
            self._count("lora", time.perf_counter() - begun)
            return lora
        known = self._shelf.of(need)
        try:
            loaded = self._loaded(need)
        except ConfigurationError as error:
            logger.warning("%s", error)
            raise self._as_answer(known, error) from error
        seconds = time.perf_counter() - begun
        self.load_s += SMOOTHING * (seconds - self.load_s)
        self._count("model", seconds)
        return loaded

    def _count(self, kind: LoadKind, seconds: float) -> None:
        if self.metrics is not None:
            self.metrics.loaded(kind, seconds)

    def _loaded(self, need: Need) -> Loaded:
        begun = time.perf_counter()
        checkpoint = (self._parked and self._parked.bring(need)) or self._read(need)
        unet = make_unet(checkpoint, self._settings)
        # On a GPU, calls are short; compiled code cannot be told.
        if checkpoint.device == "cpu" and self._settings.compile == "off":
            self.interruptible.add(checkpoint.pipeline)
        checkpoint.prompts.embeddings = self._shelf.embeddings
        parts = parts_of(checkpoint.pipeline)
        self._sizes[need] = sum(parts.values())
        if self.load_s == FIRST_GUESS_S:
            self.load_s = time.perf_counter() - begun
        return Loaded(
            unet=unet, parts=parts, enter=lambda: self._enter(need, checkpoint), leave=lambda: self._leave(need)
        )

    def _read(self, need: Need) -> Checkpoint:
        """From its files."""
        known = self._shelf.of(need)
        checkpoint = checkpoints.load(
            self._stage,
            known.model,
            self._settings,
            folder_of,
            facts=known.facts,
            shared=self._shared,
            known_digest=self._shelf.sha256(known.model.fingerprint),
        )
        self._shelf.read(known.model.fingerprint, checkpoint.digest)
        if self._parked is not None:
            self._parked.hold(checkpoint)
        return checkpoint

    def _lora(self, need: Need) -> Loaded:
        file, loras = self._shelf.file_of(need), self.checkpoints[need.of_model].loras
        try:
            read = loras.read(file.path)
        except (UnusableFile, OSError) as error:
            raise invalid_field("loras", file.name, f"LoRAs that fit the model; {one_line(str(error))}") from error
        self._shelf.read(file.fingerprint, read.digest)
        key = need.extra
        return Loaded(
            parts={need: read.size_bytes}, enter=lambda: loras.add(key, read), leave=lambda: loras.remove(key)
        )

    def _as_answer(self, known: Known, error: ConfigurationError) -> RelayError:
        """What the jobs that wait for it fail with."""
        path = Path(known.model.reference)
        if path.is_absolute() and not path.exists():
            return RelayError(404, "model_not_found", f"model: {known.model.name} was removed", field="model")
        if NO_MEMORY in str(error):
            return RelayError(413, "no_memory", f"model: {error}", field="model")
        self._shelf.withdraw(known, str(error))
        return RelayError(404, "model_not_found", f"model: got {known.model.name}; {error}", field="model")

    def _enter(self, need: Need, checkpoint: Checkpoint) -> None:
        self.checkpoints[need] = checkpoint
        if self.metrics is not None:
            checkpoint.prompts.tell = self.metrics.encoded

    def _leave(self, need: Need) -> None:
        checkpoint = self.checkpoints.pop(need)
        if self._parked is not None:
            self._parked.park(need, checkpoint)
        checkpoint.prompts.forget()
        logger.info("%s makes room", self._shelf.of(need).model.name)
        if need in self._leaving:
            self._leaving.pop(need)()


def in_own_thread(work: Callable[[], T]) -> Future[T]:
    """On a thread that ends with the work, and OpenMP's workers with it.

    With the workers of a second thread besides the engine's, there would be more than cores, and OpenMP would put each
    to sleep after every operation: on two cores, a tick then takes twice as long.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future
