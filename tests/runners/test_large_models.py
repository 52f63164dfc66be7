"""A model for which there is no room beside those that are always loaded: an answer that says so, for it alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.models_folder import CONFIG, name_of, write_many
from sdxl.errors import RelayError
from tests.in_process import Studio, studio


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Two models, and memory for the first, which is pinned."""
    folder = tmp_path_factory.mktemp("models")
    write_many(folder, 2, 0)
    (folder / "catalog.yaml").write_text(f"default: {name_of(0)}\nmodels: {{{name_of(0)}: {{resident: always}}}}\n")
    with studio(models=Path(folder), resident_gb=0.001, max_rows=4, **CONFIG) as opened:
        yield opened


def draw(crowded: Studio, model: int) -> tuple[int, ...]:
    options = {"refine": "none", "num_inference_steps": 2, "width": 64, "height": 64}
    return crowded.generate(prompt="a red cube", model=name_of(model), **options).shape


def test_it_is_refused_and_the_others_go_on(crowded: Studio) -> None:
    for _ in range(2):
        with pytest.raises(RelayError, match=r"^model: .* takes 0\.\d\d GB, allowed 0\.\d\d GB$") as raised:
            draw(crowded, 1)
        assert (raised.value.status, raised.value.code, raised.value.field) == (413, "no_memory", "model")
        assert draw(crowded, 0) == (64, 64, 3)
