"""Which identities work together while replicas differ."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import pytest

from entry.fleet.fleet import Fleet
from entry.fleet.team import Pair, choose
from sdxl.config.settings import MINI, Settings
from sdxl.denoising.sampler import decisive, make_sampler
from sdxl.errors import RelayError
from sdxl.handoff.identity import Identity
from sdxl.request.requests import GenerationRequest, RefineRequest
from tests.entry.fleet.false_runner import IDENTITY, FalseRunner, call_metrics, listening

CONFIG = json.loads((MINI / "base/scheduler/scheduler_config.json").read_text())

OLD = IDENTITY
NEW = OLD.model_copy(update={"checkpoint": "n" * 64})
VERSION_2 = OLD.model_copy(update={"handoff_version": "2"})


@pytest.mark.parametrize(
    ("bases", "refiners", "expected"),
    [
        ({OLD: 1}, {OLD: 1}, (OLD, OLD)),
        ({OLD: 2, NEW: 1}, {OLD: 1}, (OLD, OLD)),
        ({OLD: 1, NEW: 2}, {OLD: 3}, (NEW, OLD)),
        ({OLD: 1, NEW: 1}, {OLD: 1}, (NEW, OLD)),  # of two alike, always the same
        ({NEW: 1, OLD: 1}, {OLD: 1}, (NEW, OLD)),
        ({OLD: 3, VERSION_2: 1}, {VERSION_2: 1}, (VERSION_2, VERSION_2)),  # what fits, be it scarce
        ({OLD: 3, VERSION_2: 2}, {OLD: 1, VERSION_2: 2}, (VERSION_2, VERSION_2)),
        ({OLD: 2}, {VERSION_2: 2}, (OLD, VERSION_2)),  # each for itself
        ({OLD: 1, NEW: 2}, {}, (NEW, None)),
        ({}, {}, (None, None)),
    ],
)
def test_choose(bases: dict[Identity, int], refiners: dict[Identity, int], expected: Pair) -> None:
    assert choose(Counter(bases), Counter(refiners)) == expected


SPACED, VELOCITY = (
    OLD.model_copy(update={"schedule": decisive(make_sampler("euler", {**CONFIG, **changed}))})
    for changed in ({"timestep_spacing": "trailing"}, {"prediction_type": "v_prediction"})
)
NOISE = OLD.model_copy(update={"schedule": decisive(make_sampler("euler", {**CONFIG, "prediction_type": "epsilon"}))})


def test_disagreements_are_named() -> None:
    assert OLD.disagreements(NEW) == []
    assert OLD.disagreements(VERSION_2) == ["handoff_version: base 1, refiner 2"]
    assert NOISE.disagreements(SPACED) == ["timestep_spacing: base leading, refiner trailing"]
    assert NOISE.disagreements(VELOCITY) == [], "each stage understands its own UNet"


@asynccontextmanager
async def fleet_of(settings: Settings, **runners: FalseRunner | Sequence[FalseRunner]) -> AsyncIterator[Fleet]:
    """One runner of a stage, or several. Waits until all are ready."""
    fleet = Fleet(settings)
    stages = {name: [some] if isinstance(some, FalseRunner) else some for name, some in runners.items()}
    async with listening(*(each for some in stages.values() for each in some)) as urls:
        left = iter(urls)
        fleet.start({name: list(islice(left, len(some))) for name, some in stages.items()})
        await asyncio.wait_for(fleet.has_been_ready.wait(), 10)
        await asyncio.gather(*(replica.ask() for stage in fleet.stages for replica in stage.replicas))
        try:
            yield fleet
        finally:
            await fleet.close()


@pytest.fixture(autouse=True)
def _one_set_of_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entry.fleet.fleet.CallMetrics", lambda _: call_metrics())


def settled(fleet: Fleet, **fields: Any) -> GenerationRequest:
    return fleet.settle(GenerationRequest(prompt="a red cube", **fields))


def test_stages_that_do_not_fit_work_alone() -> None:
    async def main() -> None:
        runners = {"base": FalseRunner("done", identity=NOISE), "refiner": FalseRunner("done", identity=SPACED)}
        async with fleet_of(Settings(), **runners) as fleet:
            assert settled(fleet, refine="none").refine == "none"
            assert [len(stage.ready) for stage in (fleet.base, fleet.refiner)] == [1, 1]
            differs = "timestep_spacing: base leading, refiner trailing"
            assert (fleet.report()["ready"], fleet.report()["disagreements"]) == (True, [differs])
            for asked in (None, "ensemble", "sdedit"):
                with pytest.raises(RelayError, match=f"allowed: none, .* do not fit: {differs}$") as raised:
                    settled(fleet, refine=asked)
                assert (raised.value.status, raised.value.code) == (503, "stages_do_not_fit")
            with pytest.raises(RelayError, match=differs) as raised:
                settled(fleet, refiner_model="sdxl")
            assert (raised.value.status, raised.value.code) == (400, "models_do_not_fit")

    asyncio.run(main())


def test_without_a_refiner() -> None:
    async def main() -> None:
        async with fleet_of(Settings(refiner="none"), base=FalseRunner("done")) as fleet:
            assert [settled(fleet, refine=asked).refine for asked in (None, "none")] == ["none", "none"]
            with pytest.raises(
                RelayError, match=r'^refine: got "sdedit"; allowed: none, for this server has no refiner'
            ):
                settled(fleet, refine="sdedit")
            with pytest.raises(RelayError, match=r"^refiner_model: got .* this server has no refiner"):
                settled(fleet, refiner_model="sdxl")
            with pytest.raises(RelayError, match="no refiner") as raised:
                fleet.settle_refinement(RefineRequest(prompt="a red cube"))
            assert (raised.value.status, raised.value.code) == (400, "no_refiner")
            assert set(fleet.report()) == {"ready", "base", "disagreements"}

    asyncio.run(main())
