"""Anybody's manifests: each gets a state, none an exception, and none costs more than the limits say."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdxl.picture import credentials, manifest
from sdxl.picture.credentials import UNREADABLE, ContentCredentials, Credentials, read_credentials
from tests.sdxl.picture.certificates import CLAIM_SIGNING, make_pair
from tests.sdxl.picture.manifests import (
    PAIR,
    elsewhere,
    identity,
    plain,
    with_manifest,
    without_its_parent,
)

CREDENTIALS = Credentials(PAIR.certificate, PAIR.key)
HOLDS = ContentCredentials(state="valid", generator="x 1", signer="Example", problems=["signingCredential.untrusted"])


def test_a_certificate_for_c2pas_own_purpose() -> None:
    pair = make_pair(purpose=CLAIM_SIGNING)
    assert read_credentials(with_manifest(pair=pair)) == HOLDS
    ours = read_credentials(Credentials(pair.certificate, pair.key).signed(plain(), "image/png"))
    assert ours is not None
    assert ours.state == "valid"


@pytest.mark.parametrize("data", [
    {"x": 1}, {}, {"signer_payload": 1, "signature": "a", "pad1": []}, {"signature": [], "pad1": []},
    {"signer_payload": {"referenced_assertions": []}, "signature": []},
    {"signer_payload": {"referenced_assertions": {}, "sig_type": "a"}, "signature": []},
], ids=str)  # fmt: skip
def test_an_identity_without_its_parts_is_invalid(data: dict[str, object]) -> None:
    found = read_credentials(with_manifest({"label": "cawg.identity", "data": data}))
    assert found is not None
    assert found.state == "invalid"
    assert "cawg.identity.cbor.invalid" in found.problems


def test_an_identity_is_not_asked_for() -> None:
    assert read_credentials(with_manifest(identity("a.example"))) == HOLDS


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_manifest_elsewhere_is_not_read(kind: str) -> None:
    assert read_credentials(elsewhere("https://a.example/a.c2pa", kind)) == UNREADABLE


def told_of_one(active: object, monkeypatch: pytest.MonkeyPatch) -> object:
    """What is told where the library says this of the active manifest."""
    store = {"validation_state": "Valid", "active_manifest": "a", "manifests": {"a": active}}
    monkeypatch.setattr(manifest, "_store", lambda *_: store)
    return manifest.told_of(plain(), "image/png")


@pytest.mark.parametrize("active", [
    {}, {"claim_generator_info": []}, {"claim_generator_info": {"name": 1}}, {"claim_generator_info": [{"name": 1}]},
    {"claim_generator_info": [{}], "claim_generator": 1}, {"signature_info": None}, {"signature_info": {"issuer": 1}},
    {"assertions": [{"label": None}]},
], ids=str)  # fmt: skip
def test_parts_of_another_kind_are_left_out(active: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_of_one(active, monkeypatch) == {"state": "valid", "generator": "", "signer": "", "problems": []}


@pytest.mark.parametrize(("active", "generator"), [
    ({"claim_generator": "Old_Editor/1.0 lib/2"}, "Old_Editor/1.0 lib/2"),  # as manifests of the first version have it
    ({"claim_generator": "a", "claim_generator_info": [{"name": "b", "version": "2"}]}, "b 2"),
    ({"claim_generator": "a", "claim_generator_info": [{"version": "2"}]}, "a"),
    ({"claim_generator_info": [{"name": "b"}]}, "b"), ({"claim_generator": "a" * 999}, "a" * 200),
], ids=str)  # fmt: skip
def test_the_generator(active: object, generator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_of_one(active, monkeypatch)
    assert isinstance(told, dict)
    assert told["generator"] == generator


@pytest.mark.parametrize(
    "data", [b"", b"jumb", b"\x89PNG\r\n\x1a\njumb", b"\xff\xd8\xff provenance", b"RIFF1234WEBPjumb"]
)
def test_what_is_no_picture(data: bytes) -> None:
    assert read_credentials(data) in (None, UNREADABLE)


# A picture made from one whose manifest is broken is signed all the same


def test_made_from_one_whose_parent_is_missing() -> None:
    upload = without_its_parent()
    found = read_credentials(upload)
    assert found is not None
    assert "ingredient.manifest.missing" in found.problems
    made = read_credentials(CREDENTIALS.signed(plain(), "image/png", upload))
    assert made is not None
    assert (made.state, made.problems) == ("valid", ["signingCredential.untrusted"])


@pytest.mark.parametrize("upload", [
    with_manifest({"label": "cawg.identity", "data": {"x": 1}}), elsewhere("https://a.example/a.c2pa"),
    with_manifest()[:-300] + bytes(300), plain(), with_manifest(kind="jpeg").replace(b"c2pa.claim", b"c2pa.clain"),
    with_manifest({"label": "c2pa.thumbnail.claim.jpeg", "data": {}}),
], ids=["identity", "elsewhere", "cut off", "none", "no claim", "a thumbnail that is none"])  # fmt: skip
def test_made_from_one_whose_manifest_is_broken(upload: bytes) -> None:
    made = read_credentials(CREDENTIALS.signed(plain(), "image/png", upload))
    assert made is not None
    assert made.state == "valid"


@pytest.mark.full
def test_made_from_the_last_generation_that_the_library_takes() -> None:
    picture = with_manifest()
    for _ in range(199):
        picture = with_manifest(parent=picture)
    made = read_credentials(CREDENTIALS.signed(plain(), "image/png", picture))
    assert made is not None
    assert made.state == "valid"


# Limits


def limited(code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python within the limits of a reader."""
    lines = f"from sdxl.picture import manifest\nimport socket\nmanifest.limit_this_process(0)\n{code}"
    return subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60, check=False)


def test_a_reader_has_no_socket() -> None:
    assert "Too many open files" in limited("socket.socket()").stderr


def test_a_reader_is_killed_when_its_time_is_over() -> None:
    begun = time.monotonic()
    assert limited("while True: pass").returncode == -9
    assert time.monotonic() - begun < 50


def test_a_reader_gets_no_more_memory() -> None:
    assert "MemoryError" in limited("bytes(410_000_000)").stderr


@pytest.mark.parametrize("program", [
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(1)", "print('no JSON')",
    "import time; time.sleep(60)", "print('{\"state\": \"sealed\"}')",
])  # fmt: skip
def test_what_becomes_of_a_reader_that_fails(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reader.py").write_text(program)
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "reader.py"))
    monkeypatch.setattr(credentials, "MAX_READ_S", 2)
    assert read_credentials(with_manifest()) == UNREADABLE
    made = CREDENTIALS.signed(plain(), "image/png", with_manifest())  # its parent would be read again in this process
    monkeypatch.undo()
    assert read_credentials(made) not in (None, UNREADABLE)


@pytest.mark.full
def test_a_manifest_that_takes_long() -> None:
    """The library's time grows with the square of the assertions: 20 s for these."""
    slow = with_manifest(*[{"label": "org.x", "data": {"a": 1}}] * 10_000)
    begun = time.monotonic()
    assert read_credentials(slow) == UNREADABLE
    assert time.monotonic() - begun < 20
