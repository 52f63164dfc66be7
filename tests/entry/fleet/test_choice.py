"""Which replica gets a job of which model: where it can begin first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from entry.fleet import stage as stages
from entry.fleet.names import model_named
from entry.fleet.stage import StageClient
from runners.frames import Frame
from sdxl.errors import RelayError
from sdxl.handoff.offer import Offer
from tests.entry.fleet.false_runner import IDENTITY, FalseRunner, listening, offer_of
from tests.entry.fleet.test_stage import call, client

OTHER = IDENTITY.model_copy(update={"checkpoint": "o" * 64})
BOTH = offer_of(IDENTITY, OTHER, names=("sdxl", "other"))
A_MOMENT_S = 0.3  # in which jobs come to their replicas, and statuses to the entry


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "FIRST_LOOK_S", "FIRST_BACKOFF_S", "LAST_BACKOFF_S"):
        monkeypatch.setattr(stages, name, getattr(stages, name) / 10)


def runner(*resident: str, offer: Offer = BOTH, work: float = 1.0, load_s: float = 10.0, room: int = 0) -> FalseRunner:
    """One that holds its jobs until it may end them; a unit of work takes it a second."""
    made = FalseRunner("done", work=work)
    made.offer, made.resident, made.load_s, made.room_bytes = offer, resident, load_s, room
    made.may_end.clear()
    return made


@dataclass
class Sent:
    """A stage with its runners, and the jobs that a test sends there."""

    stage: StageClient
    runners: Sequence[FalseRunner]
    jobs: list[asyncio.Task[Frame]] = field(default_factory=list)

    async def job(self, model: str | None = "other") -> int:
        """Begins one; the index of the runner that got it."""
        before = [each.calls for each in self.runners]
        self.jobs.append(asyncio.create_task(call(self.stage, model=model)))
        await asyncio.sleep(A_MOMENT_S)
        (got,) = [index for index, each in enumerate(self.runners) if each.calls > before[index]]
        return got


@asynccontextmanager
async def to(*runners: FalseRunner) -> AsyncIterator[Sent]:
    """Lets all jobs end with the test."""
    async with listening(*runners) as urls, client(urls) as stage:
        for _ in range(400):  # 20 s, on a machine that has other work
            if len(stage.ready) == len(runners):
                break
            await asyncio.sleep(0.05)
        sent = Sent(stage, runners)
        yield sent
        for each in runners:
            each.may_end.set()
        await asyncio.gather(*sent.jobs)


def test_who_has_the_model_gets_its_jobs_until_they_would_wait_for_longer_than_a_load() -> None:
    async def main() -> None:
        there, empty = runner("sdxl", "other", work=5.0), runner("sdxl", work=5.0, room=10**9)
        async with to(there, empty) as sent:
            # 0, 5 and 10 s of work, against a load of about 10 s; then 15 s.
            assert [await sent.job() for _ in range(4)] == [0, 0, 0, 1]
            assert await sent.job(None) == 1, "5 s and no load, against 15 s"

    asyncio.run(main())


def test_a_burst_for_a_model_that_is_nowhere_loads_it_once_until_a_second_load_would_be_sooner() -> None:
    async def main() -> None:
        runners = [runner("sdxl", work=4.0) for _ in range(3)]
        async with to(*runners) as sent:
            sent.jobs += [asyncio.create_task(call(sent.stage, model="other")) for _ in range(8)]  # at the same time
            await asyncio.sleep(A_MOMENT_S)
            assert sorted(each.calls for each in runners) == [0, 0, 8], "their work is not known yet"
            first = next(index for index, each in enumerate(runners) if each.calls)
            assert await sent.job() != first, "32 s of work, against a load"

    asyncio.run(main())


def test_the_most_room_gets_a_model_that_is_nowhere_and_later_jobs_follow() -> None:
    async def main() -> None:
        # A load takes about as long on each: what they have measured differs by chance.
        full, roomy = runner("sdxl", load_s=10.0), runner("sdxl", load_s=11.0, room=10**9)
        async with to(full, roomy) as sent:
            assert await sent.job() == 1
            full.room_bytes, roomy.room_bytes = 10**9, 0
            await asyncio.sleep(A_MOMENT_S)
            assert await sent.job() == 1
            assert await sent.job("sdxl") == 0

    asyncio.run(main())


def test_much_room_does_not_make_up_for_much_work() -> None:
    async def main() -> None:
        full, roomy = runner("sdxl"), runner("sdxl", work=5.0, room=10**9)
        async with to(full, roomy) as sent:
            sent.jobs.append(asyncio.create_task(call(sent.stage, model="other")))
            await asyncio.sleep(A_MOMENT_S)
            assert roomy.calls == 1
            third = offer_of(IDENTITY, OTHER, OTHER, names=("sdxl", "other", "third"))
            full.offer = roomy.offer = third
            await asyncio.sleep(A_MOMENT_S)
            assert await sent.job("third") == 0, "10 s, against 15 s"

    asyncio.run(main())


def test_a_model_is_known_to_be_where_it_has_just_been_used() -> None:
    """The next status may be a second away, which is longer than a short job."""

    async def main() -> None:
        full, roomy = runner("sdxl", room=1), runner("sdxl", room=10**9)
        async with to(full, roomy) as sent:
            for replica in sent.stage.replicas:
                sent.stage._tasks[replica.address].cancel()  # no further status
            full.may_end.set()
            roomy.may_end.set()
            await call(sent.stage, model="other")
            assert (full.calls, roomy.calls) == (0, 1)
            full.room_bytes = 10**10
            await sent.stage.replicas[0].ask()
            await call(sent.stage, model="other")
            assert (full.calls, roomy.calls) == (0, 2)

    asyncio.run(main())


def test_a_replica_that_lacks_the_model_never_gets_its_jobs() -> None:
    async def main() -> None:
        lacks, has = runner("sdxl", offer=offer_of(IDENTITY), room=10**9), runner("sdxl", work=100.0)
        async with to(lacks, has) as sent:
            assert [await sent.job() for _ in range(3)] == [1, 1, 1]
            assert await sent.job(None) == 0

    asyncio.run(main())


def test_a_model_that_is_removed_while_a_job_waits_is_a_404() -> None:
    async def main() -> None:
        full = FalseRunner("full")
        full.offer = BOTH
        async with to(full) as sent:
            waits = asyncio.create_task(call(sent.stage, model="other", is_patient=True))
            await asyncio.sleep(A_MOMENT_S)
            assert not waits.done()
            full.offer = offer_of(IDENTITY)
            with pytest.raises(RelayError, match=r"^model: got .*other.*; it was removed$") as removed:
                await asyncio.wait_for(waits, 10)
            assert (removed.value.status, removed.value.code) == (404, "model_not_found")

    asyncio.run(main())


def test_a_model_that_only_a_lost_replica_has_is_waited_for() -> None:
    async def main() -> None:
        lost, other = runner("other"), runner("sdxl", offer=offer_of(IDENTITY))
        lost.may_end.set()
        async with to(lost, other) as sent:
            lost.tokens = ("another than the entry's",)
            await asyncio.sleep(A_MOMENT_S)
            assert len(sent.stage.ready) == 1
            assert model_named("other", sent.stage.offers)
            waits = asyncio.create_task(call(sent.stage, model="other"))
            await asyncio.sleep(A_MOMENT_S)
            assert not waits.done()
            lost.tokens = ()
            await asyncio.wait_for(waits, 10)
            assert (lost.calls, other.calls) == (1, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "fault"), [("[]", "is no runner of this release"), (None, "does not say what it offers")]
)
def test_a_replica_that_does_not_say_what_it_offers_gets_no_jobs(
    answer: str | None, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        bad, good = runner("sdxl"), runner("sdxl")
        good.may_end.set()
        async with to(bad, good) as sent:
            bad.says_offer = answer
            bad.offer = offer_of(OTHER)
            await asyncio.sleep(A_MOMENT_S)
            assert [fault in each for each in sent.stage.faults] == [True]
            await asyncio.gather(*(call(sent.stage) for _ in range(3)))
            assert (bad.calls, good.calls) == (0, 3)
            bad.says_offer = ""
            await asyncio.sleep(A_MOMENT_S)
            assert len(sent.stage.ready) == 2

    monkeypatch.setattr("entry.fleet.replica.READY_TIMEOUT_S", 0.2)
    asyncio.run(main())


def test_offers_are_asked_for_only_when_they_have_changed() -> None:
    async def main() -> None:
        only = runner("sdxl")
        async with to(only) as sent:
            await asyncio.sleep(A_MOMENT_S)
            assert only.offers_told == 1
            only.offer = offer_of(IDENTITY)
            await asyncio.sleep(A_MOMENT_S)
            assert only.offers_told == 2
            assert [offer.models[-1].name for offer in sent.stage.offers] == ["sdxl"]

    asyncio.run(main())
