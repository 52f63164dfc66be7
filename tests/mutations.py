"""Faults put into the source, one at a time: do the tests find them? `python -m tests.mutations [NUMBER …]`.

Each runs in a copy of the working tree: first the tests that mirror its folder, then those of whole servers that it
may concern, then all. The first failure ends it. A table says which test found it, and after how long.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutation:
    """A fault: in this file, the text becomes another one. `tests` are run before all others."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()


PARITY, EDIT = "tests/service/test_parity.py", "tests/service/test_edit.py"
EVERYTHING = ("--numprocesses", "2", "--dist", "loadfile", "tests")
MUTATIONS = [
    # the engine
    Mutation("stepbatch/tick.py", "mul_(scale)", "mul_(scale + 0.02)"),
    Mutation("stepbatch/tick.py", "rescale * x_rescaled + (1 - rescale) * x_cfg", "x_rescaled"),
    Mutation("stepbatch/policy.py", "if job.is_low_priority else 0.0", "if not job.is_low_priority else 0.0"),
    Mutation("stepbatch/policy.py", "rows + job.rows <= max_rows and", "rows + job.rows <= max_rows + 1 and"),
    Mutation("stepbatch/held.py", "len(self._jobs) >= self._max_jobs", "len(self._jobs) > self._max_jobs"),
    Mutation("stepbatch/denoising.py", "self.next_step >= self.guided_steps", "self.next_step > self.guided_steps"),
    Mutation("stepbatch/job.py", "return self.needs[0], self.size", "return self.size"),
    # how a job runs
    Mutation("sdxl/denoising/sampler.py", "(timesteps < cutoff)", "(timesteps <= cutoff)", (PARITY,)),
    Mutation("sdxl/denoising/sampler.py", "count = min(int(", "count = min(round("),
    Mutation("sdxl/denoising/prompt.py", "words.negative_prompt is None and", "False and", (PARITY,)),
    Mutation("sdxl/denoising/prompt.py", "words.negative_prompt_2, None)", "None, None)", (PARITY,)),
    Mutation("sdxl/denoising/inpainting.py", ">= 128", "> 0", (EDIT,)),
    Mutation("sdxl/denoising/guidance.py", "guided += -guided % sampler.order", "guided += 0",
             ("tests/service/test_guidance_end.py",)),
    # the hand-off
    Mutation("sdxl/handoff/document.py", "== exponent).any()", "== exponent).all()"),
    Mutation("sdxl/handoff/document.py", "> _MT19937_WORDS + 1", "> 10**9"),
    Mutation("sdxl/handoff/fields.py", "if belongs != (value is not None):", "if belongs and value is None:"),
    # what may be asked
    Mutation("sdxl/request/fields.py", "Field(ge=0, le=MAX_SEED)", "Field(ge=0, le=MAX_SEED + 1)",
             ("tests/service/test_bad_input.py",)),
    Mutation("sdxl/request/requests.py", "if request.guidance_scale is not None:", "if False:", (PARITY,)),
    Mutation("sdxl/request/limits.py", 'is_low_priority=priority == "low"', "is_low_priority=False",
             ("tests/service/test_limits.py",)),
    # what is loaded
    Mutation("sdxl/models/changed_layer.py", "torch.where(factors == 0, 0, inner * factors)", "inner * factors"),
    Mutation("sdxl/models/prompt_cache.py", "key = wording, adapters, named", "key = wording, (), named",
             ("tests/service/test_loras.py",)),
    Mutation("sdxl/models/weights.py", "halves and (is_half or not plain)", "halves and is_half"),
    # what comes out
    Mutation("sdxl/picture/image.py", '"4:4:4"', '"4:2:0"', ("tests/service/test_provenance.py",)),
    Mutation("sdxl/picture/comment.py", 'text.encode("utf-16-be")', 'text.encode("utf-16-le")'),
    Mutation("sdxl/picture/mask.py", "ImageChops.lighter(mask, doubled)", "mask", (EDIT,)),
    # the entry and the runners
    Mutation("entry/http/keys.py", 'and scope.get("method") in ("GET", "HEAD")', "", ("tests/service/test_keys.py",)),
    Mutation("entry/http/connected.py", "(leave or work.cancel)()", "(leave or (lambda: None))()",
             ("tests/service/test_disconnect.py",)),
    Mutation("entry/fleet/stage.py", "return min(waiting,", "return max(waiting,"),
    Mutation("entry/automatic1111/requests.py", "else stop_at - 2", "else stop_at - 1"),
    Mutation("runners/door.py", "        _refuse_pickle(scope)\n", "", ("tests/service/test_pickle.py",)),
]  # fmt: skip


def found_by(mutation: Mutation) -> str | None:
    """The first test that fails, None if all pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "site", "__pycache__", ".*_cache"))
        (copy / ".venv").symlink_to(ROOT / ".venv")
        path = copy / mutation.file
        text = path.read_text()
        assert text.count(mutation.old) >= 1, f"{mutation.file} has no {mutation.old!r}"
        path.write_text(text.replace(mutation.old, mutation.new, 1))
        for tests in (_mirror(mutation.file), mutation.tests, EVERYTHING):
            if tests and (test := _first_failure(copy, tests)):
                return test
    return None


def _mirror(file: str) -> tuple[str, ...]:
    folder = f"tests/{Path(file).parent}"
    return (folder,) if (ROOT / folder).is_dir() else ()


def _first_failure(project: Path, tests: tuple[str, ...]) -> str | None:
    """Raises RuntimeError if pytest itself fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout[-2_000:] + done.stderr[-2_000:])
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed[1] if failed else None


def main() -> None:
    numbers = [int(number) for number in sys.argv[1:]] or range(1, len(MUTATIONS) + 1)
    missed = 0
    for number in numbers:
        mutation = MUTATIONS[number - 1]
        begun = time.monotonic()
        test = found_by(mutation)
        missed += test is None
        change = " ".join(f"{mutation.old.strip()} -> {mutation.new.strip() or 'nothing'}".split())
        found = test or "NOT FOUND"
        sys.stdout.write(f"| {number} | {mutation.file} | `{change}` | {found} | {time.monotonic() - begun:.0f} s |\n")
        sys.stdout.flush()
    sys.exit(f"{missed} not found" if missed else 0)


if __name__ == "__main__":
    main()
