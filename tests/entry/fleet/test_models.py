"""What a request's models and LoRAs become where several are offered, and what the server tells of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from entry.fleet.fleet import Fleet
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.handoff.offer import Offer, OfferedFile
from sdxl.request.loras import Lora
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest
from sdxl.request.settled import Card, Defaults
from tests.entry.fleet.false_runner import IDENTITY, FalseRunner, call_metrics, offer_of
from tests.entry.fleet.test_fleet import NOISE, SPACED, fleet_of, settled

SHA = "0123456789abcdef" * 4


def models(*names: str, refiners: Mapping[str, str] | None = None, **changed: Any) -> Offer:
    """`refiners` has the refiner of models that do not have the refiner stage's default."""
    made = offer_of(*[NOISE] * len(names), names=names)
    own = [model.model_copy(update={"refiner": (refiners or {}).get(model.name)}) for model in made.models]
    return made.model_copy(update={"models": tuple(own), **changed})


BASES = models("mini", "art/Dream", "alone", "own", refiners={"alone": "none", "own": "fine"})
REFINERS = models("refiner", "fine", "art/Dream")


@pytest.fixture(autouse=True)
def _one_set_of_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entry.fleet.fleet.CallMetrics", lambda _: call_metrics())


def with_fleet(test: Callable[[Fleet], Awaitable[None]], base: Offer = BASES, refiner: Offer = REFINERS) -> None:
    async def main() -> None:
        runners = {"base": FalseRunner("done"), "refiner": FalseRunner("done")}
        runners["base"].offer, runners["refiner"].offer = base, refiner
        async with fleet_of(Settings(), **runners) as fleet:
            await test(fleet)

    asyncio.run(main())


def test_names_are_settled_before_the_base_works() -> None:
    asked_and_settled: list[tuple[dict[str, Any], tuple[str, str | None, str | None]]] = [
        ({}, ("mini", None, "refiner")),
        ({"model": "sdxl"}, ("mini", None, "refiner")),
        ({"model": "dream.safetensors", "refine": "sdedit"}, ("art/Dream", "sdedit", "refiner")),
        ({"refine": "none"}, ("mini", "none", None)),
        ({"model": "alone"}, ("alone", "none", None)),
        ({"model": "alone", "refiner_model": "Dream"}, ("alone", "ensemble", "art/Dream")),
        ({"model": "own"}, ("own", None, "fine")),
        ({"model": "own", "refiner_model": "sdxl"}, ("own", "ensemble", "refiner")),
        ({"model": "own", "refiner_model": "Refiner", "refine": "sdedit"}, ("own", "sdedit", "refiner")),
        ({"model": "own", "refiner_model": "fine", "refine": "none"}, ("own", "none", None)),
    ]

    async def test(fleet: Fleet) -> None:
        for asked, expected in asked_and_settled:
            got = settled(fleet, **asked)
            assert (got.model, got.refine, got.refiner_model) == expected, asked
        edit = fleet.settle(EditRequest(prompt="a red cube", model="dream"))
        assert (edit.model, edit.refiner_model) == ("art/Dream", "refiner")
        refinement = fleet.settle_refinement(RefineRequest(prompt="a red cube", model="dream"))
        assert refinement.model == "art/Dream"
        assert fleet.settle_refinement(RefineRequest(prompt="a red cube")).model == "refiner"

    with_fleet(test)


@pytest.mark.parametrize(
    ("asked", "status", "fault"),
    [
        ({"model": "x"}, 404, 'model: got "x"; allowed: alone, art/Dream, mini, own'),
        ({"model": "refiner"}, 404, 'model: got "refiner"; allowed: alone, art/Dream, mini, own'),
        ({"refiner_model": "mini"}, 404, 'refiner_model: got "mini"; allowed: art/Dream, fine, refiner'),
        ({"model": "alone", "refine": "ensemble"}, 400, 'refine: got "ensemble"; allowed: none, for the model alone'),
        ({"loras": (Lora(name="x"),)}, 400, 'loras: got "x"; allowed: none'),
    ],
)
def test_what_is_not_there(asked: dict[str, Any], status: int, fault: str) -> None:
    async def test(fleet: Fleet) -> None:
        with pytest.raises(RelayError) as raised:
            settled(fleet, **asked)
        assert raised.value.status == status
        assert raised.value.message.startswith(fault)

    with_fleet(test)


def test_the_refiners_fit_is_a_matter_of_each_pair() -> None:
    spaced = offer_of(NOISE, SPACED, names=("refiner", "spaced"))

    async def test(fleet: Fleet) -> None:
        assert settled(fleet).refiner_model == "refiner"
        for asked, field, told in (
            ({"refiner_model": "spaced"}, "refiner_model", 'got "spaced"; allowed: what fits the model mini'),
            ({"model": "own"}, "model", 'got "own"; allowed: what fits the refiner spaced'),
        ):
            with pytest.raises(RelayError, match=f"^{field}: {told}, .*spacing: base leading, refiner tr") as raised:
                settled(fleet, **asked)
            assert (raised.value.status, raised.value.code, raised.value.field) == (400, "models_do_not_fit", field)
        assert settled(fleet, refiner_model="spaced", refine="none").refiner_model is None
        assert fleet.report()["disagreements"] == []

    with_fleet(test, models("mini", "own", refiners={"own": "spaced"}), spaced)


def test_a_lora_of_either_stage_is_known() -> None:
    detail, ink = (OfferedFile(name=name, file=f"{name}.safetensors", fingerprint=name) for name in ("detail", "Ink"))

    async def test(fleet: Fleet) -> None:
        request = settled(fleet, loras=(Lora(name="ink"), Lora(name="detail.safetensors")))
        assert [lora.name for lora in request.loras or ()] == ["Ink", "detail"]
        teams = fleet.teams(request)
        assert (teams.of_base.loras, teams.of_refiner and teams.of_refiner.loras) == (("detail",), ("Ink",))
        assert [len(team.members()) for team in (teams.for_base, teams.for_refiner)] == [1, 1]

    with_fleet(test, BASES.model_copy(update={"loras": (detail,)}), REFINERS.model_copy(update={"loras": (ink,)}))


def test_what_is_told_of_the_models() -> None:
    faulty = BASES.model_copy(update={"faults": {"checkpoints/old.ckpt": "it is a pickle"}})

    async def test(fleet: Fleet) -> None:
        report = fleet.report()
        assert report["base"]["models"] == ["alone", "art/Dream", "mini", "own"]
        assert report["base"]["resident"] == {"sdxl": 1}
        assert report["base"]["unusable"] == {"checkpoints/old.ckpt": "it is a pickle"}
        assert "127.0.0." not in str(report)

    with_fleet(test, faulty)


def test_the_default_model_has_its_sha_256_once_a_replica_knows_it() -> None:
    hashed = tuple(model.model_copy(update={"sha256": SHA}) for model in BASES.models)

    async def main() -> None:
        fresh, used = FalseRunner("done"), FalseRunner("done")
        fresh.offer, used.offer = BASES, BASES.model_copy(update={"models": hashed})
        for first, second in ((fresh, used), (used, fresh)):
            async with fleet_of(Settings(refiner="none"), base=[first, second]) as fleet:
                assert fleet.default_model() == hashed[0]

    asyncio.run(main())


def test_all_replicas_look_for_new_files_before_there_is_an_answer() -> None:
    async def main() -> None:
        bases, refiner = [FalseRunner("done"), FalseRunner("done")], FalseRunner("done")
        runners = [*bases, refiner]
        async with fleet_of(Settings(), base=bases, refiner=[refiner]) as fleet:
            for each in runners:
                each.next_offer = offer_of(IDENTITY, IDENTITY, names=("sdxl", "new"))
            with pytest.raises(RelayError):
                settled(fleet, model="new")
            await fleet.renew()
            assert [each.renewed for each in runners] == [1, 1, 1]
            assert settled(fleet, model="new").model == "new"

    asyncio.run(main())


def test_a_refiner_that_the_card_leaves_out_is_left_out() -> None:
    """A relay.json may say refine=none, as those of few-step models do."""
    card = Card(name="fast", defaults=Defaults(refine="none"))
    fast = BASES.model_copy(update={"models": (BASES.models[0].model_copy(update={"card": card}),)})

    async def test(fleet: Fleet) -> None:
        assert settled(fleet).refine == "none"
        assert settled(fleet, refiner_model="fine").refine == "ensemble"

    with_fleet(test, fast)


def test_a_request_that_names_the_model_is_checked_when_nothing_is_known_yet() -> None:
    """The stages then say themselves whether it is there."""
    fleet = Fleet(Settings())
    request = fleet.settle(GenerationRequest(prompt="a red cube", model="x", refiner_model="y"))
    assert (request.model, request.refiner_model) == ("x", "y")
