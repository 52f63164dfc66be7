"""`bentoml serve` itself: the process that starts one for each service, by circus, and is the one that gets signals.

Left to itself, it starts all services again on SIGHUP, and a second SIGINT or SIGTERM does nothing. Its processes have
sessions of their own, so that neither Ctrl-C nor the end of a terminal reaches them, and they would outlive it.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import time
from types import FrameType
from typing import Any

import psutil
from circus.sighandler import SysHandler

CANNOT_LOAD = signal.SIGUSR1
AGAIN_S = 1.0  # from a signal to one that counts as the second, for one stop may come in two ways
AT_ONCE_S = 5.0  # until the end of whatever is left
_PR_SET_PDEATHSIG = 1  # of Linux' prctl


def take_over_signals() -> None:
    """To be called in it, before it starts processes."""
    signal.signal(CANNOT_LOAD, _end_with_status_1)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup
        SysHandler.SIGNALS = [each for each in SysHandler.SIGNALS if each != signal.SIGHUP]
    SysHandler.handle_int = SysHandler.handle_term = SysHandler.handle_hup = _stop
    SysHandler.handle_quit = _stop_at_once


def end_with_parent() -> None:
    """To be called in a process that is not to outlive the one that started it: on Linux, it gets SIGTERM then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(handler: Any) -> None:
    """The services end in order; by a second signal, at once."""
    now = time.monotonic()
    if not hasattr(handler, "begun_at"):
        handler.begun_at = now
        handler.quit()
    elif now - handler.begun_at >= AGAIN_S:
        _stop_at_once(handler)


def _stop_at_once(handler: Any) -> None:
    handler.quit()
    for process in psutil.Process().children():
        process.send_signal(signal.SIGQUIT)
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
