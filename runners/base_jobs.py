"""The base stage's jobs: from a prompt or a picture to latents at the cutoff, or to a finished picture."""

from __future__ import annotations

import time
from functools import partial

import torch
from PIL import Image

from runners.frames import Frame, Kind, mask_of, pixels_of
from runners.shelf import Known
from runners.stage import Stage, StageJob
from sdxl.denoising import sampler as samplers
from sdxl.denoising.guidance import GuidancePlan
from sdxl.denoising.inpainting import latent_mask
from sdxl.denoising.prompt import base_conditioning, check_clip_skip
from sdxl.denoising.shares import of_edit, of_generation, without_idle_refiner
from sdxl.denoising.start import Start
from sdxl.denoising.state import denoising
from sdxl.denoising.wording import Steps, steps_taken
from sdxl.errors import invalid_field
from sdxl.handoff.document import HandOff
from sdxl.handoff.fields import HandOffFields
from sdxl.models.checkpoint import Checkpoint, with_sampler
from sdxl.models.facts import VAE_FACTOR
from sdxl.models.lora import Chosen
from sdxl.request.fields import Pair
from sdxl.request.limits import Limits
from sdxl.request.requests import EditRequest, GenerationRequest
from sdxl.request.settled import Edit, Generation
from sdxl.request.shared import SharedFields
from stepbatch.denoising import Conditioning, Denoising

# Fields of a request that the refiner needs just as they are.
AS_REQUESTED = {
    *SharedFields.model_fields, "prompt_syntax", "long_prompts", "scheduler", "schedule", "num_inference_steps", "seed",
}  # fmt: skip


class BaseStage(Stage):
    """The base UNet, and what requests ask of it."""

    NAME = "base"

    def any_conditioning(self, known: Known, checkpoint: Checkpoint) -> Conditioning:
        """See `Stage.any_conditioning`."""
        words = GenerationRequest(prompt="a picture", seed=0).with_defaults(known.facts.defaults)
        return base_conditioning(checkpoint, words, (words.height, words.width), rows=1)[0]

    def job_from_prompt(self, payload: bytes, limits: Limits) -> StageJob:
        """The job for one request. Raises RelayError (400) for what this checkpoint or sampler cannot do."""
        asked = GenerationRequest.model_validate_json(payload)
        known = self.shelf.known(asked.model)
        facts = known.facts
        wanted = asked.with_defaults(facts.defaults)
        facts.defaults.bounds.check(wanted)
        self._check_pixels(wanted.width, wanted.height)
        check_clip_skip(facts, wanted.clip_skip)
        share = partial(of_generation, config=facts.scheduler_config)
        settled, shares = without_idle_refiner(asked, wanted, share)
        why, wanted = _why_alone(wanted, settled), settled
        sampler, timesteps = shares.sampler, shares.of_base
        loras = self.shelf.chosen(known, wanted.loras)
        guidance = GuidancePlan.of(wanted, sampler, shares.of_both)
        generator = torch.Generator("cpu").manual_seed(wanted.seed)

        def prepare() -> Denoising:
            size = (wanted.height, wanted.width)
            checkpoint = self.there(known)
            steps = Steps.of(sampler, timesteps, wanted)
            conditioning = base_conditioning(checkpoint, wanted, size, guidance.rows, loras, steps)
            pipeline = with_sampler(checkpoint.pipeline, sampler)
            latents = pipeline.prepare_latents(
                1,
                pipeline.unet.config.in_channels,
                *size,
                conditioning[0].embeddings.dtype,
                checkpoint.device,
                generator,
            )
            return denoising(pipeline, latents, timesteps, conditioning, generator, guidance)

        def finish(latents: torch.Tensor) -> Frame:
            if wanted.refine == "none":
                return self._picture(known, loras, wanted, latents, why)
            done = wanted.num_inference_steps if shares.cutoff is None else steps_taken(shares.sampler, shares.of_base)
            return self._hand_off(known, loras, wanted, latents, generator, shares.cutoff, done)

        return self.job(
            known,
            prepare,
            finish,
            guidance=guidance,
            size=(wanted.height // VAE_FACTOR, wanted.width // VAE_FACTOR),
            timesteps=timesteps,
            decodes=wanted.refine == "none",
            limits=limits,
            loras=loras,
            steps_after=shares.steps_after,
        )

    def job_from_picture(self, payload: bytes, limits: Limits) -> StageJob:
        """The base's part of an edit. Raises RelayError (400) for what this checkpoint or sampler cannot do.

        Where the strength is so low that no step of it is above the cutoff, the base only encodes the picture,
        and the refiner does the edit alone.
        """
        frame = Frame.decode(payload)
        image, mask = Image.fromarray(pixels_of(frame)), _mask(frame)
        enlarged_to = frame.meta.get("latents_px")
        self._check_pixels(*enlarged_to or image.size)
        asked = EditRequest.model_validate(frame.meta["request"])
        known = self.shelf.known(asked.model)
        facts = known.facts
        wanted = asked.with_defaults(facts.defaults, has_mask=mask is not None)
        facts.defaults.bounds.check(wanted)
        loras = self.shelf.chosen(known, wanted.loras)
        share = partial(of_edit, config=facts.scheduler_config)
        settled, shares = without_idle_refiner(asked, wanted, share)
        why, wanted = _why_alone(wanted, settled), settled
        has_steps = len(shares.of_base) > 0
        _check_masked_content(wanted, has_mask=mask is not None, has_steps=has_steps)
        generator = torch.Generator("cpu").manual_seed(wanted.seed)
        start = Start(
            image=image,
            enlarged_to=enlarged_to and (enlarged_to[1] // VAE_FACTOR, enlarged_to[0] // VAE_FACTOR),
            mask=mask if has_steps else None,
            sampler=shares.sampler,
            timesteps=shares.of_base,
            generator=generator,
            strength=wanted.strength if has_steps else None,
            masked_content=wanted.masked_content,
        )

        def finish(latents: torch.Tensor) -> Frame:
            if wanted.refine == "none":
                return self._picture(known, loras, wanted, latents, why)
            done = steps_taken(shares.sampler, shares.of_base)
            return self._hand_off(known, loras, wanted, latents, generator, shares.cutoff, done, mask)

        return self.img2img_job(
            known,
            loras,
            wanted,
            start,
            GuidancePlan.of(wanted, shares.sampler, shares.of_both),
            finish,
            decodes=wanted.refine == "none",
            limits=limits,
            steps_after=shares.steps_after,
        )

    def _check_pixels(self, width: int, height: int) -> None:
        limit = self.settings.max_pixels
        if width * height > limit:
            raise invalid_field("width", f"{width} x {height}", f"width x height of at most {limit} pixels together")

    def _picture(
        self, known: Known, loras: Chosen, wanted: Generation | Edit, latents: torch.Tensor, why_alone: str | None
    ) -> Frame:
        told = self.told(known, loras, wanted, wanted)
        return self.picture(known, latents, told if why_alone is None else {**told, "why_alone": why_alone})

    def _hand_off(
        self,
        known: Known,
        loras: Chosen,
        wanted: Generation | Edit,
        latents: torch.Tensor,
        generator: torch.Generator,
        cutoff: int | None,
        steps_done: int,
        mask: torch.Tensor | None = None,
    ) -> Frame:
        begun = time.perf_counter()
        height, width = latents.shape[-2] * VAE_FACTOR, latents.shape[-1] * VAE_FACTOR
        document = HandOff(
            fields=self._handoff_fields(known, wanted, (height, width), cutoff, steps_done),
            latents=latents.cpu(),
            generator_state=generator.get_state(),
            mask=mask,
        ).encode()
        self.metrics.handed_off(len(document), time.perf_counter() - begun)
        meta = {"handoff": True, **self.told(known, loras, wanted, wanted)}
        return Frame(kind=Kind.RESULT, meta=meta, body=document)

    def _handoff_fields(
        self, known: Known, wanted: Generation | Edit, size: Pair, cutoff: int | None, steps_done: int
    ) -> HandOffFields:
        original, target = wanted.original_size or size, wanted.target_size or size
        return HandOffFields(
            **wanted.model_dump(include=AS_REQUESTED),
            steps_done=steps_done,
            mode="ensemble" if cutoff is not None else "sdedit",
            cutoff=cutoff,
            strength=wanted.strength if cutoff is None else None,
            height=size[0],
            width=size[1],
            original_size=original,
            target_size=target,
            negative_original_size=wanted.negative_original_size or original,
            negative_target_size=wanted.negative_target_size or target,
            guidance_scale=wanted.refiner_guidance_scale,
            sampler_digest=samplers.digest(wanted.scheduler, known.facts.scheduler_config, wanted.schedule),
            base_digest=self.there(known).digest,
            model=wanted.refiner_model,
        )


def _why_alone(wanted: Generation | Edit, settled: Generation | Edit) -> str | None:
    """Why the refiner has no part, if that is not what was wanted."""
    if settled.refine == wanted.refine:
        return None
    return f"left out: with num_inference_steps {wanted.num_inference_steps}, one of the stages would have no step"


def _check_masked_content(wanted: Edit, *, has_mask: bool, has_steps: bool) -> None:
    """Raises RelayError (400) where it would have no effect."""
    if wanted.masked_content != "original" and not has_mask:
        raise invalid_field("masked_content", wanted.masked_content, "original, for there is no mask")
    if wanted.masked_content in ("noise", "nothing") and not has_steps:
        allowed = "original or fill, for at this strength the refiner edits alone; or more strength"
        raise invalid_field("masked_content", wanted.masked_content, allowed)


def _mask(frame: Frame) -> torch.Tensor | None:
    """The mask of a picture frame that `pixels_of` has checked, as latents need it."""
    levels = mask_of(frame)
    if levels is None:
        return None
    mask = latent_mask(Image.fromarray(levels))
    if not mask.any():
        raise invalid_field("mask", "a mask that repaints nothing", "white over at least 8 x 8 pixels")
    return mask
