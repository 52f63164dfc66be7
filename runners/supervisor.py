"""`bentoml serve` itself: the process that starts one for each service, by circus, and is the one that gets signals.

Left to itself, it starts all services again on SIGHUP, and a second SIGINT or SIGTERM does nothing. Its processes have
sessions of their own, so that neither Ctrl-C nor the end of a terminal reaches them, and they would outlive it.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from types import FrameType
from typing import Any

import psutil
from circus.sighandler import SysHandler

CANNOT_LOAD = signal.SIGUSR1
AT_ONCE_S = 5.0  # from the second signal to the end of whatever is left
_PR_SET_PDEATHSIG = 1  # of Linux' prctl
_begin = SysHandler.quit


def take_over_signals() -> None:
    """To be called in it, before it starts processes."""
    signal.signal(CANNOT_LOAD, _end_with_status_1)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup
        SysHandler.SIGNALS = [each for each in SysHandler.SIGNALS if each != signal.SIGHUP]
    SysHandler.quit = SysHandler.handle_hup = _quit


def end_with_parent() -> None:
    """To be called in a process that is not to outlive the one that started it: on Linux, it gets SIGTERM then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _quit(handler: Any) -> None:
    """By the first signal, the services end in order; by the second, at once."""
    if not hasattr(handler, "has_begun"):
        handler.has_begun = True
        _begin(handler)
        return
    for process in psutil.Process().children():
        process.terminate()
    loop = handler.controller.loop
    loop.add_callback_from_signal(loop.call_later, AT_ONCE_S, _kill_processes)


def _kill_processes() -> None:
    for process in psutil.Process().children(recursive=True):
        process.kill()


def _end_with_status_1(_signal: int, _frame: FrameType | None) -> None:
    """As SIGTERM does, which circus' own handler is for; the exit status would be 0."""
    supervisor = signal.getsignal(signal.SIGTERM).__self__.controller.arbiter  # type: ignore[union-attr]
    supervisor._exception = SystemExit(1)  # raised when it has stopped
    signal.raise_signal(signal.SIGTERM)
