from dataclasses import dataclass, field

from stepbatch.lead import OneTickAhead
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, make_engine, make_job


@dataclass
class Queue:
    """A device's: what was put into it, and how far the host has waited for it."""

    given: int = 0
    waited_for: list[int] = field(default_factory=list)

    def make_event(self) -> "Mark":
        return Mark(self)


@dataclass
class Mark:
    queue: Queue
    place: int = 0

    def record(self) -> None:
        self.queue.given += 1
        self.place = self.queue.given

    def synchronize(self) -> None:
        self.queue.waited_for.append(self.place)


def test_the_host_waits_for_the_tick_before_the_one_that_it_has_given() -> None:
    queue = Queue()
    lead = OneTickAhead(queue.make_event)
    lead()
    assert (queue.given, queue.waited_for) == (1, [])
    lead()
    assert (queue.given, queue.waited_for) == (2, [1])
    lead()
    assert (queue.given, queue.waited_for) == (3, [1, 2])


def test_an_engine_waits_once_a_tick() -> None:
    queue = Queue()
    engine = make_engine(FalseUNet(), after_tick=OneTickAhead(queue.make_event))
    job = make_job(steps=5)
    engine.submit(job)
    with engine:
        job.future.result(TIMEOUT_S)
    assert (queue.given, queue.waited_for) == (5, [1, 2, 3, 4])
