"""What happens to replicas in the tests of several hosts: each fault is inflicted, lasts, and is healed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tests.service.replicas import Replica

Fault = Callable[[Replica, float], None]
LASTS_S = (3.0, 9.0)  # SDXL_RUNNER_SILENCE_S lies between in the tests
PAIR_EVERY = 6
LOOK_S = 0.05


def kill(replica: Replica, lasts_s: float) -> None:
    """SIGKILL to all processes of the host, and after `lasts_s` a start."""
    replica.kill()
    time.sleep(lasts_s)
    replica.start()
    replica.wait_until_ready()


def cut_off(replica: Replica, lasts_s: float) -> None:
    """All packets are lost for `lasts_s`, without a reset."""
    replica.host.cut_off()
    time.sleep(lasts_s)
    replica.host.reconnect()


def delay(replica: Replica, lasts_s: float) -> None:
    """What the host sends comes 2 s later, for `lasts_s`."""
    replica.delay()
    time.sleep(lasts_s)
    replica.hurry()


def restart(replica: Replica, _lasts_s: float) -> None:
    """SIGTERM, and a start as soon as the runner has ended."""
    replica.stop()
    replica.start()
    replica.wait_until_ready()


FAULTS: dict[str, Fault] = {"kill": kill, "cut off": cut_off, "delay": delay, "restart": restart}


class Chaos:
    """Inflicts every kind of fault `times` times, on replicas at random, in a random order.

    Several replicas can be at fault at once, both of a stage too. Every `PAIR_EVERY`-th fault strikes all
    replicas of a stage together.
    """

    def __init__(self, replicas: Sequence[Replica], times: int, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._replicas = replicas
        self._dice = random.Random(seed)
        self._kinds = list(FAULTS) * times
        self._dice.shuffle(self._kinds)
        self._at_fault: dict[Replica, Future[None]] = {}

    def run(self, progress: Callable[[], float]) -> None:
        """Spreads the faults over `progress`, from 0 to 1; returns when all replicas are well again.

        A fault that would come after the end is left out, and not counted.
        """
        with ThreadPoolExecutor(len(self._replicas)) as pool:
            for number, kind in enumerate(self._kinds):
                while progress() < number / len(self._kinds):
                    time.sleep(LOOK_S)
                victims = self._victims(together=number % PAIR_EVERY == PAIR_EVERY - 1)
                if progress() < 1:
                    self.counts[kind] += len(victims)
                    for victim in victims:
                        lasts_s = self._dice.uniform(*LASTS_S)
                        self._at_fault[victim] = pool.submit(FAULTS[kind], victim, lasts_s)
        for fault in self._at_fault.values():
            fault.result()

    def _victims(self, *, together: bool) -> list[Replica]:
        """One replica, or all of a stage. Waits until there are such that are well."""
        while True:
            well = [replica for replica in self._replicas if self._is_well(replica)]
            groups = [[replica] for replica in well]
            if together:
                groups = [[replica for replica in well if replica.stage == stage] for stage in ("base", "refiner")]
                groups = [group for group in groups if len(group) == len(self._replicas) / 2]
            if groups:
                return self._dice.choice(groups)
            time.sleep(LOOK_S)

    def _is_well(self, replica: Replica) -> bool:
        """Raises what went wrong when its last fault was to be healed."""
        fault = self._at_fault.get(replica)
        return fault is None or (fault.done() and fault.result() is None)
