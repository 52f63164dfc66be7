"""Runs a command that ends with whoever started it: `python -m tests.service.leash COMMAND`, with a pipe as stdin.

The pipe's other end closes when its owner dies, however that comes about; then the command and all that it has
started are killed. Signals are passed on, and the exit status is the command's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from types import FrameType

import psutil


def main() -> int:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it, as nohup does
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)

    def pass_on(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            command.send_signal(number)

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process().children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    threading.Thread(target=watch, daemon=True).start()
    return command.wait()


if __name__ == "__main__":
    sys.exit(main())
