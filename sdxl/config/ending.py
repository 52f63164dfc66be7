"""How a process that cannot serve says why, and ends."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

# Kubernetes shows what a container leaves there as the reason of its end. Elsewhere there is no such file.
TERMINATION_LOG = Path("/dev/termination-log")


def say_why(reason: object) -> None:
    """One line on stderr, and to Kubernetes."""
    line = f"sdxl-relay: {reason}"
    print(line, file=sys.stderr, flush=True)
    with suppress(OSError), TERMINATION_LOG.open("r+") as file:  # which does not make one
        file.write(line)
        file.truncate()


def end(reason: object) -> NoReturn:
    """Says it, and ends the process with status 1."""
    say_why(reason)
    sys.exit(1)
