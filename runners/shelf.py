"""What a stage offers: the catalog's models that it can be, with what is known of each before it is loaded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from runners.bento_models import folder_of
from sdxl.catalog.entries import Catalog, Embedding, LoraFile, Model, VaeFile
from sdxl.catalog.watch import Watched
from sdxl.config.references import UnusableFile, name_of
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.denoising.sampler import decisive, make_sampler
from sdxl.errors import RelayError, invalid_field, shorten
from sdxl.files.check import named, one_line
from sdxl.handoff import document as handoff
from sdxl.handoff.offer import Offer, OfferedFile, OfferedModel
from sdxl.models.facts import Facts, facts_of
from sdxl.models.labels import label
from sdxl.models.lora import Chosen
from sdxl.request.loras import Loras
from sdxl.request.settled import Card
from stepbatch.job import Need

logger = logging.getLogger("bentoml.sdxl_relay")


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A model that requests can name at this stage."""

    model: Model
    facts: Facts

    @property
    def need(self) -> Need:
        """For the engine: the files as they are now; the same name may come to stand for others."""
        return Need((self.model.name, self.model.fingerprint))

    @cached_property
    def schedule(self) -> str:
        """See `OfferedModel`."""
        return decisive(make_sampler("euler", self.facts.scheduler_config))


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    catalog: Catalog
    known: Mapping[str, Known]
    faults: Mapping[str, str]  # by a model's name


class Shelf:
    """A stage's. The files may change at any time; `renew` looks."""

    def __init__(self, stage: StageName, settings: Settings, dtype: torch.dtype) -> None:
        """Raises ConfigurationError if the model of requests that name none cannot be offered."""
        self._stage, self._settings, self._dtype = stage, settings, dtype
        self._watched = Watched(settings)
        self._lock = threading.Lock()  # of who renews
        self._ever: dict[Need, Known] = {}  # also what is not offered any more, for jobs that wait for it
        self._files: dict[Hashable, LoraFile] = {}  # that jobs have asked for
        self._unusable: dict[Need, str] = {}  # why they could not be loaded
        self._offered_last: tuple[_State, int, Offer] | None = None
        self._hashes: dict[str, str] = {}  # SHA-256 of whole files, by fingerprint
        self._state = self._look(self._watched.catalog)
        if self.default not in self._state.known:
            model = self._state.catalog.models.get(self.default)
            own = f"SDXL_{stage.upper()}", getattr(settings, stage)
            with named(*(label("checkpoint", model, settings) if model else own)):
                raise UnusableFile(self._why_not(self.default) or "there is no such model")

    @property
    def default(self) -> str:
        """The name of the model of requests that name none."""
        catalog = self._watched.catalog
        return catalog.default if self._stage == "base" else catalog.refiner or catalog.default

    @property
    def pinned(self) -> list[Known]:
        """The models that are always loaded."""
        return [known for known in self._state.known.values() if self.is_pinned(known)]

    def is_pinned(self, known: Known) -> bool:
        """Whether it stays loaded: where it is what the stage is for, which another stage may have, too."""
        return known.model.is_pinned and known.model.kind == self._stage

    def renew(self) -> bool:
        """Looks at the files anew; whether something has changed. From any thread."""
        with self._lock:
            if not self._watched.refresh():
                return False
            self._state = self._look(self._watched.catalog)
            return True

    def known(self, name: str | None) -> Known:
        """The model of this name. Raises RelayError (404) if there is none."""
        wanted = name or self.default
        if (found := self._state.known.get(wanted)) is not None:
            return found
        fault = self._why_not(wanted)
        told = f"it cannot be loaded: {fault}" if fault else "there is no such model"
        raise RelayError(
            404, "model_not_found", f"model: got {shorten(wanted)}; {told}", field="model", got=shorten(wanted)
        )

    def _why_not(self, name: str) -> str | None:
        return self._state.faults.get(name) or self._state.catalog.missing.get(name)

    def of(self, need: Need) -> Known:
        """What was offered as this need, if it is no more, too."""
        return self._ever[need.of_model]

    def lora(self, name: str) -> LoraFile | None:
        """What this stage has under the name. Raises RelayError (400) for a name that is not known."""
        catalog = self._state.catalog
        if name not in catalog.loras:
            allowed = ", ".join(catalog.loras) or "none, for the server has no LoRAs"
            raise invalid_field("loras", name, f"{allowed:.500}")
        return catalog.lora(name, self._stage)

    def embeddings(self) -> Mapping[str, Embedding]:
        """The textual inversions that prompts may name."""
        return self._state.catalog.embeddings

    def withdraw(self, known: Known, why: str) -> None:
        """Offers a model no more until its file changes."""
        with self._lock:
            name, state = known.model.name, self._state
            if state.known.get(name) is known:
                others = {each: other for each, other in state.known.items() if each != name}
                faults = {**state.faults, name: one_line(why)}
                self._state = _State(catalog=state.catalog, known=others, faults=faults)
                self._unusable[known.need] = faults[name]

    def chosen(self, known: Known, loras: Loras) -> Chosen:
        """What this stage applies: the model's own LoRAs, and those of a request that are for this stage.

        The folder's are for the base's UNet. Raises RelayError (400) for a name that is not known.
        """
        wanted = {lora.name: lora for lora in (*known.model.loras, *(loras or ()))}
        found = []
        for name, lora in sorted(wanted.items()):
            file = self.lora(name)
            if file is not None and not (known.model.kind == "refiner" and file.stage is None) and any(lora.scales):
                key = name, file.fingerprint
                self._files[key] = file
                found.append((lora, key))
        return Chosen(
            unet=tuple((key, lora.scales[0]) for lora, key in found),
            text=tuple((key, lora.scales[1]) for lora, key in found if lora.scales[1]),
            names=tuple((lora.name, key) for lora, key in found),
        )

    def of_settings(self, known: Known) -> list[Need]:
        """The LoRAs of this stage's setting, for this model."""
        files = [file for files in self._state.catalog.loras.values() for file in files if file.stage == self._stage]
        self._files |= {(file.name, file.fingerprint): file for file in files}
        return [Need(known.need.model, (file.name, file.fingerprint)) for file in files]

    def file_of(self, need: Need) -> LoraFile:
        """The file of an extra."""
        return self._files[need.extra]

    def read(self, fingerprint: str, sha256: str) -> None:
        """What a file's SHA-256 is, now that it was loaded."""
        self._hashes[fingerprint] = sha256

    def sha256(self, fingerprint: str) -> str | None:
        """See `read`."""
        return self._hashes.get(fingerprint)

    def offer(self, backend: str) -> Offer:
        """As it is now."""
        state, hashes = self._state, len(self._hashes)
        if self._offered_last is not None and self._offered_last[:2] == (state, hashes):
            return self._offered_last[2]
        offer = self._offer_of(state, backend)
        self._offered_last = state, hashes, offer
        return offer

    def _offer_of(self, state: _State, backend: str) -> Offer:
        catalog = state.catalog
        return Offer(
            dtype=str(self._dtype),
            backend=backend,
            handoff_version=handoff.VERSION,
            default=self.default,
            models=tuple(self._offered(known) for known in state.known.values()),
            loras=tuple(self._file(lora) for name in catalog.loras if (lora := catalog.lora(name, self._stage))),
            vaes=tuple(self._file(vae) for vae in catalog.vaes.values()),
            embeddings=tuple(self._file(embedding) for embedding in catalog.embeddings.values()),
            faults={**catalog.faults, **state.faults},
        )

    def _look(self, catalog: Catalog) -> _State:
        before = {known.model.name: known for known in self._ever.values()}
        found, faults = {}, {}
        for name, model in catalog.models.items():
            if self._stage == "base" and model.kind != "base":
                continue
            known = before.get(name)
            if known is None or known.model != model:
                try:
                    known = Known(model=model, facts=facts_of(model, self._settings, self._dtype, folder_of))
                except (UnusableFile, ConfigurationError, OSError, KeyError, ValueError) as error:
                    faults[name] = one_line(str(error))
                    continue
            self._ever[known.need] = known
            if known.need in self._unusable:
                faults[name] = self._unusable[known.need]
            else:
                found[name] = known
        return _State(catalog=catalog, known=found, faults=faults)

    def _offered(self, known: Known) -> OfferedModel:
        model, facts = known.model, known.facts
        return OfferedModel(
            name=model.name,
            file=model.name + ".safetensors" if model.reference.endswith(".safetensors") else model.name,
            fingerprint=model.fingerprint,
            sha256=self.sha256(model.fingerprint),
            kind=model.kind,
            schedule=known.schedule,
            latent_scale=facts.latent_scale,
            card=Card.of(facts.defaults, name_of(model.reference, self._stage)),
            refiner=None if model.refiner == self._state.catalog.refiner else model.refiner or "none",
            size_bytes=facts.size_bytes,
        )

    def _file(self, file: LoraFile | VaeFile | Embedding) -> OfferedFile:
        return OfferedFile(
            name=file.name,
            file=f"{file.name}{file.path.suffix}",
            fingerprint=file.fingerprint,
            sha256=self.sha256(file.fingerprint),
        )
