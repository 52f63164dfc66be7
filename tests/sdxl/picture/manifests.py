"""Pictures with manifests of all kinds, as anybody might upload them."""

from __future__ import annotations

import json
import struct
import zlib
from io import BytesIO
from typing import Any

import c2pa
from PIL import Image

from tests.sdxl.picture.certificates import Pair, make_pair
from tests.sdxl.picture.pictures import encoded

PAIR = make_pair()
PURPOSES = "1.3.6.1.5.5.7.3.4\n1.3.6.1.4.1.62558.2.1\n"
CREATED = {
    "action": "c2pa.created",
    "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalArt",
}
ACTIONS = {"label": "c2pa.actions.v2", "data": {"actions": [CREATED]}}
SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "trust": {"trust_config": PURPOSES},
    "verify": {"verify_after_sign": False, "verify_after_reading": False},
}


def with_manifest(
    *assertions: dict[str, Any], parent: bytes | None = None, pair: Pair = PAIR, kind: str = "png", **fields: Any
) -> bytes:
    """A small picture signed by a stranger; `fields` are further ones of the manifest's definition."""
    actions = [ACTIONS] if parent is None else []
    definition = {"claim_generator_info": [{"name": "x", "version": "1"}], "assertions": [*actions, *assertions]}
    builder = c2pa.Builder({**definition, **fields}, c2pa.Context(c2pa.Settings.from_dict(SETTINGS)))
    if parent is not None:
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        builder.add_ingredient_from_stream({"relationship": "parentOf"}, "image/png", BytesIO(parent))
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", pair.certificate, pair.key, None))
    signed = BytesIO()
    builder.sign(signer, f"image/{kind}", BytesIO(plain(kind)), signed)
    return signed.getvalue()


def plain(kind: str = "png", **options: Any) -> bytes:
    return encoded(Image.new("RGB", (64, 64), "red"), kind, **options)


def identity(host: str) -> dict[str, Any]:
    """An assertion of who somebody is (CAWG), whose issuer's key would be at https://HOST/.well-known/did.json."""
    linked = {"url": "self#jumbf=c2pa.assertions/c2pa.hash.data", "hash": "A" * 43 + "="}
    payload = {"sig_type": "cawg.identity_claims_aggregation", "referenced_assertions": [linked]}
    provider = {"id": "https://example.com", "name": "x"}
    name = {"type": "cawg.social_media", "username": "x", "uri": "https://example.com/x", "provider": provider}
    credential = {
        "@context": ["https://www.w3.org/ns/credentials/v2", "https://cawg.io/identity/1.1/ica/context/"],
        "type": ["VerifiableCredential", "IdentityClaimsAggregationCredential"],
        "issuer": f"did:web:{host}",
        "validFrom": "2024-01-01T00:00:00Z",
        "credentialSubject": {
            "verifiedIdentities": [{**name, "verifiedAt": "2024-01-01T00:00:00Z"}],
            "c2paAsset": payload,
        },
    }
    ed_dsa = b"\xa2\x01\x27\x03" + _cbor_text(b"application/vc")  # {1: -8, 3: "application/vc"}
    parts = (_cbor_bytes(ed_dsa), b"\xa0", _cbor_bytes(json.dumps(credential).encode()), _cbor_bytes(bytes(64)))
    signed = b"\xd2\x84" + b"".join(parts)  # COSE_Sign1 (RFC 9052): tag 18, an array of four
    signer_payload = {**payload, "referenced_assertions": [{**linked, "hash": [0] * 32}]}
    return {
        "label": "cawg.identity",
        "data": {"signer_payload": signer_payload, "signature": list(signed), "pad1": []},
    }


def elsewhere(url: str, kind: str = "png") -> bytes:
    """A picture whose XMP says that its manifest is at a URL."""
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{url}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()
    if kind != "png":
        return plain(kind, xmp=xmp)
    body = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return plain()[:33] + chunk + plain()[33:]


def with_right_checksums(png: bytes) -> bytes:
    """A PNG that was changed in its chunks, each of which gets the CRC that it now needs."""
    at, chunks = 8, [png[:8]]
    while at < len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4])
        chunks.append(png[at:end] + struct.pack(">I", zlib.crc32(png[at + 4 : end])))
        at = end + 4
    return b"".join(chunks)


def without_its_parent() -> bytes:
    """A picture whose parent's manifest has another name than the one that it is called by."""
    first = with_manifest()
    whole = with_manifest(parent=first)
    name = first[(begin := first.find(b"urn:c2pa:")) : begin + 45]
    at = whole.find(name) + 40  # in the name of the box itself
    return with_right_checksums(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


def _cbor_bytes(data: bytes) -> bytes:
    return b"\x59" + struct.pack(">H", len(data)) + data


def _cbor_text(text: bytes) -> bytes:
    return bytes([0x60 + len(text)]) + text
