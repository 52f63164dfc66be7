"""Calls that may fail: an error becomes a value, so that one job's error cannot end another job's work."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from stepbatch.errors import EngineError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Stands where a result would stand, with an error that is safe to put into a future."""

    error: Exception


def attempt(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Failure:
    """Return what `work` returns, or a `Failure` for whatever it raises; raises nothing."""
    try:
        return work(*args, **kwargs)
    except BaseException as error:
        # An error lives as long as its future, and its frames hold the failed call's tensors: after
        # "out of memory" these are the very gigabytes that the next tick needs.
        traceback.clear_frames(error.__traceback__)
        return Failure(error=_as_safe_error(error))


def _as_safe_error(error: BaseException) -> Exception:
    """Wrap what must not travel through a future.

    KeyboardInterrupt, SystemExit and their like would end the event loop of whoever awaits the future;
    StopIteration cannot be put into an asyncio future at all, so that its reader would wait for ever.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = EngineError(f"a callable given to the engine raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
