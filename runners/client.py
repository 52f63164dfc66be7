"""The entry service's side of a call to a runner."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
from opentelemetry import propagate

from runners.frames import Frame, FrameError, Kind, read_frames
from sdxl.errors import RelayError
from sdxl.limits import Limits

RETRY_AFTER_S = 2
CONNECT_TIMEOUT_S = 5


class RunnerClient:
    """Calls one runner, over a UNIX or a TCP socket of its own for each job.

    BentoML's own proxy pickles, merges the chunks of streams, and does not pass on that a client has gone;
    it is only asked for the runner's address.
    """

    def __init__(self, stage: str, find_url: Callable[[], str]) -> None:
        self._stage, self._find_url = stage, find_url
        self._session: aiohttp.ClientSession | None = None
        self._root = ""

    async def call(self, endpoint: str, payload: bytes, limits: Limits) -> Frame:
        """Sends a job and waits for its result. Leaving the call closes the socket, which cancels the job.

        Raises RelayError: what the runner says, or 503 if it cannot be reached or was lost.
        """
        headers = {"content-type": "application/octet-stream", **limits.as_headers()}
        propagate.inject(headers)
        try:
            session = self._connected()
            async with session.post(f"{self._root}/{endpoint}", data=payload, headers=headers) as response:
                if response.status != 200:
                    raise self._unavailable(f"answered with status {response.status}")
                async for frame in read_frames(response.content.iter_any()):
                    if frame.kind is Kind.RESULT:
                        return frame
                    if frame.kind is Kind.ERROR:
                        raise RelayError.from_frame(frame.meta)
        except (TimeoutError, aiohttp.ClientError, OSError, FrameError) as error:
            raise self._unavailable(f"cannot be reached or was lost ({type(error).__name__})") from error
        raise self._unavailable("was lost: its stream ended without a result")

    async def close(self) -> None:
        """Closes what is open; jobs in flight are cancelled."""
        if self._session is not None:
            await self._session.close()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            url = self._find_url()
            connector: aiohttp.BaseConnector
            # force_close: a kept connection would race with the server's closing it, and would pin the
            # client to one of several replicas.
            if url.startswith("file://"):
                connector = aiohttp.UnixConnector(url.removeprefix("file://"), limit=0, force_close=True)
                self._root = "http://runner"
            else:
                connector = aiohttp.TCPConnector(limit=0, force_close=True)
                self._root = url.rstrip("/")
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session

    def _unavailable(self, what: str) -> RelayError:
        return RelayError(
            503,
            "runner_unavailable",
            f"the {self._stage} runner {what}; try again",
            retry_after_s=RETRY_AFTER_S,
        )
