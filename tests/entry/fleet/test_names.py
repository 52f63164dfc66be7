"""What clients call models and LoRAs, and what the entry makes of it."""

from __future__ import annotations

import pytest

from entry.fleet.names import SHOWN, loras_named, model_named
from sdxl.errors import RelayError
from sdxl.handoff.offer import Offer, OfferedFile
from sdxl.request.loras import Lora
from tests.entry.fleet.false_runner import IDENTITY, offer_of

SHA = "0123456789abcdef" * 4


def offer(*names: str, hashes: dict[str, str] | None = None, loras: tuple[str, ...] = ()) -> Offer:
    """The first name is the default's; each is a file of that name."""
    made = offer_of(*[IDENTITY] * len(names), names=names)
    models = tuple(model.model_copy(update={"sha256": (hashes or {}).get(model.name)}) for model in made.models)
    files = tuple(OfferedFile(name=name, file=f"{name}.safetensors", fingerprint=name) for name in loras)
    return made.model_copy(update={"models": models, "loras": files})


FOLDER = offer("mini v", "anime/Dream (v1.5)", "photo/real", "photo/Käse", "anime/real", hashes={"photo/real": SHA})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, "mini v"),
        ("sdxl", "mini v"),
        ("mini v", "mini v"),
        ("MINI V", "mini v"),
        ("mini v.safetensors", "mini v"),
        ("anime/Dream (v1.5)", "anime/Dream (v1.5)"),
        ("Dream (v1.5)", "anime/Dream (v1.5)"),
        ("dream (v1.5).safetensors", "anime/Dream (v1.5)"),
        ("anime\\Dream (v1.5).safetensors", "anime/Dream (v1.5)"),  # as AUTOMATIC1111 says it on Windows
        ("photo/real.safetensors [0123456789]", "photo/real"),
        ("real.safetensors [0123456789]", "photo/real"),
        ("01234567", "photo/real"),
        (SHA.upper(), "photo/real"),
        ("Ka\u0308se", "photo/Käse"),
    ],
)
def test_models(wanted: str | None, found: str) -> None:
    model = model_named(wanted, [FOLDER])
    assert model is not None
    assert model.name == found


@pytest.mark.parametrize("wanted", ["0123456", "drea", "", "sd_xl_base_1.0.safetensors [31e35c80fc]", "SDXL"])
def test_a_model_that_is_not_there(wanted: str) -> None:
    with pytest.raises(
        RelayError, match=r"^model: got .*; allowed: anime/Dream \(v1.5\), anime/real, mini v"
    ) as raised:
        model_named(wanted, [FOLDER])
    assert (raised.value.status, raised.value.code, raised.value.field) == (404, "model_not_found", "model")


def test_a_word_that_means_several() -> None:
    with pytest.raises(RelayError, match=r'^refiner_model: got "real"; .*anime/real, photo/real') as raised:
        model_named("real", [FOLDER], "refiner_model")
    assert (raised.value.status, raised.value.code) == (400, "invalid_field")


def test_the_alias_is_the_default_unless_a_model_is_called_exactly_so() -> None:
    assert [model.name for default in ("a", "sdxl") if (model := model_named("sdxl", [offer(default, "x/SDXL")]))] == [
        "a",
        "sdxl",
    ]
    other = model_named("sdxl", [offer("a", "sdxl")])
    assert other is not None
    assert other.name == "sdxl"


def test_a_default_that_has_gone_is_not_replaced() -> None:
    gone = FOLDER.model_copy(update={"default": "gone"})
    for wanted in (None, "sdxl"):
        with pytest.raises(RelayError, match=r"^model: got no name, and the default gone is not there; allowed: anime"):
            model_named(wanted, [gone])


def test_nothing_is_known_before_a_stage_was_there() -> None:
    assert model_named("anything", []) is None


def test_a_message_does_not_list_hundreds() -> None:
    with pytest.raises(RelayError, match=rf"n{SHOWN - 1:03} and {300 - SHOWN} more$"):
        model_named("x", [offer(*(f"n{index:03}" for index in range(300)))])


def test_replicas_know_the_hash_of_what_they_have_loaded() -> None:
    fresh, used = offer("a", "b"), offer("a", "b", hashes={"b": SHA})
    for offers in ([fresh, used], [used, fresh]):
        model = model_named("01234567", offers)
        assert model is not None
        assert (model.name, model.sha256) == ("b", SHA)


LORAS = offer("a", loras=("detail", "styles/Ink", "old/detail"))


def test_loras() -> None:
    wanted = (Lora(name="ink", scale=0.5), Lora(name="detail"), Lora(name="old/detail.safetensors"))
    named = loras_named(wanted, [LORAS])
    assert named is not None
    assert [(lora.name, lora.scale) for lora in named] == [("styles/Ink", 0.5), ("detail", 1.0), ("old/detail", 1.0)]
    assert loras_named(None, [LORAS]) is None


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["x"], 'loras: got "x"; allowed: detail, old/detail, styles/Ink'),
        (["Ink", "styles/Ink"], 'loras: got "styles/Ink"; allowed: each LoRA once; styles/Ink has been named before'),
    ],
)
def test_loras_that_are_refused(names: list[str], fault: str) -> None:
    with pytest.raises(RelayError) as raised:
        loras_named(tuple(Lora(name=name) for name in names), [LORAS])
    assert (raised.value.status, raised.value.code, raised.value.message) == (400, "invalid_field", fault)


def test_a_server_without_loras_says_so() -> None:
    with pytest.raises(RelayError, match="allowed: none, for the server has no LoRAs"):
        loras_named((Lora(name="x"),), [offer("a")])
