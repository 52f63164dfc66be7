"""A token is changed without a gap: for a while, each side knows two."""

from __future__ import annotations

import asyncio

import pytest

from entry.fleet import stage as stages
from entry.fleet.stage import StageClient
from runners.noted import NOTED, Noted
from sdxl.config.settings import Settings
from tests.entry.fleet.false_runner import FalseRunner, call_metrics, listening
from tests.entry.fleet.test_stage import call

OLD, NEW = "the old token of the runners", "the new token of the runners"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "FIRST_LOOK_S", "FIRST_BACKOFF_S", "LAST_BACKOFF_S"):
        monkeypatch.setattr(stages, name, getattr(stages, name) / 10)


def stage_with(*tokens: str) -> StageClient:
    return StageClient("base", Settings.from_environment({"SDXL_RUNNER_TOKEN": ",".join(tokens)}))


@pytest.mark.parametrize("entry", [(OLD, NEW), (NEW, OLD)], ids=["the old one first", "the new one first"])
def test_runners_are_restarted_one_by_one_while_jobs_come(entry: tuple[str, str]) -> None:
    """The order of the steps is any: `rollout restart` of all three lets pods of old and new settings meet."""

    async def main() -> None:
        first, second = FalseRunner("done", tokens=[OLD]), FalseRunner("done", tokens=[OLD])
        stage = stage_with(*entry)
        async with listening(first, second) as urls:
            stage.start(urls, call_metrics())
            try:
                for steps in (([OLD], [OLD]), ([OLD, NEW], [OLD]), ([NEW], [OLD, NEW]), ([NEW], [NEW])):
                    first.tokens, second.tokens = steps
                    for _ in range(4):
                        assert (await call(stage, within_s=5)).body == b"a job"
                await asyncio.sleep(0.5)
                assert len(stage.ready) == 2
            finally:
                await stage.close()

    asyncio.run(main())


def test_an_entry_without_the_right_one_is_not_let_in() -> None:
    async def main() -> None:
        runner = FalseRunner("done", tokens=[NEW])
        stage = stage_with(OLD, "a third token which is wrong too")
        async with listening(runner) as urls:
            stage.start(urls, call_metrics())
            try:
                await asyncio.sleep(0.6)
                assert not stage.ready
                assert "SDXL_RUNNER_TOKEN" in next(iter(stage.faults))
                assert runner.calls == 0
            finally:
                await stage.close()

    asyncio.run(main())


def test_a_runner_is_told_which_request_it_works_for() -> None:
    async def main() -> None:
        runner = FalseRunner("done")
        stage = stage_with(OLD)
        async with listening(runner) as urls:
            stage.start(urls, call_metrics())
            try:
                NOTED.set(Noted(request_id="my-request"))
                await call(stage)
                assert runner.headers[0]["x-request-id"] == "my-request"
            finally:
                await stage.close()

    asyncio.run(main())
