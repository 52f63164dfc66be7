"""A TCP proxy that passes everything on late, if told to: `python -m tests.service.delay_proxy FROM TO SECONDS`.

FROM and TO are HOST:PORT. SIGUSR1 delays what TO sends by SECONDS, on open connections, too, as a delay on that host's
interface would; SIGUSR2 ends that. Half-closed connections stay half-closed, and a reset arrives as a reset.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import sys
from collections.abc import Callable

CHUNK_BYTES = 65_536
CHUNKS_UNDERWAY = 256
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class DelayProxy:
    """Takes connections at `listening`, and connects each to `target`."""

    def __init__(self, listening: socket.socket, target: tuple[str, int]) -> None:
        self.delay_s = 0.0
        self._listening, self._target = listening, target
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listening)
            connection = asyncio.create_task(self._connect(client))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    async def _connect(self, client: socket.socket) -> None:
        server = socket.socket()
        server.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(server, self._target)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(client, server, lambda: 0.0))
                both.create_task(_pass_on(server, client, lambda: self.delay_s))
        except* OSError:  # refused, reset or timed out: the other end learns of it
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        finally:
            client.close()
            server.close()


async def _pass_on(source: socket.socket, sink: socket.socket, delay_s: Callable[[], float]) -> None:
    """Until the source's end. Raises OSError for a reset, as late as what came before it."""
    loop = asyncio.get_running_loop()
    underway: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(CHUNKS_UNDERWAY)

    async def receive() -> None:
        received: bytes | OSError = b"anything"
        while received and not isinstance(received, OSError):
            try:
                received = await loop.sock_recv(source, CHUNK_BYTES)
            except OSError as error:
                received = error
            await underway.put((loop.time() + delay_s(), received))

    async def send() -> None:
        while True:
            due, received = await underway.get()
            await asyncio.sleep(due - loop.time())
            if isinstance(received, OSError):
                raise received
            if not received:
                sink.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(sink, received)

    async with asyncio.TaskGroup() as both:
        both.create_task(receive())
        both.create_task(send())


async def main(listen: str, target: str, seconds: str) -> None:
    with socket.create_server(_address(listen), backlog=1024) as listening:
        listening.setblocking(False)
        proxy = DelayProxy(listening, _address(target))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, setattr, proxy, "delay_s", float(seconds))
        loop.add_signal_handler(signal.SIGUSR2, setattr, proxy, "delay_s", 0.0)
        await proxy.run()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
