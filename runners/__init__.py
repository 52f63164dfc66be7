"""The two stages as BentoML services.

Before anything imports torch: each of the two runners of a machine gets half of its cores, unless OMP_NUM_THREADS
says otherwise. With as many threads as cores in both, OpenMP's threads spin on the cores that the other runner's
need, and when both are busy, they come to a small part of the work (docs/performance.md has the figures).
OpenMP reads the variable once, when it is loaded.
"""

import os

_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores // 2)))
