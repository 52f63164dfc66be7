"""Entry, base and refiner apart: the same pictures, and nobody is let in or held up who should not be."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.sdxl.handoff.documents import joined, make, with_metadata, with_state, with_tensor
from tests.service.server import Server, Serving
from tests.service.split import TOKEN, Split, ask_runner, caller, serving_split
from tests.service.test_edit import a_mask
from tests.service.test_pickle import MEDIA_TYPE, Attack
from tests.service.test_refine import a_picture, as_png

PROMPT = "a red cube on top of a blue sphere, yellow background"
MIB = 2**20


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Split]:
    with serving_split(tmp_path_factory.mktemp("split"), SDXL_MAX_ROWS=16) as running:
        yield running


@pytest.mark.parametrize("fields", [{"num_inference_steps": 12}, {"refine": "sdedit"}, {"refine": "none"}])
def test_the_same_picture_as_on_one_host(server: Server, split: Split, fields: dict[str, Any]) -> None:
    request = {"prompt": PROMPT, "seed": 3, **fields}
    here, apart = (each.post("/generate", json=request) for each in (server, split.server))
    assert here.status_code == 200
    assert apart.content == here.content


def test_the_same_refined_picture_as_on_one_host(server: Server, split: Split) -> None:
    picture = server.post("/generate", json={"prompt": PROMPT, "seed": 3}).content
    request: dict[str, Any] = {"data": {"prompt": PROMPT, "seed": "5"}, "files": {"image": ("p.png", picture)}}
    here, apart = (each.post("/refine", **request) for each in (server, split.server))
    assert here.status_code == 200
    assert apart.content == here.content


@pytest.mark.parametrize("strength", ["0.7", "0.1"])
@pytest.mark.parametrize("mask", [None, a_mask()], ids=["img2img", "inpainting"])
def test_the_same_edited_picture_as_on_one_host(
    server: Server, split: Split, mask: Image.Image | None, strength: str
) -> None:
    files = {"image": ("p.png", as_png(a_picture()))}
    if mask is not None:
        files["mask"] = ("m.png", as_png(mask))
    request: dict[str, Any] = {"data": {"prompt": PROMPT, "seed": "5", "strength": strength}, "files": files}
    here, apart = (each.post("/edit", **request) for each in (server, split.server))
    assert here.status_code == 200, here.text
    assert apart.content == here.content


@pytest.mark.parametrize("token", [None, "x", "another token, as long as the right one"])
@pytest.mark.parametrize("path", ["/run", "/refine", "/", "/schema.json", "/nothing"])
def test_a_runner_asks_for_its_token(split: Split, token: str | None, path: str) -> None:
    answer = ask_runner(split.refiner, path, token=token, content=b"")
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_token")


def test_those_who_watch_over_a_runner_need_no_token(split: Split) -> None:
    url = split.base.server.url
    for path in ("/livez", "/readyz", "/healthz", "/metrics"):
        assert httpx.get(f"{url}{path}").status_code == 200
    assert httpx.get(f"{url}/readyz").json() == {}, "what a runner is, it says only to those who have the token"
    assert httpx.get(f"{url}/docs.json").status_code == 401


def bodies() -> dict[str, bytes]:
    """Malformed hand-offs. Nothing but the header's length says how long a header is: it may be forged."""
    return {
        "empty": b"",
        "no header": b"\0" * 7,
        "text": b"a picture, please",
        "a header of 1 GB": (10**9).to_bytes(8, "little") + b"{}",
        "a header of 2**64 bytes": b"\xff" * 8 + b"{}",
        "many fields": with_metadata(**{f"{i}": "" for i in range(5_000)}),
        "deep JSON": (60_000).to_bytes(8, "little") + b"[" * 60_000,
        "huge shape": with_tensor("latents", shape=[1, 4, 2**40, 2**40]),
        "negative shape": with_tensor("latents", shape=[1, 4, -8, 16]),
        "overlap": with_tensor("generator_state", data_offsets=[0, 5_056]),
        "huge offsets": with_tensor("latents", data_offsets=[0, 2**62]),
        "dtype": with_tensor("latents", dtype="F64"),
        "mask": with_tensor("mask", dtype="I8"),
        "huge mask": with_tensor("mask", shape=[1, 1, 2**40, 2**40]),
        "gray mask": make(has_mask=True).encode()[:-1] + b"\x80",
        "infinity": make().encode().replace(b"\x00\x3c", b"\x00\x7c"),
        "version": with_metadata(version="2"),
        "no version": with_metadata(version=None),
        "format": with_metadata(format="pickle"),
        "steps": with_metadata(num_inference_steps="1000000000"),
        "size": with_metadata(width="8192", height="8192"),
        "forged count": with_state(8, "<i", 2**31 - 1),
        "another sampler": make().encode(),
        "no tensors": joined({"__metadata__": {}}, b""),
        "pickle": pickle.dumps({"latents": [0.0] * 1_000}),
    }


def test_malformed_handoffs_are_refused_quickly_and_cost_no_memory(split: Split) -> None:
    worker = split.refiner.server.workers()["sdxl_refiner"]
    ask_runner(split.refiner, content=b"")  # the first request imports and connects
    before = worker.memory_info().rss
    with caller() as client:
        for name, body in bodies().items():
            fastest_s = 60.0
            for _ in range(5):
                begun_s = time.perf_counter()
                answer = client.post(f"{split.refiner.server.url}/run", content=body)
                fastest_s = min(fastest_s, time.perf_counter() - begun_s)
                assert answer.status_code == 400, (name, answer.text)
                assert answer.json()["error"], name
            assert fastest_s < 0.05, name
    assert worker.memory_info().rss < before + 30 * MIB


DOCUMENT = make().encode()


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(DOCUMENT) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_spoilt_handoff_is_the_servers_fault(split: Split, changes: list[tuple[int, int]]) -> None:
    """It is of another sampler, too, so that none of them can pass."""
    document = bytearray(DOCUMENT)
    for offset, value in changes:
        document[offset] = value
    answer = ask_runner(split.refiner, content=bytes(document))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


def test_bodies_have_their_limits(split: Split) -> None:
    assert ask_runner(split.base, content=b" " * MIB).status_code == 413
    assert ask_runner(split.refiner, content=b" " * 20 * MIB).status_code == 413
    assert ask_runner(split.refiner, content=(b" " * MIB for _ in range(8))).status_code == 413
    assert ask_runner(split.refiner, "/docs.json", content=b" ").status_code == 413
    head = {f"x-{i}": "x" * 1_000 for i in range(100)}
    assert ask_runner(split.refiner, content=b"", headers=head).status_code == 400
    assert ask_runner(split.base, "/edit", content=b" " * 20 * MIB).status_code == 413
    for runner, path in ((split.refiner, "/refine"), (split.base, "/edit")):
        assert ask_runner(runner, path, content=b"a frame?").status_code == 400


@pytest.mark.parametrize("name", ["base", "refiner"])
@pytest.mark.parametrize("media_type", [MEDIA_TYPE, f"{MEDIA_TYPE}; a=b", "application/x-pickle", "application/json"])
def test_nothing_is_unpickled_over_tcp(split: Split, tmp_path: Path, name: str, media_type: str) -> None:
    runner: Serving = getattr(split, name)
    body = pickle.dumps(Attack(tmp_path / "harm"))
    for path in ("/run", "/refine", "/readyz", "/livez", "/metrics", "/schema.json", "/"):
        answer = ask_runner(runner, path, content=body, headers={"content-type": media_type})
        assert 400 <= answer.status_code < 500, path
        if "pickle" in media_type:
            assert answer.status_code == 415, path
    assert not (tmp_path / "harm").exists()


def cut_off_after_s(server: Server, head: bytes) -> float:
    """Sends the head, then a byte each second; how long until the server hangs up."""
    host, port = server.url.removeprefix("http://").split(":")
    begun_s = time.monotonic()
    with socket.create_connection((host, int(port))) as sender:
        sender.settimeout(1)
        sender.sendall(head)
        while time.monotonic() < begun_s + 60:
            try:
                sender.sendall(b"x")
                if not sender.recv(10_000):
                    break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
    return time.monotonic() - begun_s


@pytest.mark.full  # tests/runners/test_slow_senders.py has the same in a second
def test_slow_senders_are_cut_off(split: Split) -> None:
    body_of = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n%s\r\n{"
    authorization = b"authorization: Bearer " + TOKEN.encode() + b"\r\n"
    cases = [
        (split.entry.server, b"POST /generate HTTP/1.1\r\nx-slow: "),
        (split.base.server, b"GET /livez HTTP/1.1\r\nx-slow: "),
        (split.entry.server, body_of % (b"/generate", b"")),
        (split.refiner.server, body_of % (b"/run", authorization)),
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        took_s = list(pool.map(lambda case: cut_off_after_s(*case), cases))
    assert all(8 < each < 30 for each in took_s), took_s
    assert split.server.post("/generate", json={"prompt": PROMPT, "refine": "none"}).status_code == 200
