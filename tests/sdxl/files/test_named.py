"""Whatever goes wrong with a file is one line, which names the setting."""

from __future__ import annotations

import pytest

from sdxl.config.references import UnusableFile
from sdxl.config.settings import ConfigurationError
from sdxl.files.check import named
from sdxl.files.header import Header, Tensor
from sdxl.files.memory import check_memory, memory_limit


@pytest.mark.parametrize("error", [
    MemoryError(),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    OSError(12, "Cannot allocate memory"),
])  # fmt: skip
def test_want_of_memory_is_called_that(error: Exception) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"^SDXL_BASE=x: not enough memory to load it"),
        named("SDXL_BASE", "x"),
    ):
        raise error


def test_an_error_of_a_library_is_one_line() -> None:
    with pytest.raises(ConfigurationError) as raised, named("SDXL_BASE", "x"):
        raise KeyError("several\nlines\n" + "and more " * 100)
    assert str(raised.value).startswith("SDXL_BASE=x: it cannot be loaded: KeyError: ")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_the_memory_is_some() -> None:
    assert 100e6 < memory_limit() < 100e12


def test_weights_that_no_memory_can_hold() -> None:
    header = Header({"a": Tensor("F16", (1_000_000, 1_000_000)), "b": Tensor("F16", (3,))}, {})
    with pytest.raises(UnusableFile, match=r"its weights take 4000\.0 GB of memory, and there are "):
        check_memory([header], 4)
    check_memory([Header({"b": Tensor("F16", (3,))}, {})], 4)
