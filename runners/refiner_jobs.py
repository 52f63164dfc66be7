"""The refiner stage's jobs: from a hand-off, or from a picture, to a finished picture."""

from __future__ import annotations

import time
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from runners.frames import Frame, pixels_of
from runners.shelf import Known
from runners.stage import Stage, StageJob
from sdxl.denoising import sampler as samplers
from sdxl.denoising.guidance import GuidancePlan
from sdxl.denoising.prompt import img2img_conditioning
from sdxl.denoising.start import Start
from sdxl.errors import RelayError
from sdxl.handoff.document import HandOff
from sdxl.handoff.fields import HandOffError, HandOffFields
from sdxl.handoff.size import max_bytes
from sdxl.models.checkpoint import Checkpoint
from sdxl.request.limits import Limits
from sdxl.request.requests import RefineRequest
from sdxl.request.settled import Refinement
from stepbatch.denoising import Conditioning


class RefinerStage(Stage):
    """The refiner UNet, and what hand-offs and requests ask of it."""

    NAME = "refiner"

    def any_conditioning(self, known: Known, checkpoint: Checkpoint) -> Conditioning:
        """See `Stage.any_conditioning`."""
        defaults = known.facts.defaults
        words = RefineRequest(prompt="a picture", seed=0).with_defaults(defaults)
        return img2img_conditioning(checkpoint, words, (defaults.height, defaults.width), rows=1)[0]

    def job_from_handoff(self, document: bytes, limits: Limits) -> StageJob:
        """Goes on where the base stopped. Raises RelayError (400) for a hand-off that does not fit this refiner."""
        begun = time.perf_counter()
        handoff = self._read(document)
        self.metrics.handed_off(len(document), time.perf_counter() - begun)
        fields = handoff.fields
        known = self.shelf.known(fields.model)
        sampler = _sampler(known, fields)
        own_digest = samplers.digest(fields.scheduler, known.facts.scheduler_config, fields.schedule)
        if own_digest != fields.sampler_digest:
            raise RelayError(
                400,
                "sampler_mismatch",
                "hand-off field sampler_digest: the base's sampler is configured"
                f" otherwise than this refiner's, so that their timesteps do not tile; got"
                f" {fields.sampler_digest}, allowed is {own_digest}",
                field="sampler_digest",
            )
        if fields.cutoff is not None:
            timesteps = samplers.refiner_steps(sampler, fields.num_inference_steps, fields.cutoff)
        else:
            assert fields.strength is not None  # HandOffFields holds that one of the two is there
            timesteps = samplers.img2img_steps(sampler, fields.num_inference_steps, fields.strength)
        generator = torch.Generator("cpu")
        generator.set_state(handoff.generator_state)
        start = Start(
            image=handoff.latents,
            mask=handoff.mask,
            sampler=sampler,
            timesteps=timesteps,
            generator=generator,
            strength=fields.strength,
        )
        return self._job(known, fields, start, limits)

    def job_from_picture(self, payload: bytes, limits: Limits) -> StageJob:
        """The refiner model card's own use: improve a picture one has."""
        frame = Frame.decode(payload)
        asked = RefineRequest.model_validate(frame.meta["request"])
        known = self.shelf.known(asked.model)
        wanted = asked.with_defaults(known.facts.defaults)
        known.facts.defaults.bounds.check(wanted)
        sampler = _sampler(known, wanted)
        start = Start(
            image=Image.fromarray(pixels_of(frame)),
            sampler=sampler,
            timesteps=samplers.img2img_steps(sampler, wanted.num_inference_steps, wanted.strength),
            generator=torch.Generator("cpu").manual_seed(wanted.seed),
            strength=wanted.strength,
        )
        return self._job(known, wanted, start, limits)

    def _job(self, known: Known, wanted: HandOffFields | Refinement, start: Start, limits: Limits) -> StageJob:
        loras = self.shelf.chosen(known, wanted.loras)

        def finish(latents: Tensor) -> Frame:
            settled = wanted if isinstance(wanted, Refinement) else None
            return self.picture(known, latents, self.told(known, loras, wanted, settled))

        guidance = GuidancePlan.of(wanted, start.sampler, start.timesteps)
        return self.img2img_job(known, loras, wanted, start, guidance, finish, decodes=True, limits=limits)

    def _read(self, document: bytes) -> HandOff:
        try:
            max_pixels = self.settings.max_pixels
            return HandOff.decode(document, max_bytes=max_bytes(max_pixels), max_pixels=max_pixels)
        except HandOffError as error:
            raise RelayError(400, "invalid_handoff", str(error)) from error


def _sampler(known: Known, wanted: HandOffFields | Refinement) -> Any:
    return samplers.make_sampler(wanted.scheduler, known.facts.scheduler_config, wanted.schedule)
