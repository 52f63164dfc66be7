"""A stage's models: what is offered, which are there, and what they can do on the hardware that is there."""

from __future__ import annotations

import logging
from collections.abc import Callable

from runners.loads import Loads, in_own_thread
from runners.memory import budget_bytes, largest_picture_px
from runners.metrics import StageMetrics
from runners.probe import Probe
from runners.shelf import Known, Shelf
from runners.speed import measure, measuring_again
from sdxl.config.references import UnusableFile
from sdxl.config.settings import Settings, StageName
from sdxl.errors import RelayError
from sdxl.files.check import named
from sdxl.handoff.offer import Offer, Status
from sdxl.models.checkpoint import Checkpoint
from sdxl.models.device import device_of, dtype_of
from stepbatch.denoising import Conditioning
from stepbatch.job import Need
from stepbatch.residence import Residence

logger = logging.getLogger("bentoml.sdxl_relay")


class StageModels:
    """The model of requests that name none is there from the start, and those that are pinned."""

    def __init__(
        self,
        stage: StageName,
        settings: Settings,
        any_conditioning: Callable[[Known, Checkpoint], Conditioning],
        wake: Callable[[], object],
    ) -> None:
        """Loads them, and measures by the first what time and memory a model takes.

        That happens on threads that end then: see `in_own_thread`. `any_conditioning` is of one row; `wake` is called
        when a model has come later. Raises ConfigurationError.
        """
        self.device = device_of(settings)
        self.shelf = Shelf(stage, settings, dtype_of(settings, self.device))
        self.loads = Loads(stage, settings, self.shelf)
        first = self.shelf.known(None)
        loaded = self.loads.now(first.need)
        loaded.enter()
        checkpoint = self.there(first)
        self._backend = checkpoint.backend
        assert loaded.unet is not None
        probe = Probe(checkpoint, loaded.unet, in_own_thread(lambda: any_conditioning(first, checkpoint)).result())
        self.speed = in_own_thread(lambda: measure(probe, settings)).result()
        budget = budget_bytes(settings, loaded.parts, self.device)
        reserved = budget - sum(loaded.parts.values())
        rows = self.speed.limit.rows
        self.largest_px = in_own_thread(lambda: largest_picture_px(probe, rows, settings, reserved)).result()
        self.residence = Residence(self.loads, budget, wake)
        self.residence.put(first.need, loaded)
        for known in self.shelf.pinned:
            if known is not first:
                self.residence.put(known.need, self.loads.now(known.need))
        for need in self.shelf.of_settings(first):
            self._put_lora(need)
        self.measure_again: Callable[[], bool] = lambda: False
        """While there is nothing to do; whether there is more of it."""
        self._measuring = probe, settings, first

    def _put_lora(self, need: Need) -> None:
        file = self.shelf.file_of(need)
        setting = "SDXL_LORAS" if file.stage == "base" else "SDXL_REFINER_LORAS"
        with named(setting, f"{file.name}={file.path}"):
            try:
                self.residence.put(need, self.loads.now(need))
            except RelayError as error:
                raise UnusableFile(str(error.__cause__)) from error
        logger.info("the LoRA %s is there", file.name)

    def tell(self, metrics: StageMetrics) -> None:
        """Lets all be counted, and measuring begin again when there is time."""
        probe, settings, first = self._measuring
        self.loads.metrics = metrics
        self.residence.when_changed = lambda: self._tell_residence(metrics)
        self._tell_residence(metrics)
        probe.checkpoint.prompts.tell = metrics.encoded
        self.measure_again = measuring_again(probe, self.speed, settings, metrics.row_limit.set)
        self.loads.when_left(first.need, self._forget_first)
        del self._measuring

    def _tell_residence(self, metrics: StageMetrics) -> None:
        models = sum(not need.is_extra for need in self.residence.there)
        metrics.resident(models, self.residence.used_bytes, self.residence.budget_bytes)

    def _forget_first(self) -> None:
        self.measure_again = lambda: False

    def there(self, known: Known) -> Checkpoint:
        """A model that a job works with, for which the engine has waited; on the engine's thread."""
        return self.loads.checkpoints[known.need]

    def is_there(self, known: Known) -> bool:
        """Whether a job of the model could be worked on at once; from any thread."""
        return known.need in self.residence.there

    def renew(self) -> None:
        """Looks for models and LoRAs that have come or gone; from any thread."""
        if self.shelf.renew():
            logger.info("the files of models and LoRAs have changed: %d models", len(self.offer().models))

    def offer(self) -> Offer:
        """What requests can name here."""
        return self.shelf.offer(self._backend)

    def status(self) -> Status:
        """How soon it could work on what."""
        there = {need for need in self.residence.there if not need.is_extra}
        return Status(
            offer=self.offer().digest,
            resident=tuple(sorted(self.shelf.of(need).model.name for need in there)),
            load_s=self.loads.load_s,
            seconds_per_work=self.speed.seconds_per_work,
            room_bytes=self.residence.room_bytes,
        )
