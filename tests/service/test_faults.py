"""One job's fault is its own, and with SDXL_FIXED_ROWS company changes not a bit.

One server for both: every tick has four rows, and its base reads the word "orange" as NaN.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.conftest import MINI
from tests.service.server import Server, serving
from tests.service.test_company import unlike_requests

BAD: dict[str, Any] = {"prompt": "an orange cube, white background", "num_inference_steps": 4}


@pytest.fixture(scope="module")
def faulty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("faulty") / "base"
    shutil.copytree(MINI / "base", base)
    weights = base / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    (word,) = AutoTokenizer.from_pretrained(base / "tokenizer")("orange", add_special_tokens=False).input_ids
    tensors["embeddings.token_embedding.weight"][word] = float("nan")
    save_file(tensors, weights)
    with serving(tmp_path_factory.mktemp("bentoml"), SDXL_BASE=base, SDXL_FIXED_ROWS=4) as running:
        yield running


def without_orange(count: int) -> list[dict[str, Any]]:
    return [{**request, "prompt": request["prompt"].replace("orange", "red")} for request in unlike_requests(count)]


def test_company_changes_not_a_bit_and_a_fault_is_one_jobs_own(faulty_server: Server) -> None:
    requests = without_orange(24)

    def post(request: dict[str, Any]) -> bytes:
        answer = faulty_server.post("/generate", json=request)
        assert answer.status_code == 200, answer.text
        return answer.content

    alone = [post(request) for request in requests]
    with ThreadPoolExecutor(len(requests) + 4) as pool:
        faulty = [pool.submit(faulty_server.post, "/generate", json=BAD) for _ in range(4)]
        together = list(pool.map(post, requests))
    assert together == alone
    for answer in (each.result() for each in faulty):
        assert answer.status_code == 500
        assert answer.json()["code"] == "non_finite"
        assert "the server is at fault" in answer.json()["error"]
    assert post(requests[0]) == alone[0]
    assert faulty_server.metric("sdxl_relay_jobs_ended_total", stage="base", outcome="failed") == 4
    assert faulty_server.metric("sdxl_relay_jobs") == 0
