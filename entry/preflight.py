"""What would keep the server from starting, said in one line before it is started."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from runners.supervisor import end_with_parent
from sdxl.catalog.check import check_start
from sdxl.catalog.start import settings_or_exit
from sdxl.config.ending import end
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.files.check import stages_here


def check(settings: Settings, stages: Iterable[StageName], ports: Mapping[str, tuple[str, str]]) -> None:
    """Ends the process with a line that names the checkpoint or the port at fault.

    `ports` are (host, port) by the variable that make has each port from. All are taken at the same time, so that none
    may be there twice.
    """
    try:
        check_start(settings, stages)
    except ConfigurationError as error:
        end(error)
    with ExitStack() as probes:
        for variable, (host, port) in ports.items():
            probe = probes.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
                probe.listen()
            except (OSError, ValueError, OverflowError) as error:
                end(f"cannot listen on {host}:{port}: {error}; choose another port, as in {variable}=3300")


def main(host: str, port: str, *command: str) -> None:
    """Ends with such a line for a setting, too; otherwise becomes the command, which ends with its parent (`make`)."""
    settings = settings_or_exit()
    check(settings, stages_here(settings), {"PORT": (host, port)})
    if command:
        end_with_parent()
        os.execv(command[0], command)  # no shell is meant


if __name__ == "__main__":
    main(*sys.argv[1:])
