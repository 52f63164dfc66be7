"""No socket unpickles what it is sent: not the entry's, not the runners'."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.service.server import ROOT, Server, environment, free_port, wait_until_ready

MEDIA_TYPE = "application/vnd.bentoml+pickle"


class Attack:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("path", ["/generate", "/refine"])
def test_the_entry_refuses_pickle(server: Server, tmp_path: Path, path: str) -> None:
    body = pickle.dumps(Attack(tmp_path / "harm"))
    assert server.post(path, content=body, headers={"content-type": MEDIA_TYPE}).status_code == 415
    assert not (tmp_path / "harm").exists()


def runners_sockets() -> list[str]:
    """The UNIX sockets between BentoML's services on this machine."""
    found = re.findall(r"\S+/bentoml-uds-\S+\.sock$", Path("/proc/net/unix").read_text(), re.MULTILINE)
    return sorted({path for path in found if Path(path).is_socket()})  # others are left from servers that were killed


@pytest.mark.parametrize("endpoint", ["/run", "/refine", "/readyz", "/"])
def test_the_runners_refuse_pickle_on_their_unix_sockets(server: Server, tmp_path: Path, endpoint: str) -> None:
    assert server.url
    body = pickle.dumps(Attack(tmp_path / "harm"))
    sockets = runners_sockets()
    assert len(sockets) >= 2  # base and refiner
    for path in filter(os.path.exists, sockets):  # other tests' servers may end meanwhile
        with httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=30) as client:
            answer = client.post(f"http://runner{endpoint}", content=body, headers={"content-type": MEDIA_TYPE})
            assert answer.status_code == 415
    assert not (tmp_path / "harm").exists()


def test_a_runner_started_as_containers_start_it_refuses_pickle(tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "bentoml_cli._internal.start",
        "start-http-server",
        "service:SDXLRelay",
        "--service-name",
        "sdxl_refiner",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process)
            body = pickle.dumps(Attack(tmp_path / "harm"))
            for endpoint in ("/run", "/refine"):
                answer = httpx.post(f"{url}{endpoint}", content=body, headers={"content-type": MEDIA_TYPE})
                assert answer.status_code == 415
            assert not (tmp_path / "harm").exists()
        finally:
            process.terminate()
