"""/generate_stream: progress that moves, previews, and at the end what /generate gives."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sdxl.request.samplers import SamplerName
from tests.service.server import Server
from tests.service.test_clients import run_python
from tests.service.test_disconnect import SLOW, wait_for
from tests.service.test_edit import a_mask
from tests.service.test_refine import a_picture, as_png

REQUEST: dict[str, Any] = {"prompt": "a red cube on top of a blue sphere, white background", "seed": 4}
FILE = ("a.png", as_png(a_picture()), "image/png")
Event = tuple[str, dict[str, Any]]


def events_of(text: str) -> list[Event]:
    """What a client's parser of Server-Sent Events makes of it; comments are left out."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def streamed(server: Server, **fields: Any) -> list[Event]:
    return events_in(server.post("/generate_stream", json=fields))


def events_in(answer: httpx.Response) -> list[Event]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events_of(answer.text)


def levels(data: str) -> NDArray[np.float64]:
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"), dtype=np.float64)


def test_the_events_of_a_picture(server: Server) -> None:
    events = streamed(server, **REQUEST, num_inference_steps=10)
    names = [name for name, _ in events]
    assert names == ["queued", *["progress"] * 8, "queued", *["progress"] * 2, "result"]
    told = [data for name, data in events if name == "progress"]
    assert [(data["stage"], data["step"], data["of"]) for data in told] == [
        *(("base", step, 8) for step in range(1, 9)),
        *(("refiner", step, 2) for step in (1, 2)),
    ]
    assert [data["share"] for data in told] == [step / 10 for step in range(1, 11)]
    assert [data["place"] for name, data in events if name == "queued"] == [0, 0]
    assert all(data["eta_s"] > 0 for name, data in events if name == "queued")
    assert told[0]["eta_s"] is None
    assert told[-1]["eta_s"] == 0.0
    result = events[-1][1]
    direct = server.post("/generate", json={**REQUEST, "num_inference_steps": 10})
    assert base64.b64decode(result["picture"]) == direct.content
    assert (result["seed"], result["media_type"]) == (4, "image/png")


@pytest.mark.parametrize(
    ("scheduler", "refine"),
    [
        *((name, "ensemble") for name in get_args(SamplerName)),
        ("euler", "sdedit"),
        ("heun", "sdedit"),
        ("euler", "none"),
    ],
)
def test_previews_come_closer_to_the_picture_and_leave_it_as_it_is(server: Server, scheduler: str, refine: str) -> None:
    fields = {**REQUEST, "scheduler": scheduler, "refine": refine, "num_inference_steps": 12}
    events = streamed(server, **fields, previews=6)
    shares = [data["share"] for name, data in events if name == "progress"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    picture = levels(events[-1][1]["picture"])
    previews = [levels(data["picture"]) for name, data in events if name == "preview"]
    assert len(previews) == 6
    assert {preview.shape for preview in previews} == {picture.shape}
    likeness = [np.corrcoef(preview.ravel(), picture.ravel())[0, 1] for preview in previews]
    assert likeness[-1] > max(0.5, likeness[0])
    assert np.array_equal(picture, server.generate(**fields))


@pytest.mark.parametrize(
    ("path", "stages"),
    [("/refine", {"refiner"}), ("/edit", {"base", "refiner"}), ("/edit with a mask", {"base", "refiner"})],
)
def test_a_form_gives_the_same_events(server: Server, path: str, stages: set[str]) -> None:
    path, *has_mask = path.split(" with ")
    files = {"image": FILE, **({"mask": ("m.png", as_png(a_mask()), "image/png")} if has_mask else {})}
    fields = {**REQUEST, "num_inference_steps": 10, "strength": 0.6}
    events = events_in(server.post(f"{path}_stream", data={**fields, "previews": 3}, files=files))
    told = [data for name, data in events if name == "progress"]
    assert {data["stage"] for data in told} == stages
    assert told[-1]["share"] == 1.0
    assert len([name for name, _ in events if name == "preview"]) == 3
    name, result = events[-1]
    assert (name, result["seed"]) == ("result", 4)
    assert base64.b64decode(result["picture"]) == server.post(path, data=fields, files=files).content


def test_what_is_refused_at_once_has_a_status_of_its_own(server: Server) -> None:
    answers = [
        server.post("/generate_stream", json={"prompt": "a cube", "previews": 21}),
        server.post("/generate_stream", json={"prompt": "a cube", "clip_skip": 30}),
        server.post("/edit_stream", data={"prompt": "a cube", "refine": "sdedit"}, files={"image": FILE}),
        server.post("/refine_stream", data={"prompt": "a cube"}, files={"image": ("a.png", b"no picture")}),
    ]
    refused = [(answer.status_code, answer.json()["field"]) for answer in answers]
    assert refused == [(400, "previews"), (400, "clip_skip"), (400, "refine"), (415, "image")]


def test_what_goes_wrong_later_is_the_last_event(server: Server) -> None:
    answer = server.post("/generate_stream", json=SLOW, headers={"x-timeout-s": "1.5"})
    events = events_of(answer.text)
    assert {name for name, _ in events[:-1]} == {"queued", "progress"}
    name, error = events[-1]
    assert (name, error["status"], error["code"]) == ("error", 504, "timeout")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate_stream", {"json": SLOW}),
        ("/edit_stream", {"data": {"prompt": "a", "num_inference_steps": 150}, "files": {"image": FILE}}),
    ],
)
def test_a_client_that_leaves_cancels(server: Server, path: str, body: dict[str, Any]) -> None:
    ended = {"stage": "base", "outcome": "cancelled"}
    cancelled = server.metric("sdxl_relay_jobs_ended_total", **ended)
    with httpx.stream("POST", f"{server.url}{path}", timeout=60, **body) as answer:
        parts = answer.iter_text()
        while "progress" not in next(parts):
            pass
    wait_for(lambda: server.metric("sdxl_relay_jobs_ended_total", **ended) == cancelled + 1)


CLIENTS = {
    "sync": """
import bentoml
with bentoml.SyncHTTPClient("http://127.0.0.1:3000") as client:
    text = "".join(client.generate_stream(prompt="a red cube", num_inference_steps=5))
""",
    "async": """
import asyncio, bentoml
async def main():
    async with bentoml.AsyncHTTPClient("http://127.0.0.1:3000") as client:
        return "".join([part async for part in client.generate_stream(prompt="a red cube", num_inference_steps=5)])
text = asyncio.run(main())
""",
    "a form": f"""
import bentoml, pathlib
pathlib.Path("a.png").write_bytes(bytes.fromhex("{FILE[1].hex()}"))
with bentoml.SyncHTTPClient("http://127.0.0.1:3000") as client:
    text = "".join(client.refine_stream(prompt="a red cube", image=pathlib.Path("a.png"), num_inference_steps=8))
""",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_bentomls_clients(server: Server, tmp_path: Path, client: str) -> None:
    done = run_python(CLIENTS[client] + "print(text)", server, tmp_path)
    assert done.returncode == 0, done.stderr
    names = [name for name, _ in events_of(done.stdout)]
    assert names[0] == "queued"
    assert names[-1] == "result"
