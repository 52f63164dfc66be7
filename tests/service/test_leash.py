"""A test run that is killed leaves no server behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.service.server import ROOT
from tests.service.test_disconnect import wait_for

OWNER = """
import os, time
from pathlib import Path
from tests.service.server import Serving
serving = Serving(Path(os.environ["HOME_OF_SERVER"]))
serving.start()
print(serving.process.pid, flush=True)
time.sleep(100)
"""


def test_servers_end_with_a_killed_test_run(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, env={**os.environ, "HOME_OF_SERVER": str(tmp_path)},
        stdout=subprocess.PIPE,
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        leash = psutil.Process(int(owner.stdout.readline()))
        wait_for(lambda: len(leash.children(recursive=True)) == 4)  # bentoml serve, and its three services
        everybody = [leash, *leash.children(recursive=True)]
        owner.kill()
        _, alive = psutil.wait_procs(everybody, timeout=10)
    assert alive == []
