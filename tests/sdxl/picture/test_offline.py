"""No byte of an upload makes the server connect to anything: not when its manifest is read, not when a parent's is.

The library goes through a proxy where the environment names one, so that one listener sees whatever host it is after.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdxl.picture.certificates import make_pair
from tests.sdxl.picture.manifests import elsewhere, identity, with_manifest

ROOT = Path(__file__).parents[3]
HOST = "manifests.example"
URL = f"http://{HOST}/a.c2pa"
FORMATS = ("png", "jpeg", "webp")
# In each, a host is named in another place; a few are elsewhere in the file.
UPLOADS: dict[str, bytes] = {
    **{f"identity {kind}": with_manifest(identity(HOST), kind=kind) for kind in FORMATS},
    **{f"elsewhere {kind}": elsewhere(URL, kind) for kind in FORMATS},
    "elsewhere, https": elsewhere(URL.replace("http:", "https:")),
    "many identities": with_manifest(*[identity(HOST)] * 20),
    "identity with a port": with_manifest(identity(f"{HOST}%3A8443")),
    "a parent's identity": with_manifest(parent=with_manifest(identity(HOST))),
    "a parent elsewhere": with_manifest(parent=elsewhere(URL)),
    "revocation": with_manifest(pair=make_pair(ocsp=f"http://{HOST}/ocsp")),
    "a parent's revocation": with_manifest(parent=with_manifest(pair=make_pair(ocsp=f"http://{HOST}/ocsp"))),
    "an address": with_manifest(identity("169.254.169.254")),
}
CONNECTS = ("identity png", "elsewhere jpeg", "a parent's identity", "many identities")
# The picture comes by the standard input: it is read, and then a picture is made from it.
AS_WE_DO = """
import contextlib, sys
from sdxl.picture.credentials import Credentials, read_credentials
from tests.sdxl.picture.manifests import PAIR, plain
upload = sys.stdin.buffer.read()
read_credentials(upload)
credentials = Credentials(PAIR.certificate, PAIR.key)
credentials.signed(plain(), "image/png", upload)
with contextlib.suppress(Exception):  # some cannot be parents
    credentials._signed(plain(), "image/png", credentials._edited_from(upload))
"""
AS_THE_LIBRARY_DOES = """
import io, sys, c2pa
c2pa.Reader(io.BytesIO(sys.stdin.buffer.read()))
"""


class Proxy:
    """Counts who connects, and answers nothing."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        return {**os.environ, **{name: url for upper in names for name in (upper, upper.lower())}, "NO_PROXY": ""}

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(100))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def hears_of(self, program: str, upload: bytes) -> list[bytes]:
        """What is asked while a program reads an upload."""
        self.asked.clear()
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(
            command, input=upload, capture_output=True, cwd=ROOT, env=self.environment, timeout=60, check=False
        )
        assert done.returncode == 0 or program is AS_THE_LIBRARY_DOES, done.stderr
        return list(self.asked)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    opened = Proxy()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", CONNECTS)
def test_the_listener_would_hear(proxy: Proxy, name: str) -> None:
    """By the library's own settings, these uploads do connect."""
    (first, *_) = proxy.hears_of(AS_THE_LIBRARY_DOES, UPLOADS[name])
    assert HOST.encode() in first


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
def test_nothing_is_asked(proxy: Proxy, upload: bytes) -> None:
    assert proxy.hears_of(AS_WE_DO, upload) == []
