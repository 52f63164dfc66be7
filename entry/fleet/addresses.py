"""Where the replicas of a stage are: URLs, whose host names may stand for several machines."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

UNIX = "file://"


@dataclass(frozen=True)
class Address:
    """One replica's."""

    root: str
    """What a path is appended to; its host is an IP address, or nothing that matters over a UNIX socket."""
    host: str
    """As it was in the URL: for the Host header, and for the certificate."""

    @property
    def server_hostname(self) -> str | None:
        """The name that the replica's certificate must have."""
        return urlsplit(f"//{self.host}").hostname if self.root.startswith("https") else None


async def resolve(url: str) -> list[Address]:
    """The addresses of a URL, looked up anew. Raises OSError if its host's name stands for none at present."""
    if url.startswith(UNIX):
        return [Address(root="http://runner", host="runner")]
    parts = urlsplit(url.replace("tcp://", "http://"))  # what BentoML says without UNIX sockets
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    hosts = sorted({str(address[0]) for *_, address in found})
    return [
        Address(root=f"{parts.scheme}://{_bracketed(host)}:{port}{parts.path}", host=parts.netloc) for host in hosts
    ]


def kept_socket(path: str, folder: str) -> str:
    """A second name, in `folder`, for a UNIX socket; `path` itself where the system does not allow one.

    When `bentoml serve` stops, it removes the socket's name before its services have ended their work.
    """
    kept = str(Path(folder) / Path(path).name)
    try:
        os.link(path, kept)
    except OSError:
        return path
    return kept


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def resolve_all(urls: Iterable[str], before: dict[str, list[Address]]) -> dict[str, list[Address]]:
    """The addresses of each URL; those of `before` for a URL whose name can't be looked up just now."""
    found = {}
    for url in urls:
        try:
            found[url] = await resolve(url)
        except OSError:
            found[url] = before.get(url, [])
    return found
