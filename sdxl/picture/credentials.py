"""Content credentials (C2PA): a signed statement in the picture's file of what made it, and what readers get from one.

Nothing here reaches for the network: no time stamps, no manifests elsewhere, no revocation lists, no identities.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Literal, Self

import c2pa
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from PIL import Image
from pydantic import BaseModel, TypeAdapter

from sdxl.config.settings import ConfigurationError, Settings
from sdxl.errors import RelayError
from sdxl.picture import manifest
from sdxl.picture.image import media_type_of
from sdxl.picture.manifest import SDK_SETTINGS
from sdxl.version import PRODUCT, VERSION

logger = logging.getLogger("bentoml.sdxl_relay")

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
MAX_READ_S = 30  # for a machine so busy that its MAX_CPU_S take longer
MARKS = (b"jumb", b"provenance")  # of a manifest in the file, and of one that its XMP says to be elsewhere

_COMPOSITE = {"digitalSourceType": f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"}
_CREATED = {"action": "c2pa.created", "digitalSourceType": f"{SOURCE_TYPES}trainedAlgorithmicMedia"}
_EDITED = {"action": "c2pa.edited", **_COMPOSITE}
_FROM_A_PICTURE = {**_CREATED, **_COMPOSITE}
_GENERATOR = {"name": PRODUCT, "version": VERSION}


class Credentials:
    """Signs pictures. Each signature has the present time and new identifiers in it, so no two files are equal."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        """Takes PEM texts. Raises ConfigurationError with one line unless a picture can be signed with them."""
        private, first = _private_key(key), _first_certificate(certificate)
        if _public(private.public_key()) != _public(first.public_key()):
            raise ConfigurationError("SDXL_C2PA_KEY: is not the key of the first certificate in SDXL_C2PA_CERTIFICATE")
        pkcs8 = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # the one form c2pa takes
        info = c2pa.C2paSignerInfo(_algorithm(private), certificate, pkcs8, None)
        try:
            signer = c2pa.Signer.from_info(info)
            self._context = c2pa.Context(c2pa.Settings.from_dict(SDK_SETTINGS), signer)
            self._signed(_sample(), "image/png", self._builder(_CREATED))
        except c2pa.C2paError as error:
            raise ConfigurationError(f"SDXL_C2PA_CERTIFICATE: cannot be signed with; {error!s:.300}") from None

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The credentials of the settings, None if there are none. Raises ConfigurationError with one line."""
        files = {"SDXL_C2PA_CERTIFICATE": settings.c2pa_certificate, "SDXL_C2PA_KEY": settings.c2pa_key}
        if not any(files.values()):
            return None
        texts = []
        for name, path in files.items():
            if path is None:
                raise ConfigurationError(f"{name} is missing; SDXL_C2PA_CERTIFICATE and SDXL_C2PA_KEY go together")
            try:
                texts.append(path.read_bytes())
            except OSError as error:
                raise ConfigurationError(f"{name}={path}: {error.strerror}") from None
        return cls(*texts)

    @classmethod
    def or_exit(cls, settings: Settings) -> Self | None:
        """The same, but ends the process with that line."""
        try:
            return cls.of(settings)
        except ConfigurationError as error:
            sys.exit(f"sdxl-relay: {error}")

    def signed(self, data: bytes, media_type: str, upload: bytes | None = None) -> bytes:
        """The picture's file with a signed manifest: created by a trained model, or edited from `upload` by one.

        Raises RelayError (500) if it cannot be signed, as when the certificate has expired since the start.
        """
        if upload is not None and (parents := read_credentials(upload)) != UNREADABLE:
            try:
                return self._signed_from(upload, parents, data, media_type)
            except Exception as error:  # anybody's file: what its manifest refers to may be missing, too deep or wrong
                logger.warning("a picture is signed without its parent: %s", error)
        try:
            return self._signed(data, media_type, self._builder(_CREATED if upload is None else _FROM_A_PICTURE))
        except c2pa.C2paError as error:
            logger.error("a picture could not be signed: %s", error)
            raise RelayError(500, "not_signed", "the picture could not be signed; the server is at fault") from None

    def _signed(self, data: bytes, media_type: str, builder: c2pa.Builder) -> bytes:
        signed = BytesIO()
        builder.sign(media_type, BytesIO(data), signed)
        return signed.getvalue()

    def _signed_from(self, upload: bytes, parents: ContentCredentials | None, data: bytes, media_type: str) -> bytes:
        """Raises what the library does, or ValueError where a fault of the parent's manifest would become our own.

        Signing reads the parent's manifest again, in our own process: only after it has been seen to end.
        """
        signed = self._signed(data, media_type, self._edited_from(upload))
        if parents is not None and (own := read_credentials(signed)) is not None and own.state in FAULTY:
            raise ValueError(f"with it, the picture's credentials are {own.state}: {', '.join(own.problems)}")
        return signed

    def _edited_from(self, upload: bytes) -> c2pa.Builder:
        builder = self._builder(_EDITED)
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)  # which puts before it that the upload was opened
        builder.add_ingredient_from_stream({"relationship": "parentOf"}, media_type_of(upload), BytesIO(upload))
        return builder

    def _builder(self, action: dict[str, Any]) -> c2pa.Builder:
        actions = [{**action, "softwareAgent": _GENERATOR}]
        assertions = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
        return c2pa.Builder({"claim_generator_info": [_GENERATOR], "assertions": assertions}, self._context)


class ContentCredentials(BaseModel):
    """What a picture's own manifest says, and whether it holds."""

    state: Literal["trusted", "valid", "invalid", "unreadable"]
    """valid: signed, and unchanged since, but by whom is not vouched for, as this server trusts no list of signers."""
    generator: str = ""
    signer: str = ""
    problems: list[str] = []
    """C2PA's codes for what is wrong."""


FAULTY = ("invalid", "unreadable")
UNREADABLE = ContentCredentials(state="unreadable")
_TOLD: TypeAdapter[ContentCredentials | None] = TypeAdapter(ContentCredentials | None)


def read_credentials(data: bytes) -> ContentCredentials | None:
    """The content credentials of a PNG, JPEG or WebP file; None if it has no manifest.

    They are read in a process of its own, within the limits of `sdxl/picture/manifest.py`.
    """
    if not any(mark in data for mark in MARKS):
        return None
    try:
        command = [sys.executable, "-P", manifest.__file__, media_type_of(data)]
        done = subprocess.run(command, input=data, capture_output=True, timeout=MAX_READ_S, check=True)
        return _TOLD.validate_json(done.stdout)
    except (subprocess.SubprocessError, ValueError):  # ValueError: pydantic's, and of a file that is no picture
        return UNREADABLE


def _private_key(pem: bytes) -> Any:
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError for a key with a password
        raise ConfigurationError("SDXL_C2PA_KEY: is not a private key in PEM form, without a password") from None


def _first_certificate(pem: bytes) -> x509.Certificate:
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise ConfigurationError("SDXL_C2PA_CERTIFICATE: is not a certificate in PEM form") from None
    begin, end = first.not_valid_before_utc, first.not_valid_after_utc
    if not begin <= datetime.now(UTC) <= end:
        raise ConfigurationError(f"SDXL_C2PA_CERTIFICATE: is valid from {begin} to {end} only")
    return first


def _algorithm(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ConfigurationError("SDXL_C2PA_KEY: is of another kind than P-256, P-384, P-521, Ed25519 or RSA")


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _sample() -> bytes:
    """A picture to try a signature on."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "png")
    return buffer.getvalue()
