"""Whether weights fit into the memory that a process may have."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path

import psutil

from sdxl.config.references import UnusableFile
from sdxl.files.header import Header

CGROUPS = (  # a container's limit, and how much of it is used, in versions 2 and 1
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def check_memory(headers: Iterable[Header], bytes_each: int) -> None:
    """Raises UnusableFile if the files' weights alone, with so many bytes each, are more than all of the memory."""
    needed = bytes_each * sum(header.numbers for header in headers)
    limit = memory_limit()
    if needed > limit:
        raise UnusableFile(
            f"its weights take {needed / 1e9:.1f} GB of memory, and there are {limit / 1e9:.1f} GB for this process;"
            " SDXL_DTYPE=bfloat16 halves what they take"
        )


def memory_limit() -> int:
    """Bytes that this process may have: the machine's, or fewer in a container or by ulimit."""
    limits = [psutil.virtual_memory().total]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limits += [soft] if soft != resource.RLIM_INFINITY else []
    texts = [path.read_text().strip() for path, _ in CGROUPS if path.is_file()]
    return min(limits + [int(text) for text in texts if text.isdigit()])
