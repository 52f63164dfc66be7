"""One job's fault is its own, and with SDXL_FIXED_ROWS company changes not a bit.

Both in one: every tick has four rows, and the base reads the word "orange" as NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from transformers import AutoTokenizer

from sdxl.errors import RelayError
from tests.conftest import MINI
from tests.in_process import Studio, studio
from tests.loading import default_checkpoint
from tests.service.test_company import unlike_requests

BAD: dict[str, Any] = {"prompt": "an orange cube, white background", "num_inference_steps": 4}


@pytest.fixture(scope="module")
def faulty() -> Iterator[Studio]:
    (word,) = AutoTokenizer.from_pretrained(MINI / "base" / "tokenizer")("orange", add_special_tokens=False).input_ids
    with studio(fixed_rows=4) as opened:
        encoder = default_checkpoint(opened.base).pipeline.text_encoder
        encoder.get_input_embeddings().weight.data[word] = float("nan")  # a file with it would not be loaded
        yield opened


def without_orange(count: int) -> list[dict[str, Any]]:
    requests = unlike_requests(count)
    return [{**each, "prompt": each["prompt"].replace("orange", "red"), "num_inference_steps": 7} for each in requests]


def test_company_changes_not_a_bit_and_a_fault_is_one_jobs_own(faulty: Studio) -> None:
    requests = without_orange(11)

    def made(request: dict[str, Any]) -> bytes:
        return faulty.generated(**request).data

    alone = [made(request) for request in requests]
    with ThreadPoolExecutor(len(requests) + 4) as pool:
        bad = [pool.submit(faulty.generate, **BAD) for _ in range(4)]
        together = list(pool.map(made, requests))
    assert together == alone
    for error in (each.exception() for each in bad):
        assert isinstance(error, RelayError)
        assert (error.status, error.code) == (500, "non_finite")
        assert "the server is at fault" in error.message
    assert made(requests[0]) == alone[0]
    stats = faulty.base.engine.stats
    assert (stats.failed, stats.waiting, stats.running) == (4, 0, 0)
