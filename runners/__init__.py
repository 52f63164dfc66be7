"""The two stages as BentoML services.

What libraries read from the environment when they are imported is set here. Each of the two runners of a machine gets
half of its cores, unless OMP_NUM_THREADS says otherwise. With as many threads as cores in both, OpenMP's threads spin
on the cores that the other runner's need, and when both are busy, they come to a small part of the work
(docs/explanation/performance.md has the figures). A base without a refiner gets all cores.
"""

import os

from sdxl.catalog.start import with_refiner
from sdxl.config.settings import ConfigurationError, Settings


def _runners() -> int:
    try:
        return 2 if with_refiner(Settings.from_environment()).has_refiner else 1
    except ConfigurationError:  # which ends the start elsewhere, with its one line
        return 2


if "OMP_NUM_THREADS" not in os.environ:  # BentoML's workers inherit it from the process that starts them
    _cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    os.environ["OMP_NUM_THREADS"] = str(max(1, _cores // _runners()))
# Their warnings repeat prompts and name packages that nothing here needs; a log file has no place for progress bars.
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
