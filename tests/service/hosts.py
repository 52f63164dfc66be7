"""Hosts of a test's own on one machine: network namespaces, each with its own address, around one switch.

The switch is a bridge in a namespace of its own, so that nothing of the machine's own network changes. The test
itself needs no host: a thread can enter one for a while (`Host.inside`), with all that it connects or starts there.
Needs root and `ip`.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

NAMESPACES = Path("/run/netns")
PREFIX = "sdxl-relay"
SUBNET = "10.77.0"
CLONE_NEWNET = 0x4000_0000
DEATH_TIMEOUT_S = 10
_libc = ctypes.CDLL(None, use_errno=True)
_networks = itertools.count(1)


class HostsError(Exception):
    """`ip` refused; the message is its own."""


@dataclass(frozen=True)
class Host:
    """A network namespace with one interface, `eth0`."""

    name: str
    namespace: str
    switch: str  # the namespace at the cable's other end, where this host's port has the host's name
    address: str

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Until the block ends, this thread's new sockets and new processes are on this host."""
        with Path("/proc/thread-self/ns/net").open("rb") as home:
            self.enter()
            try:
                yield
            finally:
                _set_namespace(home)

    def enter(self) -> None:
        """As `inside`, for the rest of the thread's life."""
        with (NAMESPACES / self.namespace).open("rb") as there:
            _set_namespace(there)

    def cut_off(self) -> None:
        """Packets from and to this host are lost from now on; nobody is told."""
        _ip("-n", self.switch, "link", "set", self.name, "down")

    def reconnect(self) -> None:
        """Takes back `cut_off`."""
        _ip("-n", self.switch, "link", "set", self.name, "up")

    def kill(self) -> None:
        """SIGKILL to every process on this host, until there is none."""
        _kill_all(self.namespace)

    def counter(self, name: str) -> int:
        """One of the interface's: `tx_bytes` or `rx_bytes`, of Ethernet frames with their headers, `rx_packets` …"""
        return int(_ip("netns", "exec", self.namespace, "cat", f"/sys/class/net/eth0/statistics/{name}"))


class Network(AbstractContextManager["Network"]):
    """Hosts by name, until the block ends; then all their processes are killed."""

    def __init__(self, *names: str) -> None:
        self._prefix = f"{PREFIX}-{os.getpid()}-{next(_networks)}-"
        self._switch = f"{self._prefix}switch"
        self.hosts = {
            name: Host(name, f"{self._prefix}{name}", self._switch, f"{SUBNET}.{number}")
            for number, name in enumerate(names, start=1)
        }

    def __enter__(self) -> Self:
        remove_leftovers()
        try:
            _ip("netns", "add", self._switch)
            _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "bridge", "up")
            for host in self.hosts.values():
                _plug_in(host)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(self._prefix)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]


def why_not() -> str | None:
    """Why there can be no hosts on this machine, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need `ip` (iproute2)"
    try:
        with Network("probe"):
            return None
    except HostsError as error:
        return f"no network namespaces here: {error}"


def remove_leftovers() -> None:
    """Removes the hosts of test processes that are no more, with all that still runs on them."""
    for namespace in _namespaces():
        owner = namespace.removeprefix(f"{PREFIX}-").split("-")[0]
        if not Path("/proc", owner).exists():
            _remove(f"{PREFIX}-{owner}-")


def _plug_in(host: Host) -> None:
    _ip("netns", "add", host.namespace)
    _ip("-n", host.switch, "link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    _ip("-n", host.switch, "link", "set", host.name, "master", "bridge", "up")
    _ip("-n", host.namespace, "link", "set", "lo", "up")
    _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
    # One frame for each segment, as on a cable: else the counters miss most of the headers.
    _ip("-n", host.namespace, "link", "set", "eth0", "up", "gso_max_segs", "1")


def _remove(prefix: str) -> None:
    for namespace in _namespaces(prefix):
        _kill_all(namespace)
    for namespace in _namespaces(prefix):
        _ip("netns", "delete", namespace)


def _namespaces(prefix: str = f"{PREFIX}-") -> list[str]:
    return [path.name for path in NAMESPACES.glob(f"{prefix}*")]


def _kill_all(namespace: str) -> None:
    deadline = time.monotonic() + DEATH_TIMEOUT_S
    while pids := {int(pid) for pid in _ip("netns", "pids", namespace).split()} - {os.getpid()}:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{pids} live on")
        time.sleep(0.01)


def _set_namespace(namespace: IO[bytes]) -> None:
    if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostsError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
