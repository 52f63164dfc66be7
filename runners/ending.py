"""Ends the whole server when a stage cannot be loaded. BentoML would start its process again for ever.

`bentoml serve` is a process that supervises one for each service. A service's process cannot end its supervisor by
ending; it sends it a signal. The supervisor then stops all of them in order, and exits with status 1.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from runners.gauges import FOLDER
from runners.supervisor import CANNOT_LOAD, take_over_signals
from sdxl.catalog.check import check_start
from sdxl.config.ending import end, say_why
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.files.check import named

logger = logging.getLogger("bentoml.sdxl_relay")


def prepare_to_serve(settings: Settings, stages: Iterable[StageName]) -> None:
    """To be called in the supervisor before it starts processes; once for each service, which makes no difference.

    It ends if a look at the files shows them unusable.
    """
    try:
        check_start(settings, stages)
    except ConfigurationError as error:
        end(error)
    take_over_signals()


@contextmanager
def loading(stage: StageName, settings: Settings) -> Iterator[None]:
    """For the block that loads a stage in its own process. Any error in it ends the server.

    So does a mark of the process before, which was killed in this block: by the system, for want of memory.
    SIGTERM ends the block at once, for nothing has been accepted yet.
    """
    setting, reference = f"SDXL_{stage.upper()}", getattr(settings, stage)
    mark = Path(os.environ[FOLDER]) / f"{stage}-of-{os.getppid()}.loading"

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        mark.unlink(missing_ok=True)
        os._exit(0)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        if mark.exists():
            told = "the process that loaded it was killed, most likely for want of memory"
            raise ConfigurationError(f"{setting}={reference}: {told}")
        mark.touch()
        with named(setting, reference):
            yield
    except ConfigurationError as error:
        logger.debug("cannot load", exc_info=True)
        _end_server(error)
    mark.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, before)


def _end_server(reason: object) -> NoReturn:
    say_why(reason)
    os.kill(os.getppid(), CANNOT_LOAD)
    os._exit(1)
