"""One replica of a stage as the entry service sees it: asked each second how it is, and sent jobs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal, get_args

import aiohttp
from opentelemetry import propagate
from pydantic import ValidationError

from entry.fleet.addresses import Address
from runners.frames import Frame, FrameError, Kind, read_frames
from runners.noted import request_id_header
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.handoff.identity import Identity
from sdxl.handoff.offer import Offer, Status
from sdxl.request.limits import Limits

CONNECT_TIMEOUT_S = 5.0
READY_TIMEOUT_S = 5.0
NOT_YET = "does not answer yet"
Reason = Literal["busy", "unavailable", "unreachable", "silent", "cut"]
REASONS: tuple[Reason, ...] = get_args(Reason)


class Lost(Exception):
    """A call that failed for a reason which lies with the replica, not with the job: another may do it."""

    def __init__(self, reason: Reason, what: str, *, had_begun: bool = False, retry_after_s: int | None = None) -> None:
        super().__init__(what)
        self.reason, self.had_begun, self.retry_after_s = reason, had_begun, retry_after_s


class Replica:
    """Where one runner is, what it last said of itself, and the work that it has from this entry."""

    def __init__(self, address: Address, session: aiohttp.ClientSession, settings: Settings) -> None:
        self.address = address
        self.status: Status | None = None  # while it is ready
        self.offer: Offer | None = None  # the last
        self.fault = "was not asked yet"  # while it is not
        self._has_answered = False
        self._session = session
        self._silence_s = settings.runner_silence_s
        self._tokens = deque(token.get_secret_value() for token in settings.runner_token)  # first, what it took last
        self._work: dict[object, tuple[str, float]] = {}  # model and work of each call, in the engines' unit
        self._usual_work = 1.0  # the last job's, for jobs that the runner has not told the work of yet
        self._done: set[str] = set()  # models of jobs that it has done since it last said which are there

    @property
    def may_be_loading(self) -> bool:
        """Whether it has never been there: a runner loads its model before it listens."""
        return self.fault.startswith(NOT_YET)

    @property
    def _headers(self) -> dict[str, str]:
        token = {"authorization": f"Bearer {self._tokens[0]}"} if self._tokens else {}
        return {"host": self.address.host, **token}

    def identity_for(self, model: str | None, loras: tuple[str, ...]) -> Identity | None:
        """What it is for such jobs; None if it cannot do them, or is not ready."""
        return self.offer.identity(model, loras) if self.status and self.offer else None

    def has(self, model: str | None) -> bool:
        """Whether the model is there, or is coming for another job."""
        assert self.status is not None
        wanted = self._name_of(model)
        return wanted in (*self.status.resident, *self._done) or any(
            wanted == other for other, _ in self._work.values()
        )

    def seconds_until(self, model: str | None) -> float:
        """How long until a job of this model can begin: the outstanding work, and a load unless it `has` the model."""
        assert self.status is not None
        work = sum(work for _, work in self._work.values())
        return work * self.status.seconds_per_work + (0.0 if self.has(model) else self.status.load_s)

    @property
    def calls(self) -> int:
        """Jobs of this entry that it is at work on."""
        return len(self._work)

    @property
    def room_bytes(self) -> int:
        """What is free for more models."""
        return self.status.room_bytes if self.status else 0

    def _name_of(self, model: str | None) -> str:
        return model or (self.offer.default if self.offer else "")

    async def ask(self) -> None:
        """Learns whether it is ready, and what it offers."""
        try:
            response, body = await self._exchange("GET", "/readyz")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            may_come = not self._has_answered and not isinstance(error, aiohttp.ClientSSLError)
            self.is_lost(f"{NOT_YET if may_come else 'cannot be reached'} ({_said(error)})")
            return
        self._has_answered = True
        if response.status != 200:
            self.is_lost(f"answers /readyz with {response.status}")
        elif body == b"{}":
            self._tokens.rotate()  # one of two sides may be ahead of the other while the token is changed
            self.is_lost("does not let this entry in: SDXL_RUNNER_TOKEN must be the same on both sides")
        else:
            await self._learn(body)

    async def renew(self) -> None:
        """Lets it look for models that have come or gone. Raises what `ask` keeps to itself."""
        _, body = await self._exchange("POST", "/renew")
        self.offer = Offer.model_validate_json(body)

    async def _learn(self, body: bytes) -> None:
        try:
            status = Status.model_validate_json(body)
            if self.offer is None or self.offer.digest != status.offer:
                self.offer = Offer.model_validate_json((await self._exchange("GET", "/offer"))[1])
        except ValidationError:
            self.is_lost("is no runner of this release: its /readyz or its /offer says something else")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self.is_lost(f"does not say what it offers ({_said(error)})")
        else:
            self.status, self.fault = status, ""
            self._done.clear()

    async def _exchange(self, method: str, path: str) -> tuple[aiohttp.ClientResponse, bytes]:
        async with self._session.request(
            method,
            f"{self.address.root}{path}",
            headers=self._headers,
            server_hostname=self.address.server_hostname,
            timeout=aiohttp.ClientTimeout(total=READY_TIMEOUT_S),
        ) as response:
            return response, await response.read()

    def is_lost(self, fault: str) -> None:
        """It is not ready, until it says that it is."""
        self.status, self.fault = None, fault

    async def call(
        self,
        endpoint: str,
        payload: bytes,
        limits: Limits,
        *,
        model: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        hear: Callable[[Frame], object] = lambda _: None,
    ) -> Frame:
        """Sends a job of this model and waits for its result; `hear` gets each frame.

        Leaving the call closes the socket, which cancels the job.

        Raises Lost, or the runner's own RelayError.
        """
        headers = {
            "content-type": "application/octet-stream",
            **headers,
            **limits.as_headers(),
            **request_id_header(),
            **self._headers,
        }
        propagate.inject(headers)
        had_begun = False
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._silence_s)
        url = f"{self.address.root}/{endpoint}"
        try:
            with self._working(self._name_of(model)) as job:
                async with self._session.post(
                    url,
                    data=payload,
                    headers=headers,
                    timeout=timeout,
                    server_hostname=self.address.server_hostname,
                ) as response:
                    if response.status != 200:
                        raise await _refusal(response)
                    async for frame in read_frames(response.content.iter_any()):
                        had_begun = True
                        self._hear(job, frame)
                        hear(frame)
                        if frame.kind is Kind.RESULT:
                            self._done.add(self._name_of(model))
                            return frame
                        if frame.kind is Kind.ERROR:
                            raise _ended(RelayError.from_frame(frame.meta))
        except aiohttp.SocketTimeoutError as error:
            raise Lost("silent", f"was silent for {self._silence_s:g} s", had_begun=had_begun) from error
        except (TimeoutError, aiohttp.ClientConnectorError) as error:
            raise Lost("unreachable", f"cannot be reached ({_said(error)})") from error
        except (aiohttp.ClientError, OSError, FrameError) as error:
            raise Lost("cut", f"was lost ({_said(error)})", had_begun=had_begun) from error
        raise Lost("cut", "ended its stream without a result", had_begun=had_begun)

    @contextmanager
    def _working(self, model: str) -> Iterator[object]:
        job = object()
        self._work[job] = model, self._usual_work
        try:
            yield job
        finally:
            del self._work[job]

    def _hear(self, job: object, frame: Frame) -> None:
        if "work" in frame.meta:
            self._work[job] = self._work[job][0], frame.meta["work"]
        if frame.kind is Kind.ACCEPTED:
            self._usual_work = self._work[job][1]


async def _refusal(response: aiohttp.ClientResponse) -> Exception:
    """What an answer other than a stream means."""
    try:
        said = await response.json()
        error = RelayError.from_frame({**said, "status": response.status})
    except (ValueError, KeyError, TypeError, aiohttp.ContentTypeError):
        return Lost("unavailable", f"answered with status {response.status}")
    error.retry_after_s = int(response.headers.get("retry-after", "0")) or None
    return _ended(error)


def _ended(error: RelayError) -> Exception:
    """An error that is the replica's own, as Lost."""
    if error.status == 429:
        return Lost("busy", f"answered: {error.message}", retry_after_s=error.retry_after_s)
    if error.status in (401, 403, 408, 503):  # 408: the way to it was cut off while the job was sent
        return Lost("unavailable", f"answered: {error.message}")
    return error


def _said(error: BaseException) -> str:
    """Of what kind the error is. Its own text would tell clients the replica's address."""
    if isinstance(error, TimeoutError):
        return f"nothing in {READY_TIMEOUT_S:g} s, as while it loads"
    number = None if isinstance(error, aiohttp.ClientSSLError) else getattr(error, "errno", None)
    return os.strerror(number) if number else type(error).__name__
