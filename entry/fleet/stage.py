"""A stage as the entry service sees it: its replicas, which of them gets a job, and what if that is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import aiohttp

from entry.fleet.addresses import UNIX, Address, kept_socket, resolve_all
from entry.fleet.metrics import CallMetrics
from entry.fleet.progress import Follower
from entry.fleet.replica import Lost, Replica
from runners.frames import Frame
from sdxl.config.settings import Settings
from sdxl.errors import LATE, RelayError, shorten
from sdxl.handoff.offer import Offer
from sdxl.request.limits import Limits

logger = logging.getLogger("bentoml.sdxl_relay")

LOOK_S, FIRST_LOOK_S = 1.0, 0.2  # the second, until a replica is ready for the first time
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 2.0
RETRY_AFTER_S = 5
ABOUT = 1.25  # how exactly it is known what a load takes: each replica tells what it has measured
MAX_LOSSES = 5  # of replicas at work on the same job: it may be the job that kills them


@dataclass(frozen=True)
class Team:
    """Who may do a job."""

    model: str | None
    """None: the default of whoever gets it."""
    members: Callable[[], list[Replica]]
    """Those replicas at present."""


class StageClient:
    """Sends jobs to the replicas of one stage."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.changed: Callable[[], object] = lambda: None
        """Called after each look at a replica; the `Fleet` sets it."""
        self._settings = settings
        self._addresses: dict[str, list[Address]] = {}
        self._replicas: dict[Address, Replica] = {}
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._folder: TemporaryDirectory[str] | None = None  # for the socket's second name

    def start(self, urls: Sequence[str], metrics: CallMetrics) -> None:
        """Begins to look for the replicas at these URLs, on the event loop that serves."""
        self._metrics = metrics
        # force_close: a kept connection would race with the server's closing it, and would pin the
        # client to one of several replicas.
        if urls[0].startswith(UNIX):
            self._folder = TemporaryDirectory(prefix="sdxl-relay-")
            path = kept_socket(urls[0].removeprefix(UNIX), self._folder.name)
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(path, limit=0, force_close=True)
        else:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector)
        self._looking = asyncio.create_task(self._look(urls, self._session))

    async def close(self) -> None:
        """Closes what is open; jobs in flight are cancelled."""
        for task in (self._looking, *self._tasks.values()):
            if task is not None:
                task.cancel()
        if self._session is not None:
            await self._session.close()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def replicas(self) -> list[Replica]:
        """All that are known at present."""
        return list(self._replicas.values())

    @property
    def ready(self) -> list[Replica]:
        """Those that take jobs."""
        return [replica for replica in self._replicas.values() if replica.status]

    @property
    def offers(self) -> list[Offer]:
        """What each has offered last, those first that are ready.

        The others count, too: a job for a model that only a lost replica has waits for it, as for a stage that is lost.
        """
        known = sorted(self._replicas.values(), key=lambda replica: replica.status is None)
        return [replica.offer for replica in known if replica.offer]

    @property
    def faults(self) -> Counter[str]:
        """What keeps replicas from being ready, and how many each."""
        return Counter(replica.fault for replica in self._replicas.values() if replica.fault)

    async def call(
        self, endpoint: str, payload: bytes, limits: Limits, follower: Follower, *, team: Team, is_patient: bool
    ) -> Frame:
        """Sends a job and waits for its result, by whichever replica of the team, for as long as its limits allow.

        `is_patient`: a job that has cost work already waits when all replicas are full, others get the 429.
        Raises RelayError: what the runner says; 404 if its model has been removed meanwhile; 429; 503 if no replica did
        the job in time.
        """
        lost: Lost | None = None
        losses = 0
        tried: dict[Replica, Lost] = {}  # in this round
        backoff_s = FIRST_BACKOFF_S
        while limits.remaining_s > 0 and losses < MAX_LOSSES:
            replica = _soonest(team, tried)
            if replica is None:
                self._check_offered(team.model)
                if not is_patient:
                    self._refuse_if_full(tried.values())
                await asyncio.sleep(min(backoff_s * random.uniform(0.5, 1.0), limits.remaining_s))
                backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
                tried.clear()
                continue
            try:
                return await self._call(replica, endpoint, payload, limits, follower, team.model)
            except Lost as error:
                lost = tried[replica] = error
                losses += error.had_begun
        if lost is None and team.members():
            raise LATE
        what = self._why_not() if lost is None else str(lost)
        raise RelayError(503, "runner_unavailable", f"the {self.name} runner {what}", retry_after_s=RETRY_AFTER_S)

    async def _call(
        self,
        replica: Replica,
        endpoint: str,
        payload: bytes,
        limits: Limits,
        follower: Follower,
        model: str | None,
    ) -> Frame:
        try:
            return await replica.call(
                endpoint,
                payload,
                limits,
                model=model,
                headers=follower.headers,
                hear=lambda frame: follower.hear(self.name, frame),
            )
        except Lost as lost:
            self._metrics.retried(self.name, lost.reason)
            if lost.reason != "busy":
                logger.warning("a job is taken from %s: it %s", self._label(replica), lost)
                replica.is_lost(str(lost))
            raise

    def _refuse_if_full(self, lost: Iterable[Lost]) -> None:
        full = [one for one in lost if one.reason == "busy"]
        if full:
            first = min(one.retry_after_s or RETRY_AFTER_S for one in full)
            raise RelayError(429, "queue_full", f"the {self.name} runner {full[0]}", retry_after_s=first)

    def _check_offered(self, model: str | None) -> None:
        if self.ready and not any(offer.model(model) for offer in self.offers):
            got = shorten(model)
            raise RelayError(404, "model_not_found", f"model: got {got}; it was removed", field="model", got=got)

    def _why_not(self) -> str:
        if not self._replicas:
            return "is not there: its name has no address"
        if self.ready:
            return "has no replica for this model and these LoRAs"
        return "; ".join(self.faults)

    def _label(self, replica: Replica) -> str:
        return f"the {self.name}" if self._folder else f"the {self.name} replica {replica.address.root}"

    async def _look(self, urls: Sequence[str], session: aiohttp.ClientSession) -> None:
        while True:
            self._addresses = await resolve_all(urls, self._addresses)
            self._know({address for found in self._addresses.values() for address in found}, session)
            await asyncio.sleep(LOOK_S)

    def _know(self, addresses: set[Address], session: aiohttp.ClientSession) -> None:
        for address in self._replicas.keys() - addresses:  # its calls under way go on
            self._tasks.pop(address).cancel()
            del self._replicas[address]
        for address in addresses - self._replicas.keys():
            replica = self._replicas[address] = Replica(address, session, self._settings)
            self._tasks[address] = asyncio.create_task(self._watch(replica))

    async def _watch(self, replica: Replica) -> None:
        while True:
            before = replica.fault
            await replica.ask()
            if replica.fault != before:
                logger.info("%s %s", self._label(replica), replica.fault or "is ready")
            self._metrics.ready(self.name, len(self.ready))
            self.changed()
            await asyncio.sleep(FIRST_LOOK_S if replica.may_be_loading else LOOK_S)


def _soonest(team: Team, tried: Collection[Replica]) -> Replica | None:
    """Who can begin first. If that means a load, who has the most room of those that could begin at about that time."""
    waiting = [replica for replica in team.members() if replica not in tried]

    def turn(replica: Replica) -> tuple[float, ...]:
        return replica.seconds_until(team.model), replica.calls, -replica.room_bytes, random.random()

    first = min(waiting, key=turn, default=None)
    if first is None or first.has(team.model):
        return first
    until_s = ABOUT * first.seconds_until(team.model)
    alike = [replica for replica in waiting if replica.seconds_until(team.model) <= until_s]
    return max(alike, key=lambda replica: (replica.has(team.model), replica.room_bytes, random.random()))
