"""Reads a picture's C2PA manifest. A program of its own: `python -P manifest.py MEDIA_TYPE < picture > told.json`.

The bytes come from anybody, and C2PA's library takes time with the square of a manifest's assertions (20 s for 10,000
of them, in 1.7 MB). A thread in it cannot be stopped, a process can. This one has limits of time and memory, and can
open nothing: without a free file descriptor there is no socket either.

It imports nothing of the project, so that it starts in a tenth of a second.
"""

from __future__ import annotations

import json
import resource
import sys
from io import BytesIO
from typing import Any

import c2pa

# What certificates may be made for. C2PA's own purpose, claim signing, comes after those that the library knows.
PURPOSES = [
    "1.3.6.1.5.5.7.3.4",  # e-mail protection
    "1.3.6.1.5.5.7.3.36",  # document signing
    "1.3.6.1.5.5.7.3.8",  # time stamping
    "1.3.6.1.5.5.7.3.9",  # OCSP signing
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft's C2PA signing
    "1.3.6.1.4.1.62558.2.1",  # C2PA claim signing
]
SDK_SETTINGS: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    "core": {"allowed_network_hosts": [], "allow_redirects": False, "decode_identity_assertions": False},
    "trust": {"trust_config": "\n".join(PURPOSES)},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}

MAX_CPU_S = 2  # ordinary pictures take 0.05 s, and one of 18 MB that is all manifest 0.13 s
MAX_MEMORY_BYTES = 400_000_000  # beside ten times the picture's file: those take 30 MB, and 170 MB
MAX_CHARACTERS, MAX_PROBLEMS = 200, 20  # of what is told of anybody's manifest


def told_of(data: bytes, media_type: str) -> dict[str, Any] | None:
    """State, generator, signer and problems of a picture's manifest; None if it has none. Raises whatever it likes."""
    store = _store(data, media_type)
    if store is None:
        return None
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    state, problems = store["validation_state"], {problem["code"] for problem in store.get("validation_status", [])}
    if not all(map(_is_whole, active.get("assertions", []))):
        state, problems = "invalid", problems | {"cawg.identity.cbor.invalid"}
    return {
        "state": state.lower(),
        "generator": _generator(active)[:MAX_CHARACTERS],
        "signer": _text((active.get("signature_info") or {}).get("issuer"))[:MAX_CHARACTERS],
        "problems": sorted(problem[:MAX_CHARACTERS] for problem in problems)[:MAX_PROBLEMS],
    }


def _store(data: bytes, media_type: str) -> dict[str, Any] | None:
    context = c2pa.Context(c2pa.Settings.from_dict(SDK_SETTINGS))
    reader = c2pa.Reader.try_create(media_type, BytesIO(data), context=context)
    return None if reader is None else json.loads(reader.json())


def _is_whole(assertion: dict[str, Any]) -> bool:
    """False for an identity assertion without its parts. The library would check more, but asks the network for it."""
    if not _text(assertion.get("label")).startswith("cawg.identity"):
        return True
    match assertion.get("data"):
        case {"signer_payload": {"sig_type": str(), "referenced_assertions": list()}, "signature": str() | list()}:
            return True
    return False


def _generator(manifest: dict[str, Any]) -> str:
    """Manifests of the first version have one text, later ones a list of programs with their versions."""
    info = manifest.get("claim_generator_info")
    first = info[0] if isinstance(info, list) and info else {}
    name, version = _text(first.get("name")), _text(first.get("version"))
    return f"{name} {version}".strip() if name else _text(manifest.get("claim_generator"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def limit_this_process(size_bytes: int) -> None:
    """For good: time, memory for a picture of this size, no new descriptor (so no socket), no core file."""
    memory_bytes = MAX_MEMORY_BYTES + 10 * size_bytes
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    picture = sys.stdin.buffer.read()
    limit_this_process(len(picture))
    json.dump(told_of(picture, sys.argv[1]), sys.stdout)
