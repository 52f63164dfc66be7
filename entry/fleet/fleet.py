"""Both stages' replicas, what they offer, and whether they belong together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from entry.fleet.metrics import CallMetrics
from entry.fleet.names import default_of, each_once, loras_named, model_named
from entry.fleet.stage import RETRY_AFTER_S, StageClient
from entry.fleet.team import Asked, Teams
from sdxl.config.settings import Settings
from sdxl.errors import RelayError, invalid_field, shorten
from sdxl.handoff.offer import Offer, OfferedModel
from sdxl.prompt.loras import Request, with_own_loras
from sdxl.request.loras import Loras
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest
from sdxl.request.settled import Defaults

NO_REFINER = "this server has no refiner (SDXL_REFINER)"
ByBoth = TypeVar("ByBoth", GenerationRequest, EditRequest)


class Fleet:
    """What the entry service sends its jobs to."""

    def __init__(self, settings: Settings) -> None:
        self.base = StageClient("base", settings)
        self.refiner = StageClient("refiner", settings)
        self._has_refiner = settings.has_refiner
        self.stages = (self.base, self.refiner) if self._has_refiner else (self.base,)
        self.base.changed = self.refiner.changed = self._look
        self.has_been_ready = asyncio.Event()

    def start(self, urls: Mapping[str, Sequence[str]]) -> None:
        """Begins to look for the replicas of each of `stages`, on the event loop that serves."""
        metrics = CallMetrics(stage.name for stage in self.stages)
        for stage in self.stages:
            stage.start(urls[stage.name], metrics)

    async def close(self) -> None:
        """Closes the connections; jobs in flight are cancelled."""
        for stage in self.stages:
            await stage.close()

    async def renew(self) -> None:
        """Lets all replicas look for models and LoRAs that have come or gone."""
        replicas = [replica for stage in self.stages for replica in stage.ready]
        await asyncio.gather(*(replica.renew() for replica in replicas), return_exceptions=True)

    @property
    def is_ready(self) -> bool:
        """Whether all stages have a ready replica."""
        return all(stage.ready for stage in self.stages)

    @property
    def offers(self) -> list[Offer]:
        """Of both stages."""
        return [offer for stage in self.stages for offer in stage.offers]

    def default_model(self) -> OfferedModel | None:
        """That of requests that name none, while it is there."""
        return default_of(self.base.offers)

    def defaults_of(self, model: str | None) -> Defaults:
        """Of a model by its name; those of any checkpoint while nothing is offered. Raises RelayError (404)."""
        found = model_named(model, self.base.offers)
        return found.card.defaults if found else Defaults()

    def report(self) -> dict[str, Any]:
        """What there is of each stage, and what disagrees. Without addresses: anybody may read it."""
        report: dict[str, Any] = {"ready": self.is_ready}
        defaults = self.teams(GenerationRequest(prompt="-"))
        for stage, chosen, asked in zip(
            self.stages, defaults.chosen, (defaults.of_base, defaults.of_refiner), strict=False
        ):
            found = asked.identities(stage.replicas) if asked else Counter()
            report[stage.name] = {
                "ready": len(stage.ready),
                "known": len(stage.replicas),
                "faults": [f"{count} x {fault}" for fault, count in stage.faults.items()],
                "left_out": [other.model_dump() for other in found.elements() if other != chosen],
                "models": sorted({model.name for offer in stage.offers for model in offer.models}),
                "resident": Counter(name for one in stage.ready if one.status for name in one.status.resident),
                "unusable": {name: why for offer in stage.offers for name, why in offer.faults.items()},
            }
        report["disagreements"] = defaults.disagreements
        return report

    def disagreements(self) -> list[str]:
        """What keeps the default models from working together."""
        return self.teams(GenerationRequest(prompt="-")).disagreements

    def settle(self, request: ByBoth) -> ByBoth:
        """The request with the names of what is offered, and with `refine` as it is here.

        Raises RelayError: 404 for a model that is not there; 400 for LoRAs that are not, and where no refiner is; 503
        where base and refiner do not fit.
        """
        model = model_named(request.model, self.base.offers)
        request = _with_own_loras(request, model)
        refine = self._refine(request, model)
        settled = request.model_copy(
            update={
                "model": model.name if model else request.model,
                "loras": self._loras(request.loras),
                "refiner_model": None if refine == "none" else self._refiner(request, model),
                "refine": refine,
            }
        )
        self._check_fit(settled, request)
        return settled

    def settle_refinement(self, request: RefineRequest) -> RefineRequest:
        """The same of a request to the refiner alone."""
        if not self._has_refiner:
            raise RelayError(
                400,
                "no_refiner",
                f"{NO_REFINER}; allowed: /edit, which is img2img by the base",
            )
        model = model_named(request.model, self.refiner.offers)
        request = _with_own_loras(request, model)
        loras = loras_named(request.loras, self.refiner.offers)
        update = {"model": model.name if model else request.model, "loras": loras}
        return request.model_copy(update=update)

    def teams(self, request: GenerationRequest | EditRequest) -> Teams:
        """Who may do a settled request's jobs."""
        loras = tuple(lora.name for lora in request.loras or ())
        refiner = None
        if request.refine != "none" and self._has_refiner:
            refiner = Asked(request.refiner_model, self._known(self.refiner, loras))
        return Teams(self.base, self.refiner, Asked(request.model, self._known(self.base, loras)), refiner)

    def team_of_refiner(self, request: RefineRequest) -> Teams:
        """Who may do a settled request to the refiner alone."""
        loras = self._known(self.refiner, tuple(lora.name for lora in request.loras or ()))
        return Teams(self.base, self.refiner, Asked(None), Asked(request.model, loras))

    def models(self) -> Mapping[str, list[OfferedModel]]:
        """Those that each stage offers, its default first; only of stages that are ready."""
        found = {}
        for stage in self.stages:
            offers = stage.offers if stage.ready else []
            each = each_once(model for offer in offers for model in offer.models)
            found[stage.name] = sorted(each, key=lambda model: model.name != offers[0].default)
        return found

    def loras(self) -> Mapping[str, list[str]]:
        """The names of those that each stage offers."""
        return {
            stage.name: [lora.name for lora in each_once(lora for offer in stage.offers for lora in offer.loras)]
            for stage in self.stages
        }

    def _loras(self, wanted: Loras) -> Loras:
        return loras_named(wanted, [*self.base.offers, *self.refiner.offers])

    def _refine(self, request: ByBoth, model: OfferedModel | None) -> Any:
        """What the request asks for; else "ensemble" if it names a refiner, or what counts for its model."""
        if not self._has_refiner and request.refiner_model is not None:
            raise invalid_field("refiner_model", request.refiner_model, f"none, for {NO_REFINER}")
        why_none = self._why_no_refiner(request, model)
        if why_none and request.refine not in (None, "none"):
            raise invalid_field("refine", request.refine, f"none, for {why_none}")
        if why_none or request.refine is not None:
            return request.refine or "none"
        if request.refiner_model is not None:
            return "ensemble"
        return "none" if model and model.card.defaults.refine == "none" else None

    def _why_no_refiner(self, request: ByBoth, model: OfferedModel | None) -> str | None:
        if not self._has_refiner:
            return NO_REFINER
        if model and model.refiner == "none" and request.refiner_model is None:
            return f"the model {model.name} has none, and refiner_model names none"
        return None

    def _refiner(self, request: ByBoth, model: OfferedModel | None) -> str | None:
        """Its name; without a word, the refiner stage's default."""
        wanted = request.refiner_model or (model.refiner if model else None)
        found = model_named(wanted, self.refiner.offers, "refiner_model")
        return found.name if found else wanted

    def _check_fit(self, settled: ByBoth, request: ByBoth) -> None:
        found = self.teams(settled).disagreements
        if not found:
            return
        why = "; ".join(found)
        if request.model is None and request.refiner_model is None:
            message = f"refine: got {shorten(settled.refine)}; allowed: none, for base and refiner do not fit: {why}"
            raise RelayError(
                503, "stages_do_not_fit", message, field="refine", got=settled.refine, retry_after_s=RETRY_AFTER_S
            )
        field, got, other = "refiner_model", settled.refiner_model, f"the model {settled.model}"
        if request.refiner_model is None:
            field, got, other = "model", settled.model, f"the refiner {settled.refiner_model}"
        message = f"{field}: got {shorten(got)}; allowed: what fits {other}, or refine=none; {why}"
        raise RelayError(400, "models_do_not_fit", message, field=field, got=got)

    def _known(self, stage: StageClient, loras: tuple[str, ...]) -> tuple[str, ...]:
        known = {lora.name for offer in stage.offers for lora in offer.loras}
        return tuple(name for name in loras if name in known)

    def _look(self) -> None:
        if self.is_ready:
            self.has_been_ready.set()


def _with_own_loras(request: Request, model: OfferedModel | None) -> Request:
    """With those that the prompt names, if it is read so that it can."""
    default = model.card.defaults.prompt_syntax if model else "plain"
    return with_own_loras(request) if (request.prompt_syntax or default) == "a1111" else request
