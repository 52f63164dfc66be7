"""Content credentials are signed and hold, a changed picture is found out, and bad certificates end the server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdxl.config.settings import ConfigurationError, Settings
from sdxl.errors import RelayError
from sdxl.picture.credentials import ContentCredentials, Credentials, read_credentials
from sdxl.request.fields import OutputFormat
from sdxl.version import VERSION
from tests.sdxl.picture.certificates import SERVERS, Key, Pair, make_pair
from tests.sdxl.picture.pictures import decoded, encoded, textured

FORMATS = get_args(OutputFormat)
PAIR = make_pair()
CREDENTIALS = Credentials(PAIR.certificate, PAIR.key)
HOLDS = ContentCredentials(
    state="valid", generator=f"SDXL Relay {VERSION}", signer="Example", problems=["signingCredential.untrusted"]
)
PICTURES = {kind: encoded(Image.fromarray(textured(64, 64)), kind) for kind in FORMATS}
SIGNED = {kind: CREDENTIALS.signed(data, f"image/{kind}") for kind, data in PICTURES.items()}


def manifest(data: bytes, kind: str) -> dict[str, Any]:
    """By the library's own reader."""
    with c2pa.Reader(f"image/{kind}", BytesIO(data)) as reader:
        assert reader.get_validation_state() == "Valid"
        found: dict[str, Any] = reader.get_active_manifest()
        return found


def actions(data: bytes, kind: str) -> list[dict[str, Any]]:
    (assertion,) = [one for one in manifest(data, kind)["assertions"] if one["label"].startswith("c2pa.actions")]
    found: list[dict[str, Any]] = assertion["data"]["actions"]
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_is_signed_as_made_by_a_model(kind: str) -> None:
    (created,) = actions(SIGNED[kind], kind)
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert created["softwareAgent"] == {"name": "SDXL Relay", "version": VERSION}
    assert manifest(SIGNED[kind], kind)["signature_info"]["issuer"] == "Example"
    assert np.array_equal(decoded(SIGNED[kind]), decoded(PICTURES[kind]))
    assert read_credentials(SIGNED[kind]) == HOLDS
    assert read_credentials(PICTURES[kind]) is None


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("uploads", [PICTURES, SIGNED], ids=["plain", "signed"])
def test_a_picture_made_from_another_says_so(kind: str, uploads: dict[str, bytes]) -> None:
    data = CREDENTIALS.signed(PICTURES["png"], "image/png", uploads[kind])
    opened, edited = actions(data, "png")
    assert (opened["action"], edited["action"]) == ("c2pa.opened", "c2pa.edited")
    assert edited["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    (parent,) = manifest(data, "png")["ingredients"]
    assert parent["relationship"] == "parentOf"
    assert ("active_manifest" in parent) == (uploads is SIGNED)


def test_an_upload_whose_manifest_is_broken() -> None:
    broken = bytearray(SIGNED["png"])
    broken[broken.find(b"c2pa.actions.v2") + 40] ^= 1
    (created,) = actions(CREDENTIALS.signed(PICTURES["png"], "image/png", bytes(broken)), "png")
    assert created["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_changed_picture_is_found_out(kind: str) -> None:
    data = bytearray(SIGNED[kind])
    at = {"png": data.find(b"IDAT") + 200, "jpeg": len(data) - 200, "webp": data.find(b"VP8 ") + 200}[kind]
    data[at] ^= 1
    found = read_credentials(bytes(data))
    assert found is not None
    assert found.state == "invalid"
    assert "assertion.dataHash.mismatch" in found.problems


def test_many_at_once() -> None:
    def holds(_: int) -> bool:
        return read_credentials(CREDENTIALS.signed(PICTURES["png"], "image/png")) == HOLDS

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(holds, range(40)))


KEYS: list[Callable[[], Key]] = [
    lambda: ec.generate_private_key(ec.SECP256R1()), lambda: ec.generate_private_key(ec.SECP384R1()),
    lambda: ec.generate_private_key(ec.SECP521R1()), ed25519.Ed25519PrivateKey.generate,
    lambda: rsa.generate_private_key(65_537, 2048),
]  # fmt: skip


@pytest.mark.parametrize("make_key", KEYS)
def test_every_kind_of_key(make_key: Callable[[], Key]) -> None:
    pair = make_pair(make_key())
    assert read_credentials(Credentials(pair.certificate, pair.key).signed(PICTURES["png"], "image/png")) == HOLDS


def old_form(pair: Pair, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    key = load_pem_private_key(pair.key, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption)


def test_a_key_as_openssl_ecparam_writes_it() -> None:
    Credentials(PAIR.certificate, old_form(PAIR))


EXPIRED, EARLY, FOR_SERVERS = make_pair(days=(-9, -2)), make_pair(days=(2, 9)), make_pair(purpose=SERVERS)
SMALL_RSA = make_pair(rsa.generate_private_key(65_537, 1024))
ODD_CURVE = make_pair(ec.generate_private_key(ec.SECP256K1()))


@pytest.mark.parametrize(("certificate", "key", "said"), [
    (EXPIRED.certificate, EXPIRED.key, r"^SDXL_C2PA_CERTIFICATE: is valid from .* only$"),
    (EARLY.certificate, EARLY.key, r"^SDXL_C2PA_CERTIFICATE: is valid from .* only$"),
    (PAIR.certificate, EARLY.key, "^SDXL_C2PA_KEY: is not the key of the first certificate"),
    (b"", PAIR.key, "^SDXL_C2PA_CERTIFICATE: is not a certificate"),
    (PAIR.key, PAIR.key, "^SDXL_C2PA_CERTIFICATE: is not a certificate"),
    (PAIR.certificate, PAIR.certificate, "^SDXL_C2PA_KEY: is not a private key"),
    (PAIR.certificate, old_form(PAIR, b"secret"), "^SDXL_C2PA_KEY: is not a private key in PEM form, without a pass"),
    (ODD_CURVE.certificate, ODD_CURVE.key, "^SDXL_C2PA_KEY: is of another kind than P-256"),
    (SMALL_RSA.certificate, SMALL_RSA.key, "^SDXL_C2PA_CERTIFICATE: cannot be signed with"),
    (FOR_SERVERS.certificate, FOR_SERVERS.key, "^SDXL_C2PA_CERTIFICATE: cannot be signed with"),
])  # fmt: skip
def test_what_cannot_be_signed_with_is_named(certificate: bytes, key: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        Credentials(certificate, key)
    assert "\n" not in str(raised.value)


def test_settings(tmp_path: Path) -> None:
    given = PAIR.write(tmp_path)
    assert Credentials.of(Settings.from_environment({})) is None
    assert Credentials.of(Settings.from_environment(given)) is not None
    for missing in given:
        left = {name: value for name, value in given.items() if name != missing}
        with pytest.raises(ConfigurationError, match=f"^{missing} is missing; .* go together$"):
            Credentials.of(Settings.from_environment(left))
        nowhere = {**given, missing: str(tmp_path / "nowhere.pem")}
        with pytest.raises(ConfigurationError, match=rf"^{missing}=.*nowhere.pem: No such file"):
            Credentials.of(Settings.from_environment(nowhere))


def test_what_cannot_be_signed_is_the_servers_fault() -> None:
    with pytest.raises(RelayError) as raised:
        CREDENTIALS.signed(b"no picture", "image/png")
    assert raised.value.status == 500


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_mutated_manifests_are_told_of(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(SIGNED[kind])
    begin = data.find(b"jumb")
    for offset, value in changes:
        data[min(begin + offset, len(data) - 1)] = value
    found = read_credentials(bytes(data))
    assert found is None or found.state in ("valid", "invalid", "unreadable")
