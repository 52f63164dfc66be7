from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stepbatch.job import Job, Phase
from stepbatch.policy import FirstComeFirstServed
from tests.stepbatch.fakes import make_job

SMALL, LARGE = (1, 1), (1, 2)


def job_at(phase: Phase, *, rows: int = 2, size: tuple[int, int] = SMALL) -> Job[Any]:
    job = make_job(rows=rows, size=size, steps=0 if phase is Phase.FINISH else 2)
    if phase is not Phase.PREPARE:
        job.enter_denoising()
    assert job.phase is phase
    return job


def test_finishing_comes_first_and_is_done_one_at_a_time() -> None:
    jobs = [job_at(phase) for phase in (Phase.PREPARE, Phase.DENOISE, Phase.FINISH, Phase.FINISH)]
    assert FirstComeFirstServed(max_rows=8).choose(jobs) == [jobs[2]]


def test_the_oldest_waiting_job_is_prepared_before_others_tick() -> None:
    jobs = [job_at(phase) for phase in (Phase.DENOISE, Phase.PREPARE, Phase.PREPARE)]
    assert FirstComeFirstServed(max_rows=4).choose(jobs) == [jobs[1]]


def test_a_job_that_does_not_fit_waits_and_no_younger_one_slips_past_it() -> None:
    jobs = [job_at(Phase.DENOISE), job_at(Phase.PREPARE, rows=2), job_at(Phase.PREPARE, rows=1)]
    assert FirstComeFirstServed(max_rows=3).choose(jobs) == [jobs[0]]


def test_rows_of_another_shape_count_for_admission() -> None:
    jobs = [job_at(Phase.DENOISE), job_at(Phase.DENOISE, size=LARGE), job_at(Phase.PREPARE)]
    assert FirstComeFirstServed(max_rows=4).choose(jobs) == [jobs[0]]
    assert FirstComeFirstServed(max_rows=6).choose(jobs) == [jobs[2]]


def test_a_job_that_is_alone_gets_in_and_ticks_whatever_its_rows() -> None:
    policy = FirstComeFirstServed(max_rows=1)
    for phase in (Phase.PREPARE, Phase.DENOISE):
        job = job_at(phase, rows=2)
        assert policy.choose([job]) == [job]


def test_the_oldest_jobs_shape_ticks() -> None:
    jobs = [job_at(Phase.DENOISE, size=size) for size in (LARGE, SMALL, LARGE, SMALL)]
    assert FirstComeFirstServed(max_rows=8).choose(jobs) == [jobs[0], jobs[2]]


def test_a_tick_has_at_most_max_rows() -> None:
    jobs = [job_at(Phase.DENOISE, rows=rows) for rows in (2, 1, 2, 1)]
    assert FirstComeFirstServed(max_rows=4).choose(jobs) == [jobs[0], jobs[1], jobs[3]]


jobs_at_random = st.builds(
    job_at,
    st.sampled_from([Phase.PREPARE, Phase.DENOISE, Phase.FINISH]),
    rows=st.sampled_from([1, 2]),
    size=st.sampled_from([SMALL, LARGE]),
)


@given(jobs=st.lists(jobs_at_random, min_size=1, max_size=12), max_rows=st.integers(1, 12))
@settings(deadline=None, max_examples=200)
def test_every_choice_keeps_the_rules(jobs: list[Job[Any]], max_rows: int) -> None:
    chosen = FirstComeFirstServed(max_rows=max_rows).choose(jobs)
    assert chosen
    assert chosen == [job for job in jobs if job in chosen], "in order of arrival, each once"
    phase = chosen[0].phase
    assert all(job.phase is phase for job in chosen)
    assert (phase is Phase.FINISH) == any(job.phase is Phase.FINISH for job in jobs)
    if phase is not Phase.DENOISE:
        assert chosen == [next(job for job in jobs if job.phase is phase)]
        return
    alike = [job for job in jobs if job.phase is phase and job.denoising.shape == chosen[0].denoising.shape]
    rows = sum(job.rows for job in chosen)
    assert chosen[0] is next(job for job in jobs if job.phase is phase)
    assert rows <= max_rows or len(chosen) == 1
    left = [job.rows for job in alike if job not in chosen]
    assert not left or rows + min(left) > max_rows, "no room is wasted"


@given(
    rows=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=12),
    sizes=st.lists(st.sampled_from([SMALL, LARGE]), min_size=12, max_size=12),
    max_rows=st.integers(1, 6),
)
@settings(deadline=None, max_examples=50)
def test_followed_to_the_end_every_job_is_done_within_the_rows(
    rows: list[int], sizes: list[tuple[int, int]], max_rows: int
) -> None:
    policy = FirstComeFirstServed(max_rows=max_rows)
    jobs = [make_job(rows=n, size=size, steps=2) for n, size in zip(rows, sizes, strict=False)]
    for _ in range(4 * len(jobs)):  # prepare, two steps and finish each, if none ever had company
        running = [job for job in jobs if job.phase is not Phase.ENDED]
        admitted = [job for job in running if job.phase is not Phase.PREPARE]
        assert sum(job.rows for job in admitted) <= max_rows or len(admitted) == 1
        for job in policy.choose(running) if running else []:
            match job.phase:
                case Phase.PREPARE:
                    job.enter_denoising()
                case Phase.DENOISE:
                    job.denoising.advance(job.denoising.latents)
                case _:
                    job.end()
    assert all(job.phase is Phase.ENDED for job in jobs)
