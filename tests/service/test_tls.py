"""TLS by BentoML's own options: to the entry, and from the entry to a runner, whose certificate is checked."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import httpx
import pytest

from entry.fleet.progress import Follower
from entry.fleet.stage import StageClient
from sdxl.config.settings import Settings
from sdxl.request.limits import Limits
from tests.entry.fleet.false_runner import IDENTITY, FalseRunner, call_metrics, whoever
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


@pytest.mark.full  # BentoML's own options; what is ours is tested below
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


@pytest.mark.parametrize("is_known", [True, False])
def test_only_a_runner_whose_certificate_is_known_gets_jobs(
    certificate: tuple[Path, Path], is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's certificates are what SSL_CERT_FILE names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    known = ssl.create_default_context(cafile=certificate[0] if is_known else None)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", known)  # aiohttp reads them when it is imported

    async def main() -> None:
        runner, port = FalseRunner("done", identity=IDENTITY), free_port()
        stage = StageClient("base", Settings())
        asked = asyncio.Event()
        stage.changed = asked.set
        async with runner.listening("127.0.0.1", port, context):
            stage.start([f"https://localhost:{port}"], call_metrics())
            try:
                async with asyncio.timeout(10):
                    await asked.wait()
                assert bool(stage.ready) == is_known
                if is_known:
                    limits = Limits(deadline=time.monotonic() + 10)
                    assert (
                        await stage.call("run", b"a job", limits, Follower(), team=whoever(stage), is_patient=False)
                    ).body == b"a job"
                else:
                    assert [*stage.faults] == ["cannot be reached (ClientConnectorCertificateError)"]
                    assert runner.calls == 0
            finally:
                await stage.close()

    asyncio.run(main())
