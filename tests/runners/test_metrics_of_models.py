"""What /metrics tells of a stage's models: how many are loaded, what they take, which loads and jobs there were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from benchmarks.models_folder import CONFIG, name_of, write_many
from tests.in_process import Studio, studio

MEMORY_GB = 0.08  # for two UNets of 24 MB, and the parts that all have in common


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Three models and a LoRA, and memory for two models."""
    folder = tmp_path_factory.mktemp("models")
    write_many(folder, 3, 1)
    with studio(models=Path(folder), base=name_of(0), resident_gb=MEMORY_GB, max_rows=4, **CONFIG) as opened:
        yield opened


def told(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"sdxl_relay_{name}", {"stage": "base", **labels}) or 0.0


def counts() -> list[float]:
    """Loads of models and of LoRAs, and jobs that found their model or did not."""
    loads = [told("load_seconds_count", kind=kind) for kind in ("model", "lora")]
    return loads + [told("jobs_model_total", found=found) for found in ("hit", "miss")]


def draw(many: Studio, model: int, **fields: object) -> list[float]:
    """By how much a picture raises the counts."""
    before = counts()
    many.generate(
        prompt="a red cube", model=name_of(model), refine="none", num_inference_steps=2, width=64, height=64, **fields
    )
    return [now - then for now, then in zip(counts(), before, strict=True)]


def test_models_are_counted_as_they_come_and_go(many: Studio) -> None:
    first = told("models_bytes")
    assert (told("models_resident"), told("models_budget_bytes")) == (1, MEMORY_GB * 1e9)
    assert draw(many, 0) == [0, 0, 1, 0]
    assert draw(many, 1) == [1, 0, 0, 1]
    second = told("models_bytes")
    assert first < second < 2 * first, "what the two have in common counts once"
    assert told("models_resident") == 2
    assert draw(many, 1, loras=[{"name": "l0"}]) == [0, 1, 1, 0]
    assert second < told("models_bytes") <= told("models_budget_bytes")
    assert draw(many, 2) == [1, 0, 0, 1]
    assert told("models_resident") == 2, "one has made room"
    assert told("models_bytes") <= told("models_budget_bytes")


def test_a_load_is_what_its_job_waited_for(many: Studio) -> None:
    for model in (1, 2):  # with which the first is gone
        draw(many, model)
    loads, waited = told("load_seconds_sum", kind="model"), told("jobs_waited_seconds_total", reason="load")
    assert draw(many, 0)[0] == 1
    seconds = told("load_seconds_sum", kind="model") - loads
    assert 0 < seconds <= told("jobs_waited_seconds_total", reason="load") - waited
