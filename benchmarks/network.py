"""What the way between the stages costs: `python -m benchmarks.network`. Takes some 5 minutes on two cores.

The hand-off: base and refiner each on a host of its own (see tests/service/hosts.py; needs root). The entry's own code
takes a hand-off from the base and sends one like it, but for 1024 x 1024 in half precision, to the refiner many times:
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
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import torch

from benchmarks.request import REQUEST
from entry.fleet.addresses import Address
from entry.fleet.replica import Replica
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.handoff.document import HandOff
from sdxl.request.limits import Limits
from sdxl.request.requests import GenerationRequest
from tests.service.hosts import Host, Network, why_not
from tests.service.replicas import TARGETS, TOKEN, Stage
from tests.service.server import Server, Serving, serving
from tests.service.split import serving_split

REPETITIONS, PAIRS, WARM_UP_PAIRS = 300, 15, 3
SIDE_PX, STEPS = 1024, 40
GOAL_BYTES, GOAL_SHARE = 140_000, 0.01
# The base's part of 40 steps with guidance, at the full size of SDXL, on an H200 (bfloat16, measured).
BASE_TFLOP, TFLOP_PER_S = 32 * 2 * 6.76, 790
HEADERS_BYTES = 14 + 20 + 32  # Ethernet, IPv4, TCP with timestamps
RESULT = Path(__file__).parent / "results" / "network.json"
THREADS: dict[str, Any] = {"OMP_NUM_THREADS": 1}


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
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        serving_split(Path(one), **THREADS) as split,
        serving(Path(other), **THREADS) as together,
    ):
        for pair in range(-WARM_UP_PAIRS, PAIRS):
            seconds = [took_s(server, seed=max(pair, 0)) for server in (split.server, together)]
            if pair >= 0:
                apart_ms.append(1000 * seconds[0])
                together_ms.append(1000 * seconds[1])
    return {
        "pairs": PAIRS,
        "apart_ms": round(median(apart_ms), 1),
        "together_ms": round(median(together_ms), 1),
        "ratio": round(median(a / b for a, b in zip(apart_ms, together_ms, strict=True)), 3),
    }


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
        "goals_met": {"bytes": measured["request_bytes"] <= GOAL_BYTES, "share": share < GOAL_SHARE},
    }


@contextmanager
def on_its_host(home: Path, stage: Stage, host: Host) -> Iterator[None]:
    target, port = TARGETS[stage]
    (home / stage).mkdir()
    options: dict[str, Any] = {"SDXL_RUNNER_TOKEN": TOKEN, "OMP_NUM_THREADS": os.cpu_count()}
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


async def measure_handoff(network: Network) -> dict[str, Any]:
    """A hand-off that the base makes, and many like it of a large picture to the refiner.

    Those have no time left: the refiner reads and checks each, takes it into its engine, and says that it is late.
    So the time includes all that a real one takes, and the cores are free for the next.
    """
    settings = Settings.from_environment({"SDXL_RUNNER_TOKEN": TOKEN})
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        base = Replica(address(network, "base"), session, settings)
        refiner = Replica(address(network, "refiner"), session, settings)
        sent = network["base"].counter("tx_bytes")
        made = await made_by_base(base)
        around_it = network["base"].counter("tx_bytes") - sent - len(made)
        document = as_large(made)
        times_ms, frames_bytes, payloads_bytes = [], [], []
        for _ in range(REPETITIONS):
            before = received(network["refiner"])
            times_ms.append(1000 * await until_late_s(refiner, document))
            frames, packets = (now - then for now, then in zip(received(network["refiner"]), before, strict=True))
            frames_bytes.append(frames)
            payloads_bytes.append(frames - packets * HEADERS_BYTES)
    return {
        "document_bytes": len(document),
        "request_bytes": median(payloads_bytes),
        "frames_to_refiner_bytes": median(frames_bytes),
        "frames_from_base_bytes": len(document) + around_it,
        "until_checked_ms": round(median(times_ms), 2),
        "until_checked_p10_ms": round(sorted(times_ms)[REPETITIONS // 10], 2),
        "until_checked_p90_ms": round(sorted(times_ms)[9 * REPETITIONS // 10], 2),
        "repetitions": REPETITIONS,
        "load_average": os.getloadavg()[0],
    }


def received(host: Host) -> tuple[int, int]:
    """Bytes and Ethernet frames so far."""
    return host.counter("rx_bytes"), host.counter("rx_packets")


async def made_by_base(base: Replica) -> bytes:
    """A hand-off document of the checkpoint's native size, in single precision."""
    wanted = GenerationRequest(prompt=REQUEST["prompt"], seed=1, num_inference_steps=STEPS)
    limits = Limits(deadline=time.monotonic() + 300)
    return (await base.call("run", wanted.model_dump_json().encode(), limits)).body


def as_large(document: bytes) -> bytes:
    """The same for a picture of `SIDE_PX`, in half precision: a CPU would take minutes for each step."""
    made = HandOff.decode(document, max_bytes=len(document), max_pixels=SIDE_PX**2)
    size = (SIDE_PX, SIDE_PX)
    sizes = {f"{which}_size": size for which in ("original", "target", "negative_original", "negative_target")}
    fields = made.fields.model_copy(update={"width": SIDE_PX, "height": SIDE_PX, **sizes})
    latents = torch.randn(1, 4, SIDE_PX // 8, SIDE_PX // 8).half()
    return replace(made, fields=fields, latents=latents).encode()


async def until_late_s(refiner: Replica, document: bytes) -> float:
    begun = time.perf_counter()
    try:
        await refiner.call("run", document, Limits(deadline=time.monotonic()))
    except RelayError as error:
        if error.status == 504:
            return time.perf_counter() - begun
        raise
    raise RuntimeError("a job without time was done")


def address(network: Network, stage: Stage) -> Address:
    host = f"{network[stage].address}:{TARGETS[stage][1]}"
    return Address(root=f"http://{host}", host=host)


if __name__ == "__main__":
    main()
