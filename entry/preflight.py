"""What would keep the server from starting, said in one line before it is started."""

from __future__ import annotations

import socket
import sys

from sdxl.config.settings import ConfigurationError, Settings
from sdxl.files.check import check_files, stages_here


def main(host: str, port: str) -> None:
    """Ends the process with a line that names the setting, the checkpoint or the port at fault."""
    settings = Settings.or_exit()
    try:
        check_files(settings, stages_here(settings))
    except ConfigurationError as error:
        sys.exit(f"sdxl-relay: {error}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except (OSError, ValueError, OverflowError) as error:
            sys.exit(f"sdxl-relay: cannot listen on {host}:{port}: {error}; choose another, as in PORT=3001 make serve")


if __name__ == "__main__":
    main(*sys.argv[1:])
