"""The three services each by itself on this machine, as `make serve-split` and as machines of their own run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.service.server import ROOT, Server, Serving, free_port

TOKEN = "a token that only the tests know"
TARGETS = {"base": "runners.base:BaseRunner", "refiner": "runners.refiner:RefinerRunner", "entry": "."}


@dataclass(frozen=True)
class Split:
    base: Serving
    refiner: Serving
    entry: Serving

    @property
    def server(self) -> Server:
        """The entry's."""
        return self.entry.server


def one(folder: Path, name: str, source: Path = ROOT, **settings: Any) -> Serving:
    """One of the services, not started yet, with a home of its own: two servers in one home spoil their metrics."""
    home = folder / name
    home.mkdir(exist_ok=True)
    return Serving(home, TARGETS[name], source, SDXL_RUNNER_TOKEN=TOKEN, **settings)


@contextmanager
def serving_split(folder: Path, source: Path = ROOT, **settings: Any) -> Iterator[Split]:
    """Runs all three until the block ends; those that ended meanwhile are left alone."""
    ports = {name: free_port() for name in ("base", "refiner")}
    urls = {f"SDXL_{name.upper()}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    runners = {name: one(folder, name, source, port=port, **settings) for name, port in ports.items()}
    split = Split(**runners, entry=one(folder, "entry", source, **urls, **settings))
    every = (split.base, split.refiner, split.entry)
    for each in every:
        each.start()
    try:
        for each in every:
            each.wait_until_ready()
        yield split
    finally:
        for each in reversed(every):
            if each.process.poll() is None:
                each.stop()


def ask_runner(runner: Serving, path: str = "/run", *, token: str | None = TOKEN, **options: Any) -> httpx.Response:
    """Posts to a runner as the entry does."""
    with caller(token) as client:
        return client.post(f"{runner.server.url}{path}", **options)


def caller(token: str | None = TOKEN) -> httpx.Client:
    """A client with the headers that the entry sends."""
    authorization = {} if token is None else {"authorization": f"Bearer {token}"}
    return httpx.Client(headers={"content-type": "application/octet-stream", **authorization}, timeout=60)
