"""The two stages as BentoML services.

Before anything imports torch: OpenMP's threads shall sleep while they wait, and not spin. Base and refiner share the
cores of one machine, and when both are busy, spinning threads keep each other from the work they wait for
(docs/performance.md has the figures). OpenMP reads the variable once, when it is loaded.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
