"""A picture's making in the text form of AUTOMATIC1111's web UI, which most tools for such pictures read.

The prompt, `Negative prompt: …`, and a last line of pairs `name: value`. Its reader takes lines for the prompt until
one begins with "Negative prompt:", and the last line by commas. What it has no name for is in the record alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from sdxl.picture.record import AnyRecord
from sdxl.request.hires import Hires
from sdxl.request.loras import scale_text
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest
from sdxl.request.samplers import SAMPLERS
from sdxl.request.schedules import SCHEDULES
from sdxl.version import PRODUCT

HASH_CHARACTERS = 10  # of a digest, as AUTOMATIC1111 shows it

NEGATIVE, STEPS = "Negative prompt:", "Steps: "
# A name, and a value up to a comma, or in quotes as JSON has them. AUTOMATIC1111 takes three pairs for a line of them.
_PAIR = re.compile(r"""(\w[\w \-/.]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)""")
_MIN_PAIRS = 3
_INTEGER, _DECIMAL = re.compile(r"-?[0-9]{1,20}"), re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Parameters(BaseModel):
    """What such a text says, whoever wrote it; what it does not say is left out."""

    prompt: str
    negative_prompt: str | None = None
    steps: int | None = None
    sampler: str | None = None
    schedule_type: str | None = None
    cfg_scale: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    model_hash: str | None = None
    model: str | None = None
    denoising_strength: float | None = None
    clip_skip: int | None = None
    """In AUTOMATIC1111's count: 2 is SDXL's own."""
    version: str | None = None
    others: dict[str, str] = {}
    """All other pairs, by their names in the text, and those above whose value is no number."""


def parameters_text(record: AnyRecord) -> str:
    """The text; its request must be settled."""
    request = record.request
    loras = [f"<lora:{lora.name}:{scale_text(lora)}>" for lora in request.loras or ()]
    lines = [" ".join([_printable(request.prompt), *loras])]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {_printable(request.negative_prompt)}")
    lines.append(", ".join(f"{name}: {value}" for name, value in _pairs(record).items()))
    return "\n".join(lines)


def _pairs(record: AnyRecord) -> dict[str, str]:
    """Without commas, colons and quotes, so that none needs quoting."""
    request, base, refiner = record.request, record.checkpoints.base, record.checkpoints.refiner
    pairs = {
        "Steps": f"{request.num_inference_steps}",
        "Sampler": SAMPLERS[request.scheduler or "euler"].label,
        "Schedule type": SCHEDULES[request.schedule or "default"].label,
        "CFG scale": f"{request.guidance_scale:g}",
        "Seed": f"{request.seed}",
        "Size": _first_size(record),
        "Model hash": (base or refiner or "")[:HASH_CHARACTERS],
        "Model": _name(request.model or ("sdxl" if base else "sdxl-refiner")),
        "RNG": "CPU",
    }
    if isinstance(request, RefineRequest | EditRequest) or request.refine == "sdedit":
        pairs["Denoising strength"] = f"{request.strength:g}"
    if isinstance(request, GenerationRequest) and request.hires is not None:
        pairs |= _hires_pairs(request.hires, record)
    if request.clip_skip is not None:  # AUTOMATIC1111 counts layers from the end, of which SDXL takes the second
        pairs["Clip skip"] = f"{request.clip_skip + 2}"
    if base and refiner:
        refined_by = None if isinstance(request, RefineRequest) else request.refiner_model
        pairs["Refiner"] = f"{_name(refined_by or 'sdxl-refiner')} [{refiner[:HASH_CHARACTERS]}]"
    if not isinstance(request, RefineRequest) and request.refine == "ensemble":
        pairs["Refiner switch at"] = f"{request.high_noise_frac:g}"
    return {**pairs, "Version": f"{PRODUCT} {record.version}"}


def _first_size(record: AnyRecord) -> str:
    """Of a picture in two passes, the first one's."""
    if isinstance(record.request, GenerationRequest) and record.request.hires is not None:
        return f"{record.request.width}x{record.request.height}"
    return f"{record.width}x{record.height}"


def _hires_pairs(hires: Hires, record: AnyRecord) -> dict[str, str]:
    return {
        "Denoising strength": f"{hires.strength:g}",
        "Hires resize": f"{record.width}x{record.height}",
        "Hires steps": f"{hires.steps_done(record.request.num_inference_steps or 0)}",
        "Hires upscaler": hires.upscaler.capitalize(),
    }


def _name(model: str) -> str:
    return re.sub(r"[,:\"]", " ", _printable(model))


def _printable(text: str) -> str:
    return _CONTROL.sub(" ", text)


def parsed(text: str) -> Parameters | None:
    """The fields of a text; None if it has no line of them, as a text in another form."""
    lines = text.strip().split("\n")
    last = next((at for at in reversed(range(len(lines))) if lines[at].startswith(STEPS)), len(lines) - 1)
    pairs = _PAIR.findall(lines[last])
    if len(pairs) < _MIN_PAIRS and not lines[last].startswith(STEPS):
        return None
    negative = next((at for at in range(last) if lines[at].startswith(NEGATIVE)), last)
    fields: dict[str, Any] = {"prompt": "\n".join(lines[:negative]).strip()}
    if negative < last:
        fields["negative_prompt"] = "\n".join(lines[negative:last]).removeprefix(NEGATIVE).strip()
    others: dict[str, str] = {}
    for name, value in ((name.strip(), _unquoted(value.strip())) for name, value in pairs):
        read = _READERS.get(name)
        found = None if read is None else read(name, value)
        fields |= found or {}
        others |= {} if found else {name: value}
    return Parameters(**fields, others=others)


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value


def _size(_name: str, value: str) -> dict[str, Any]:
    width, _, height = value.partition("x")
    is_size = _INTEGER.fullmatch(width) and _INTEGER.fullmatch(height)
    return {"width": int(width), "height": int(height)} if is_size else {}


def _field(pattern: re.Pattern[str], kind: Callable[[str], Any]) -> Callable[[str, str], dict[str, Any]]:
    def read(name: str, value: str) -> dict[str, Any]:
        return {name.lower().replace(" ", "_"): kind(value)} if pattern.fullmatch(value) else {}

    return read


_READERS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "Size": _size,
    **dict.fromkeys(("Steps", "Seed", "Clip skip"), _field(_INTEGER, int)),
    **dict.fromkeys(("CFG scale", "Denoising strength"), _field(_DECIMAL, float)),
    **dict.fromkeys(("Sampler", "Schedule type", "Model hash", "Model", "Version"), _field(re.compile(".+"), str)),
}
