"""Who is compared: how each is started, and how it wants to be asked."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load_arrivals import Work
from tests.service.server import ROOT, serving

# No contender is to turn work away, however long its queue.
ROOMY = {"SDXL_MAX_ROWS": "8", "SDXL_MAX_JOBS": "100000", "SDXL_TIMEOUT_S": "86400"}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A service, with the environment that it is served in."""

    name: str
    target: str
    environment: dict[str, str] = field(default_factory=dict)
    takes_lists: bool = False  # of requests, and answers with a list of pictures in base 64

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Runs `bentoml serve` until the block ends; gives its URL."""
        with (
            tempfile.TemporaryDirectory() as home,
            serving(Path(home), self.target, ROOT, **self.environment) as server,
        ):
            yield server.url

    def request(self, work: Work) -> dict[str, object]:
        """The JSON of a request for one picture."""
        return {"requests": [work.fields]} if self.takes_lists else work.fields

    def picture(self, answer: bytes) -> bytes:
        """The picture's file in the body of an answer."""
        return base64.b64decode(json.loads(answer)[0]) if self.takes_lists else answer


ONE_AT_A_TIME = Contender(name="one at a time", target="benchmarks.baselines.one_at_a_time:OneAtATime")
ADAPTIVE = Contender(
    name="adaptive batching", target="benchmarks.baselines.adaptive_batching:AdaptiveBatching", takes_lists=True
)
RELAY_FCFS = Contender(name="relay, fcfs", target=".", environment={**ROOMY, "SDXL_POLICY": "fcfs"})
RELAY_SHORTEST = Contender(name="relay, shortest", target=".", environment={**ROOMY, "SDXL_POLICY": "shortest"})

CONTENDERS = {"a": ONE_AT_A_TIME, "b": ADAPTIVE, "c": RELAY_FCFS, "d": RELAY_SHORTEST}
LOAD_IS_A_SHARE_OF = "c"
