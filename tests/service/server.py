"""Starts the real `bentoml serve` for the tests, on a free port, with the checkpoints that a test asks for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[2]
LEASH = Path(__file__).with_name("leash.py")
_UNTIL_WE_DIE = os.pipe()  # its second end closes with this process, which the leash of every server sees
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30


@dataclass(frozen=True)
class Server:
    url: str
    log: Path

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=300, **options)

    def generate(self, **fields: Any) -> NDArray[np.uint8]:
        """A picture of /generate, uint8 [height, width, 3]."""
        return pixels(self.post("/generate", json=fields))

    def refine(self, picture: bytes, **fields: Any) -> NDArray[np.uint8]:
        """A picture of /refine."""
        return pixels(self.post("/refine", data=fields, files={"image": ("picture.png", picture, "image/png")}))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels; 0 before there is one."""
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith((f"{name}{{", f"{name} ")) and all(pair in line for pair in wanted)
        )

    def workers(self) -> dict[str, psutil.Process]:
        """The process of each service, told by its home in the environment."""
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            with suppress(psutil.Error):  # it has ended meanwhile, or is another user's
                if "--service-name" in command and process.environ().get("BENTOML_HOME") == str(self.log.parent):
                    found[command[command.index("--service-name") + 1]] = process
        return found


def pixels(response: httpx.Response) -> NDArray[np.uint8]:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(BytesIO(response.content)).convert("RGB"))


def environment(home: Path, **settings: object) -> dict[str, str]:
    """The environment of a server of its own, without settings that the developer's shell may have."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SDXL_")}
    return {
        **kept,
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "1",
        "SDXL_BACKEND": "torch",  # the most exact, and what there is without further packages
        **{name: str(value) for name, value in settings.items()},
    }


def run_module(
    command: Sequence[str], home: Path, timeout_s: float = 100, **settings: object
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m COMMAND` in the project's folder to its end, whatever that is."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Serving:
    """A `bentoml serve TARGET` in `folder` that can be started again; `settings` are environment variables."""

    def __init__(
        self,
        home: Path,
        target: str = ".",
        folder: Path = ROOT,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        options: Sequence[str] = (),
        **settings: object,
    ) -> None:
        self._folder, self._environment = folder, environment(home, **settings)
        self._port = port or free_port()
        self._command = [
            *(sys.executable, str(LEASH), sys.executable, "-m", "bentoml", "serve", target),
            *("--host", host, "--port", str(self._port)),
            *options,
        ]
        scheme = "https" if "--ssl-certfile" in options else "http"
        self.server = Server(f"{scheme}://{host}:{self._port}", home / "serve.log")
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Returns at once; `wait_until_ready` is next."""
        with self.server.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=_UNTIL_WE_DIE[0],
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Raises RuntimeError with the log's end if the server ends before, or takes too long."""
        try:
            wait_until_ready(self.server.url, self.process)
        except (AssertionError, TimeoutError) as error:
            raise RuntimeError(self._end_of_log()) from error

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM, and waits for the end. Raises RuntimeError if there is none in time, and kills it then."""
        workers = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the server did not stop\n{self._end_of_log()}") from None
        finally:
            _kill(workers)
            self.process.kill()
            self.process.wait()

    def _end_of_log(self) -> str:
        return self.server.log.read_text()[-3000:]


@contextmanager
def serving(home: Path, target: str = ".", folder: Path = ROOT, **settings: Any) -> Iterator[Server]:
    """Runs `bentoml serve TARGET` in `folder` until the block ends; `settings` are environment variables."""
    serve = Serving(home, target, folder, **settings)
    serve.start()
    try:
        serve.wait_until_ready()
        yield serve.server
    finally:
        serve.stop()


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Raises AssertionError if the process ends before it is ready, and TimeoutError if it takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(url)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
