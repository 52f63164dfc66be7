import weakref

import pytest
import torch

from stepbatch.errors import EngineError
from stepbatch.failure import Failure, attempt


def raise_(error: BaseException) -> None:
    raise error


def test_a_result_passes_through() -> None:
    assert attempt(divmod, 7, 2) == (3, 1)


def test_an_exception_is_kept_as_it_is() -> None:
    error = ValueError("no")
    outcome = attempt(raise_, error)
    assert isinstance(outcome, Failure)
    assert outcome.error is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), StopIteration()])
def test_what_would_harm_the_reader_of_a_future_is_wrapped(error: BaseException) -> None:
    outcome = attempt(raise_, error)
    assert isinstance(outcome, Failure)
    assert isinstance(outcome.error, EngineError)
    assert type(error).__name__ in str(outcome.error)
    assert outcome.error.__cause__ is error


def test_a_kept_error_does_not_keep_the_failed_calls_tensors() -> None:
    seen: list[weakref.ref[torch.Tensor]] = []

    def run_out_of_memory() -> None:
        activations = torch.zeros(10)
        seen.append(weakref.ref(activations))
        raise MemoryError

    outcome = attempt(run_out_of_memory)
    assert isinstance(outcome, Failure)
    assert outcome.error.__traceback__ is not None
    assert seen[0]() is None
