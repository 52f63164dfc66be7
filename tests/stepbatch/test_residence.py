"""Which models come, which make room, and that jobs wait for no other's load."""

from collections.abc import Sequence
from typing import Any

import pytest

from stepbatch.errors import ModelTooLarge
from stepbatch.job import Job, Need
from stepbatch.residence import Residence
from tests.stepbatch.fakes import make_job
from tests.stepbatch.loads import FalseLoader


def job_of(model: str, *extras: str, **options: Any) -> Job[Any]:
    return make_job(needs=(Need(model), *(Need(model, extra) for extra in extras)), **options)


class Rounds:
    """Asks a residence as the engine does."""

    def __init__(self, loader: FalseLoader, budget: int = 2, there: Sequence[str] = ()) -> None:
        self.loader = loader
        self.residence = Residence(loader, budget, wake=lambda: None)
        for model in there:
            self.residence.put(Need(model), loader.loaded(Need(model)))

    def round(self, *jobs: Job[Any]) -> list[bool]:
        """Whether each job's needs are there."""
        self.residence.collect()
        ready = [self.residence.unet(job) is not None for job in jobs]
        if not all(ready):
            self.residence.plan(jobs)
        return ready


def names(needs: Sequence[Need]) -> list[str]:
    return [str(need.extra or need.model) for need in needs]


def test_a_model_comes_when_a_job_needs_it_and_only_once() -> None:
    rounds = Rounds(FalseLoader())
    first, second = job_of("a"), job_of("a")
    assert rounds.round(first, second) == [False, False]
    assert rounds.round(first, second) == [False, False]
    assert names(rounds.loader.begun) == ["a"]
    rounds.loader.end()
    assert rounds.round(first, second) == [True, True]
    assert rounds.residence.unet(first) is rounds.loader.unets["a"]


def test_one_model_comes_at_a_time_that_of_the_first_job_first() -> None:
    rounds = Rounds(FalseLoader(), budget=3)
    jobs = [job_of("b"), job_of("a"), job_of("c")]
    for loaded in ("b", "a", "c"):
        rounds.round(*jobs)
        assert names(list(rounds.loader.under_way)) == [loaded]
        rounds.loader.end()
    assert rounds.round(*jobs) == [True, True, True]


def test_the_least_recently_used_makes_room() -> None:
    rounds = Rounds(FalseLoader(), there=("a", "b"))
    rounds.round(job_of("a"))
    rounds.round(job_of("c"))
    assert names(rounds.loader.left) == ["b"]
    rounds.loader.end()
    rounds.round()
    assert sorted(names(rounds.residence.there)) == ["a", "c"]


def test_what_is_let_go_makes_room_first() -> None:
    rounds = Rounds(FalseLoader(), there=("a", "b"))
    rounds.residence.let_go("b")
    rounds.round(job_of("c"))
    assert names(rounds.loader.left) == ["b"]


def test_a_job_that_is_due_first_keeps_its_model() -> None:
    """The last in turn gives way, even though it was used last."""
    rounds = Rounds(FalseLoader(), there=("a", "b"))
    first, late = job_of("a"), job_of("b")
    rounds.round(first)
    rounds.round(late)
    rounds.round(first, job_of("c"), late)
    assert names(rounds.loader.left) == ["b"]
    rounds.loader.end()
    assert rounds.round(first, job_of("c"), late) == [True, True, False]


def test_nothing_goes_for_a_job_that_is_due_later() -> None:
    rounds = Rounds(FalseLoader(), there=("a", "b"))
    jobs = [job_of("a"), job_of("b"), job_of("c")]
    for _ in range(3):
        assert rounds.round(*jobs) == [True, True, False]
    assert rounds.loader.left == rounds.loader.begun == []


def test_what_is_pinned_stays() -> None:
    rounds = Rounds(FalseLoader(pinned=frozenset({"a"})), there=("a", "b"))
    rounds.round(job_of("c"))
    assert names(rounds.loader.left) == ["b"]


def test_no_more_goes_than_is_needed() -> None:
    loader = FalseLoader(sizes={"a": 3, "b": 2, "c": 2, "big": 5})
    rounds = Rounds(loader, budget=9, there=("a", "b", "c"))
    rounds.round(job_of("big"))
    assert names(loader.left) == ["a"]
    assert rounds.residence.room_bytes == 5


def test_what_models_have_in_common_counts_once_and_as_long_as_one_has_it() -> None:
    loader = FalseLoader(common={"a": ["vae"], "b": ["vae"], "c": []})
    rounds = Rounds(loader, budget=3, there=("a", "b"))
    assert rounds.residence.used_bytes == 3
    rounds.round(job_of("c"))
    assert names(loader.left) == ["a"]
    assert rounds.residence.used_bytes == 2


def test_what_never_fits_fails_its_jobs_and_nobody_elses() -> None:
    loader = FalseLoader(sizes={"big": 5}, pinned=frozenset({"a"}))
    rounds = Rounds(loader, budget=5, there=("a", "b"))
    big = job_of("big")
    rounds.round(big)
    rounds.residence.collect()
    with pytest.raises(ModelTooLarge, match=r"it takes 0\.00 GB"):
        rounds.residence.unet(big)
    assert loader.left == []


def test_a_load_that_fails_fails_those_who_wait_and_is_tried_again_for_the_next() -> None:
    rounds = Rounds(FalseLoader())
    first = job_of("a")
    rounds.round(first)
    rounds.loader.end(error=OSError("no such file"))
    rounds.residence.collect()
    with pytest.raises(OSError, match="no such file"):
        rounds.residence.unet(first)
    later = job_of("a")
    assert rounds.round(later) == [False]
    rounds.loader.end()
    assert rounds.round(later) == [True]
    assert names(rounds.loader.begun) == ["a", "a"]


def test_a_failure_that_nobody_waited_for_is_not_the_next_jobs() -> None:
    rounds = Rounds(FalseLoader())
    rounds.round(job_of("a"))
    rounds.loader.end(error=OSError("no such file"))
    rounds.round()
    assert rounds.round(job_of("a")) == [False]


def test_extras_come_after_their_model_and_go_with_it() -> None:
    rounds = Rounds(FalseLoader(), budget=3)
    job = job_of("a", "x", "y")
    for loaded in ("a", "x", "y"):
        assert rounds.round(job) == [False]
        assert names(list(rounds.loader.under_way)) == [loaded]
        rounds.loader.end()
    assert rounds.round(job) == [True]
    assert rounds.round(job_of("b")) == [False]
    assert names(rounds.loader.left) in (["x"], ["y"]), "an extra makes room alone"
    rounds.loader.end()
    rounds.round(job_of("b", "z"), job_of("c"))
    assert rounds.residence.used_bytes <= 3


def test_a_model_goes_with_all_its_extras() -> None:
    loader = FalseLoader(sizes={"b": 3})
    rounds = Rounds(loader, budget=3, there=("a",))
    for extra in ("x", "y"):
        rounds.residence.put(Need("a", extra), loader.loaded(Need("a", extra)))
    rounds.round(job_of("b"))
    assert sorted(names(loader.left)) == ["a", "x", "y"]


def test_it_tells_of_what_comes_and_goes_when_it_is_so() -> None:
    rounds = Rounds(FalseLoader(), budget=1, there=("a",))
    told: list[list[str]] = []
    rounds.residence.when_changed = lambda: told.append(names(rounds.residence.there))
    rounds.round(job_of("b"))
    rounds.loader.end()
    rounds.round(job_of("b"))
    assert told == [[], ["b"]]


def test_an_extra_whose_model_has_gone_meanwhile_is_dropped() -> None:
    rounds = Rounds(FalseLoader(sizes={"b": 2}), budget=2, there=("a",))
    rounds.round(job_of("a", "x"))
    b = job_of("b")
    rounds.round(b)  # waits for the room that x is to take
    rounds.loader.end()
    rounds.round(b)
    rounds.loader.end()
    assert rounds.round(b) == [True]
    assert names(rounds.residence.there) == ["b"]
