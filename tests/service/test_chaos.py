"""Whatever happens to the replicas, every client gets its picture, to the bit.

An entry and two replicas of each stage, each on a host of its own. Every tick has the same number of rows, so that
a picture's bits depend on nothing but its request.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from entry.fleet.replica import REASONS
from tests.service.chaos import FAULTS, Chaos
from tests.service.hosts import why_not
from tests.service.replicas import Company, running

PICTURES, UNLIKE, CLIENTS, FAULTS_OF_A_KIND, SEED = 200, 40, 8, 3, 4
RETRIED = "sdxl_relay_calls_retried_total"
MODES = ("ensemble", "sdedit", "none", "ensemble", "refine")
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m_sde", "heun")
PROMPTS = ("a red cube, white background", "a green cone on a blue sphere", "an orange cylinder, gray background")


@dataclass(frozen=True)
class Wanted:
    """A request for one picture."""

    fields: dict[str, Any]
    upload: bytes | None = None

    def post(self, company: Company) -> bytes:
        """The picture's file."""
        if self.upload is None:
            answer = company.entry.post("/generate", json=self.fields)
        else:
            file = ("picture.png", self.upload, "image/png")
            answer = company.entry.post("/refine", data=self.fields, files={"image": file})
        assert answer.status_code == 200, answer.text
        return answer.content


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    if reason := why_not():
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("hosts"), 2, SDXL_RUNNER_SILENCE_S=5, SDXL_FIXED_ROWS=4) as company:
        yield company


def unlike(picture: bytes) -> list[Wanted]:
    """Requests of all kinds, in steps, sampler, guidance and mode."""
    wanted = []
    for i in range(UNLIKE):
        fields: dict[str, Any] = {
            "prompt": PROMPTS[i % 3], "seed": i, "num_inference_steps": 6 + 2 * (i % 4),
            "guidance_scale": (1.0, 4.0, 3.0)[i % 3], "scheduler": SAMPLERS[i % len(SAMPLERS)],
        }  # fmt: skip
        mode = MODES[i % len(MODES)]
        wanted.append(Wanted(fields, picture) if mode == "refine" else Wanted({**fields, "refine": mode}))
    return wanted


@pytest.mark.full
def test_200_pictures_while_replicas_die_vanish_dawdle_and_restart(company: Company) -> None:
    with ThreadPoolExecutor(CLIENTS, initializer=company.entry_host.enter) as clients:
        picture = clients.submit(Wanted({"prompt": PROMPTS[0], "seed": 1}).post, company).result()
        requests = unlike(picture)
        undisturbed = list(clients.map(lambda wanted: wanted.post(company), requests))
        order = [number % UNLIKE for number in range(PICTURES)]
        random.Random(SEED).shuffle(order)
        chaos = Chaos(company.replicas, FAULTS_OF_A_KIND, SEED)
        under_way = [clients.submit(requests[number].post, company) for number in order]
        chaos.run(lambda: sum(future.done() for future in under_way) / PICTURES)
        pictures = [future.result() for future in under_way]
        company.wait_until_whole()
        retried = {reason: clients.submit(company.entry.metric, RETRIED, reason=reason).result() for reason in REASONS}
    print(f"faults {dict(chaos.counts)}, calls retried {retried}")
    assert [picture == undisturbed[number] for number, picture in zip(order, pictures, strict=True)] == [
        True
    ] * PICTURES
    assert min(chaos.counts[kind] for kind in FAULTS) >= 3, chaos.counts
    assert retried["cut"] > 0
    assert retried["silent"] + retried["unreachable"] > 0
