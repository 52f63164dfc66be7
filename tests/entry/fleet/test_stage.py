"""Which replica gets a job, and what becomes of it when that one fails."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from entry.fleet import stage as stages
from entry.fleet.progress import Follower
from entry.fleet.stage import MAX_LOSSES, StageClient
from runners.frames import Frame
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.request.limits import Limits
from tests.entry.fleet.false_runner import IDENTITY, Behaviour, FalseRunner, call_metrics, listening, whoever

TOKEN = {"SDXL_RUNNER_TOKEN": "a token of the tests"}
SETTINGS = Settings.from_environment(TOKEN)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at replicas and tries again ten times as often as a server does."""
    for name in ("LOOK_S", "FIRST_LOOK_S", "FIRST_BACKOFF_S", "LAST_BACKOFF_S"):
        monkeypatch.setattr(stages, name, getattr(stages, name) / 10)


@asynccontextmanager
async def client(urls: list[str], silence_s: float = 3.0) -> AsyncIterator[StageClient]:
    """A client that has found out which replicas are ready, as far as that is quick."""
    stage = StageClient("base", SETTINGS.model_copy(update={"runner_silence_s": silence_s}))
    stage.start(urls, call_metrics())
    try:
        await asyncio.sleep(0.2)
        yield stage
    finally:
        await stage.close()


def call(
    stage: StageClient, *, within_s: float = 20.0, is_patient: bool = False, model: str | None = None
) -> Coroutine[Any, Any, Frame]:
    limits = Limits(deadline=time.monotonic() + within_s)
    return stage.call("run", b"a job", limits, Follower(), team=whoever(stage, model), is_patient=is_patient)


@pytest.mark.parametrize("fault", ["full", "stopping", "silent", "cut", "no end", "hangs before", "slow"])
def test_another_replica_does_it(fault: Behaviour) -> None:
    async def main() -> None:
        bad, good = FalseRunner(fault), FalseRunner("done")
        good.work = 1e9
        async with listening(bad, good) as urls, client(urls, silence_s=1.0) as stage:
            good.may_end.clear()
            busy = asyncio.create_task(call(stage))  # so that the other is the less busy one
            while not bad.calls:
                second = asyncio.create_task(call(stage))
                await asyncio.sleep(0.3)
            good.may_end.set()
            assert (await busy).body == (await second).body == b"a job"

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["stopping", "silent", "cut", "no end"])
def test_the_same_replica_does_it_once_it_can(fault: Behaviour) -> None:
    async def main() -> None:
        only = FalseRunner(fault, "done")
        async with listening(only) as urls, client(urls, silence_s=0.5) as stage:
            assert (await call(stage)).body == b"a job"
            assert only.calls == 2

    asyncio.run(main())


def test_a_full_stage_is_a_429_at_once_unless_the_job_has_cost_work() -> None:
    async def main() -> None:
        first, second = FalseRunner("full", "full", "done"), FalseRunner("full")
        async with listening(first, second) as urls, client(urls) as stage:
            with pytest.raises(RelayError, match="queue_full") as refused:
                await call(stage)
            assert (refused.value.status, refused.value.retry_after_s) == (429, 7)
            assert (await call(stage, is_patient=True)).body == b"a job"

    asyncio.run(main())


def test_a_runners_own_answer_is_final() -> None:
    async def main() -> None:
        first, second = FalseRunner("bad request"), FalseRunner("bad request")
        async with listening(first, second) as urls, client(urls) as stage:
            with pytest.raises(RelayError) as refused:
                await call(stage)
            assert refused.value.status == 400
            assert first.calls + second.calls == 1

    asyncio.run(main())


def test_a_job_that_is_always_lost_does_not_go_on_for_ever() -> None:
    async def main() -> None:
        deadly = FalseRunner("cut")
        async with listening(deadly) as urls, client(urls) as stage:
            with pytest.raises(RelayError) as lost:
                await call(stage, within_s=60)
            assert (lost.value.status, deadly.calls) == (503, MAX_LOSSES)
            assert lost.value.retry_after_s

    asyncio.run(main())


def test_no_replica_within_the_time_limit() -> None:
    async def main() -> None:
        async with client(["http://127.0.0.9:1"]) as stage:
            begun_s = time.monotonic()
            with pytest.raises(RelayError, match="does not answer yet") as lost:
                await call(stage, within_s=1)
            assert (lost.value.status, lost.value.code) == (503, "runner_unavailable")
            assert time.monotonic() - begun_s < 3

    asyncio.run(main())


def test_the_least_busy_replica_gets_the_job_whatever_the_number_of_its_jobs() -> None:
    async def main() -> None:
        runners = [FalseRunner("done") for _ in range(3)]
        for each in runners:
            each.may_end.clear()
        async with listening(*runners) as urls, client(urls) as stage:
            tasks = [asyncio.create_task(call(stage)) for _ in range(3)]
            await asyncio.sleep(0.3)
            assert [each.calls for each in runners] == [1, 1, 1]
            runners[1].work = 5.0  # what the next of its jobs will ask for
            tasks.append(asyncio.create_task(call(stage)))
            await asyncio.sleep(0.3)
            heavy = next(index for index, each in enumerate(runners) if each.calls == 2)
            tasks += [asyncio.create_task(call(stage)) for _ in range(2)]
            await asyncio.sleep(0.3)
            assert runners[heavy].calls == 2
            for each in runners:
                each.may_end.set()
            assert len(await asyncio.gather(*tasks)) == 6

    asyncio.run(main())


def test_what_a_runner_is_told() -> None:
    async def main() -> None:
        runner = FalseRunner("done")
        async with listening(runner) as urls, client(urls) as stage:
            await call(stage)
            (headers,) = runner.headers
            assert headers["authorization"] == "Bearer a token of the tests"
            assert headers["host"] == urls[0].removeprefix("http://")
            assert 19 < float(headers["x-timeout-s"]) <= 20

    asyncio.run(main())


def test_replicas_that_disagree_get_no_jobs() -> None:
    async def main() -> None:
        other = FalseRunner("done", identity=IDENTITY.model_copy(update={"checkpoint": "d" * 64}))
        right = FalseRunner("done")
        async with listening(other, right) as urls, client(urls) as stage:
            await asyncio.gather(*(call(stage) for _ in range(10)))
            assert (other.calls, right.calls) == (0, 10)

    asyncio.run(main())


def test_a_name_with_several_addresses_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a headless Service of Kubernetes changes while replicas come and go."""
    known: list[str] = []

    async def main() -> None:
        runners = [FalseRunner("done") for _ in range(2)]
        async with listening(*runners) as urls:
            port = urls[0].rpartition(":")[2]

            async def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
                assert host == "runners.test"
                if not known:
                    raise socket.gaierror("no such name at present")
                return [(0, 0, 0, "", (address, port)) for address in known]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            async with client([f"http://runners.test:{port}"]) as stage:
                assert not stage.replicas
                known[:] = ["127.0.0.2"]
                await call(stage)
                known[:] = ["127.0.0.2", "127.0.0.3"]
                await asyncio.sleep(0.3)
                assert len(stage.ready) == 2
                known[:] = []  # a name server that is away changes nothing
                await asyncio.sleep(0.3)
                assert len(stage.ready) == 2
                known[:] = ["127.0.0.3"]
                await asyncio.sleep(0.3)
                await asyncio.gather(*(call(stage) for _ in range(4)))
                assert [each.calls for each in runners] == [1, 4]
                assert runners[0].headers[0]["host"] == f"runners.test:{port}"

    asyncio.run(main())
