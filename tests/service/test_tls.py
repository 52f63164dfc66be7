"""TLS by BentoML's own options: to the entry, and from the entry to a runner, whose certificate is checked."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from entry.fleet.stage import StageClient
from sdxl.config.settings import Settings
from tests.entry.fleet.false_runner import FalseRunner, call_metrics
from tests.service.server import Server, Serving, free_port, pixels
from tests.service.test_disconnect import wait_for

REQUEST = {"prompt": "a red cube on top of a blue sphere, yellow background", "seed": 1}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of its own for localhost, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return certificate, key


@contextmanager
def running(serving: Serving) -> Iterator[Serving]:
    serving.start()
    try:
        yield serving
    finally:
        serving.stop()


def test_tls_to_the_entry_and_to_a_runner(tmp_path: Path, certificate: tuple[Path, Path], server: Server) -> None:
    path, key = certificate
    options = ("--ssl-certfile", str(path), "--ssl-keyfile", str(key))
    for name in ("base", "entry"):
        (tmp_path / name).mkdir()
    base = Serving(tmp_path / "base", "runners.base:BaseRunner", options=options, SDXL_MAX_ROWS=16)
    base_url = base.server.url.replace("127.0.0.1", "localhost")
    entry = Serving(
        tmp_path / "entry", options=options, SDXL_MAX_ROWS=16, SDXL_BASE_URL=base_url, SSL_CERT_FILE=str(path)
    )
    url = entry.server.url.replace("127.0.0.1", "localhost")
    with running(base), running(entry), httpx.Client(verify=ssl.create_default_context(cafile=path)) as client:

        def is_ready() -> bool:
            try:
                return client.get(f"{url}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(is_ready, timeout_s=120)
        answer = client.post(f"{url}/generate", json=REQUEST, timeout=60)
        assert (pixels(answer) == server.generate(**REQUEST)).all()
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http"))


def test_a_runner_with_another_certificate_gets_no_jobs(certificate: tuple[Path, Path]) -> None:
    """The entry does not know who has signed it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def main() -> None:
        runner, port = FalseRunner("done"), free_port()
        stage = StageClient("base", Settings())
        asked = asyncio.Event()
        stage.changed = asked.set
        async with runner.listening("127.0.0.1", port, context):
            stage.start([f"https://localhost:{port}"], call_metrics())
            try:
                async with asyncio.timeout(10):
                    await asked.wait()
                assert [*stage.faults] == ["cannot be reached (ClientConnectorCertificateError)"]
                assert not stage.ready
            finally:
                await stage.close()

    asyncio.run(main())
