"""What the way between the stages costs: `python -m benchmarks.network`. Takes some 5 minutes on two cores.

The hand-off: base and refiner each on a host of its own (see tests/service/hosts.py; needs root), in half precision.
The entry's own code takes a hand-off of a 1024 x 1024 picture from the base and sends it to the refiner many times over:
bytes on the wire, by the interfaces' counters, and the time until the refiner has read and checked it and says so.
The routing: the same request by three services over TCP, each started by itself, and by one `bentoml serve`, in
turn. Prints both and writes them to `benchmarks/results/network.json`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from benchmarks.request import REQUEST
from entry.addresses import Address
from entry.replica import Replica
from runners.frames import Frame, Kind
from sdxl.config import Settings
from sdxl.limits import Limits
from sdxl.request import GenerationRequest
from tests.service.hosts import Host, Network, why_not
from tests.service.replicas import TARGETS, TOKEN, Stage
from tests.service.server import Server, Serving, serving

REPETITIONS, PAIRS, WARM_UP_PAIRS = 50, 15, 3
SIDE_PX = 1024
GOAL_BYTES, GOAL_SHARE = 140_000, 0.01
# The base's part of 40 steps with guidance, at the full size of SDXL, on an H200 (bfloat16, measured).
BASE_TFLOP, TFLOP_PER_S = 32 * 2 * 6.76, 790
RESULT = Path(__file__).parent / "results" / "network.json"
THREADS = {"OMP_NUM_THREADS": 1}


def main() -> None:
    document: dict[str, Any] = {"cores": os.cpu_count(), "routing": routing()}
    if reason := why_not():
        print(reason, file=sys.stderr)
    else:
        document["handoff"] = handoff()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


def routing() -> dict[str, float]:
    """Median milliseconds of a request, apart and on one host."""
    apart_ms, together_ms = [], []
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        with apart(Path(one)) as three, serving(Path(other), **THREADS) as together:
            for pair in range(-WARM_UP_PAIRS, PAIRS):
                seconds = [took_s(server, seed=max(pair, 0)) for server in (three, together)]
                if pair >= 0:
                    apart_ms.append(1000 * seconds[0])
                    together_ms.append(1000 * seconds[1])
    return {
        "pairs": PAIRS,
        "apart_ms": round(median(apart_ms), 1),
        "together_ms": round(median(together_ms), 1),
        "ratio": round(median(a / b for a, b in zip(apart_ms, together_ms, strict=True)), 3),
    }


@contextmanager
def apart(home: Path) -> Iterator[Server]:
    """Three services over TCP on loopback, each started by itself; gives the entry."""
    with ExitStack() as stack:
        urls = {}
        for stage, (target, _) in TARGETS.items():
            (home / stage).mkdir()
            runner = stack.enter_context(serving(home / stage, target, SDXL_RUNNER_TOKEN=TOKEN, **THREADS))
            urls[f"SDXL_{stage.upper()}_URL"] = runner.url
        (home / "entry").mkdir()
        yield stack.enter_context(serving(home / "entry", SDXL_RUNNER_TOKEN=TOKEN, **urls, **THREADS))


def took_s(server: Server, seed: int) -> float:
    begun = time.perf_counter()
    answer = server.post("/generate", json={**REQUEST, "seed": seed})
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - begun


def handoff() -> dict[str, Any]:
    """Bytes and milliseconds of one hand-off, and whether the goals are met."""
    with tempfile.TemporaryDirectory() as home, Network("entry", *TARGETS) as network, ExitStack() as stack:
        for stage in TARGETS:
            stack.enter_context(on_its_host(Path(home), stage, network[stage]))
        with network["entry"].inside():
            measured = asyncio.run(measure_handoff(network))
    base_ms = 1000 * BASE_TFLOP / TFLOP_PER_S
    share = measured["until_checked_ms"] / base_ms
    return {
        **measured,
        "base_on_an_h200_ms": round(base_ms, 1),
        "share_of_base": round(share, 5),
        "goals_met": {"bytes": measured["wire_to_refiner_bytes"] <= GOAL_BYTES, "share": share < GOAL_SHARE},
    }


@contextmanager
def on_its_host(home: Path, stage: Stage, host: Host) -> Iterator[None]:
    target, port = TARGETS[stage]
    (home / stage).mkdir()
    options = {"SDXL_RUNNER_TOKEN": TOKEN, "SDXL_DTYPE": "bfloat16", **THREADS}
    serve = Serving(home / stage, target, host=host.address, port=port, **options)
    with host.inside():
        serve.start()
        try:
            serve.wait_until_ready()
        except BaseException:
            serve.stop()
            raise
    try:
        yield
    finally:
        serve.stop()


class UntilAccepted(Replica):
    """A replica that is left as soon as it has accepted a job."""

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self.accepted = asyncio.Event()
        self.accepted_at = 0.0

    def _hear(self, job: object, frame: Frame) -> None:
        if frame.kind is Kind.ACCEPTED:
            self.accepted_at = time.perf_counter()
            self.accepted.set()
        super()._hear(job, frame)


async def measure_handoff(network: Network) -> dict[str, Any]:
    settings = Settings(runner_token=TOKEN)  # type: ignore[arg-type]
    wanted = GenerationRequest(prompt=REQUEST["prompt"], seed=1, width=SIDE_PX, height=SIDE_PX, guidance_scale=1,
                               num_inference_steps=2, high_noise_frac=0.5)  # fmt: skip
    limits = Limits(deadline=time.monotonic() + 3600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        base = Replica(address(network, "base"), session, settings)
        refiner = UntilAccepted(address(network, "refiner"), session, settings)
        sent = network["base"].sent_bytes()
        document = (await base.call("run", wanted.model_dump_json().encode(), limits)).body
        from_base = network["base"].sent_bytes() - sent
        times_ms, received = [], []
        for _ in range(REPETITIONS):
            before = network["refiner"].received_bytes()
            times_ms.append(1000 * await until_accepted_s(refiner, document, limits))
            received.append(network["refiner"].received_bytes() - before)
            await idle(refiner_server(network))
    return {
        "document_bytes": len(document),
        "wire_from_base_bytes": from_base,
        "wire_to_refiner_bytes": median(received),
        "until_checked_ms": round(median(times_ms), 2),
        "until_checked_ms_worst": round(max(times_ms), 2),
        "repetitions": REPETITIONS,
    }


async def until_accepted_s(refiner: UntilAccepted, document: bytes, limits: Limits) -> float:
    refiner.accepted.clear()
    begun = time.perf_counter()
    call = asyncio.create_task(refiner.call("run", document, limits))
    await refiner.accepted.wait()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    return refiner.accepted_at - begun


async def idle(server: Server) -> None:
    while server.metric("sdxl_relay_jobs", stage="refiner") > 0:
        await asyncio.sleep(0.1)


def address(network: Network, stage: Stage) -> Address:
    host = f"{network[stage].address}:{TARGETS[stage][1]}"
    return Address(root=f"http://{host}", host=host)


def refiner_server(network: Network) -> Server:
    return Server(address(network, "refiner").root, Path())


if __name__ == "__main__":
    main()
