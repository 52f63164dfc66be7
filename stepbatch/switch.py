"""What of a model is switched between pieces of work, so that jobs with other adapters can share it."""

from collections.abc import Callable, Hashable
from typing import Any


class Switch:
    """Calls `apply` with a job's adapters where they are not the model's already; at first these are ()."""

    def __init__(self, apply: Callable[[Any], None]) -> None:
        self._apply = apply
        self._active: Hashable = ()
        self._is_known = True

    def to(self, adapters: Hashable) -> None:
        """Raises what `apply` raises, and calls it the next time in any case: nobody knows what it left behind."""
        if self._is_known and adapters == self._active:
            return
        self._is_known = False
        self._apply(adapters)
        self._active, self._is_known = adapters, True
