"""The tests' own hosts do what the tests of several hosts rely on."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.service.hosts import NAMESPACES, PREFIX, Host, Network, remove_leftovers, why_not
from tests.service.server import ROOT

DELAY_S = 0.3


@pytest.fixture
def network() -> Iterator[Network]:
    if reason := why_not():
        pytest.skip(reason)
    with Network("here", "there") as network:
        yield network


@contextmanager
def through_proxy(host: Host) -> Iterator[tuple[socket.socket, socket.socket, subprocess.Popen[bytes]]]:
    """Both ends of a connection within a host through a proxy, and the proxy."""
    with ExitStack() as stack:
        stack.enter_context(host.inside())
        listening = stack.enter_context(socket.create_server((host.address, 0)))
        target = f"{host.address}:{listening.getsockname()[1]}"
        command = [sys.executable, "-m", "tests.service.delay_proxy", f"{host.address}:8000", target, str(DELAY_S)]
        proxy = subprocess.Popen(command, cwd=ROOT)
        stack.callback(proxy.wait)
        stack.callback(proxy.kill)
        client = stack.enter_context(connected(host.address))
        server = stack.enter_context(listening.accept()[0])
        server.settimeout(10)
        yield client, server, proxy


def connected(address: str) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection((address, 8000), timeout=10)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise TimeoutError


def test_a_host_that_is_cut_off_hears_nothing_and_a_killed_one_resets(network: Network) -> None:
    here, there = network["here"], network["there"]
    with there.inside():
        listening = socket.create_server((there.address, 8000))
        echo = subprocess.Popen(
            [sys.executable, "-c", "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])).accept()[0]\n"
             "while data := s.recv(100): s.sendall(data)", str(listening.fileno())],
            pass_fds=[listening.fileno()],
        )  # fmt: skip
        listening.close()
    with here.inside(), socket.create_connection((there.address, 8000), timeout=10) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        there.cut_off()
        client.sendall(b"two")
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.recv(100)
        there.reconnect()
        client.settimeout(30)
        assert client.recv(100) == b"two"
        sent, received = here.counter("tx_bytes"), there.counter("rx_bytes")
        client.sendall(b"x" * 99)
        assert client.recv(100) == b"x" * 99
        assert 99 + 14 + 20 + 32 <= here.counter("tx_bytes") - sent < 400
        assert there.counter("rx_bytes") - received >= 99 + 14 + 20 + 32
        there.kill()
        assert client.recv(100) == b""
        echo.wait()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((there.address, 8000), timeout=10)


def test_hosts_of_a_killed_test_are_removed_with_all_that_runs_there(network: Network) -> None:
    started = subprocess.run(
        [sys.executable, "-c", "import os, subprocess, sys; from tests.service.hosts import Network\n"
         "with Network('lost') as network, network['lost'].inside():\n"
         "    print(subprocess.Popen(['sleep', '1000'], stdout=subprocess.DEVNULL).pid, flush=True)\n"
         "    os.kill(os.getpid(), 9)"],
        stdout=subprocess.PIPE, cwd=ROOT, check=False,
    )  # fmt: skip
    sleeper = int(started.stdout)
    assert list(NAMESPACES.glob(f"{PREFIX}-*-lost"))
    os.kill(sleeper, 0)
    remove_leftovers()
    assert not list(NAMESPACES.glob(f"{PREFIX}-*-lost"))
    deadline = time.monotonic() + 10
    while is_running(sleeper):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with network["here"].inside():
        pass  # this test's own are still there


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_proxy_passes_on_everything_and_late_if_told_to(network: Network) -> None:
    with through_proxy(network["here"]) as (client, server, proxy):
        data = os.urandom(3_000_000)
        client.sendall(data[:1000])
        assert server.recv(1001) == data[:1000]
        proxy.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
        begun = time.monotonic()
        client.sendall(b"not late")
        assert server.recv(100) == b"not late"
        assert time.monotonic() - begun < DELAY_S / 2
        begun = time.monotonic()
        server.sendall(b"late")
        assert client.recv(100) == b"late"
        assert DELAY_S <= time.monotonic() - begun < 2 * DELAY_S
        proxy.send_signal(signal.SIGUSR2)
        time.sleep(0.1)
        client.shutdown(socket.SHUT_WR)
        assert server.recv(100) == b""
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(server.sendall, data)
            received = bytearray()
            while len(received) < len(data):
                received += client.recv(1_000_000)
            sending.result()
        assert received == data
        server.close()
        assert client.recv(100) == b""


@pytest.mark.parametrize("who", ["client", "server"])
def test_the_proxy_passes_on_a_reset(network: Network, who: str) -> None:
    with through_proxy(network["here"]) as (client, server, _):
        resets, notices = (client, server) if who == "client" else (server, client)
        client.sendall(b"hello")
        server.recv(100)
        resets.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        resets.close()
        with pytest.raises(ConnectionResetError):
            notices.recv(100)
