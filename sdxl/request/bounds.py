"""What a checkpoint takes, of all that the API allows."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import BeforeValidator

from sdxl.errors import invalid_field
from sdxl.request.fields import Guidance, Steps, StrictModel
from sdxl.request.samplers import OLD_NAMES, SAMPLERS, SamplerName
from sdxl.request.schedules import ScheduleName


class Asked(Protocol):
    """Settled values: a request's, or a checkpoint's defaults."""

    @property
    def num_inference_steps(self) -> int:
        """Of both stages."""

    @property
    def guidance_scale(self) -> float:
        """Of the base."""

    @property
    def scheduler(self) -> SamplerName:
        """Of both stages."""

    @property
    def schedule(self) -> ScheduleName:
        """Of both stages."""


def _present(names: object) -> object:
    """The samplers of a relay.json, of which some may have had another name."""
    if not isinstance(names, list | tuple):
        return names
    return list(dict.fromkeys(OLD_NAMES[name][0] if name in OLD_NAMES else name for name in map(str, names)))


class Bounds(StrictModel):
    """Narrower bounds of requests, both ends included; None: as the API has it."""

    num_inference_steps: tuple[Steps, Steps] | None = None
    guidance_scale: tuple[Guidance, Guidance] | None = None
    scheduler: Annotated[tuple[SamplerName, ...] | None, BeforeValidator(_present)] = None
    schedule: tuple[ScheduleName, ...] | None = None
    reason: str = "the checkpoint's relay.json"
    """Who says so, for the error's message."""

    def check(self, asked: Asked) -> None:
        """Raises RelayError (400) that names the field, what came, what is allowed, and the reason.

        Whatever the bounds, a sampler has some of the schedules only.
        """
        for name, value, span in (
            ("num_inference_steps", asked.num_inference_steps, self.num_inference_steps),
            ("guidance_scale", asked.guidance_scale, self.guidance_scale),
        ):
            if span is not None and not span[0] <= value <= span[1]:
                raise invalid_field(name, value, f"{span[0]:g} to {span[1]:g}, by {self.reason}")
        if self.scheduler is not None and asked.scheduler not in self.scheduler:
            raise invalid_field("scheduler", asked.scheduler, f"{', '.join(self.scheduler)}, by {self.reason}")
        of_sampler = SAMPLERS[asked.scheduler].schedules
        allowed = [name for name in of_sampler if self.schedule is None or name in self.schedule]
        if asked.schedule not in allowed:
            why = f"with the scheduler {asked.scheduler}"
            why += f", by {self.reason}" if asked.schedule in of_sampler else ""
            raise invalid_field("schedule", asked.schedule, f"{', '.join(allowed)} {why}")
