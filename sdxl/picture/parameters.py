"""A picture's making in the text form of AUTOMATIC1111's web UI, which most tools for such pictures read.

The prompt, `Negative prompt: …`, and a last line of pairs `name: value`. Its reader takes lines for the prompt until
one begins with "Negative prompt:", and the last line by commas. What it has no name for is in the record alone.
"""

from __future__ import annotations

import re

from sdxl.picture.record import AnyRecord
from sdxl.request.requests import EditRequest, RefineRequest
from sdxl.request.samplers import SAMPLERS
from sdxl.version import PRODUCT

HASH_CHARACTERS = 10  # of a digest, as AUTOMATIC1111 shows it

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def parameters_text(record: AnyRecord) -> str:
    """The text; its request must be settled."""
    request = record.request
    loras = [f"<lora:{lora.name}:{lora.scale:g}>" for lora in request.loras or ()]
    lines = [" ".join([_printable(request.prompt), *loras])]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {_printable(request.negative_prompt)}")
    lines.append(", ".join(f"{name}: {value}" for name, value in _pairs(record).items()))
    return "\n".join(lines)


def _pairs(record: AnyRecord) -> dict[str, str]:
    """Without commas, colons and quotes, so that none needs quoting."""
    request, base, refiner = record.request, record.checkpoints.base, record.checkpoints.refiner
    sampler = SAMPLERS[request.scheduler or "euler"]
    pairs = {
        "Steps": f"{request.num_inference_steps}",
        "Sampler": sampler.label,
        "Schedule type": sampler.schedule,
        "CFG scale": f"{request.guidance_scale:g}",
        "Seed": f"{request.seed}",
        "Size": f"{record.width}x{record.height}",
        "Model hash": (base or refiner or "")[:HASH_CHARACTERS],
        "Model": "SDXL base" if base else "SDXL refiner",
        "RNG": "CPU",
    }
    if isinstance(request, RefineRequest | EditRequest) or request.refine == "sdedit":
        pairs["Denoising strength"] = f"{request.strength:g}"
    if base and refiner:
        pairs["Refiner"] = f"SDXL refiner [{refiner[:HASH_CHARACTERS]}]"
    if not isinstance(request, RefineRequest) and request.refine == "ensemble":
        pairs["Refiner switch at"] = f"{request.high_noise_frac:g}"
    return {**pairs, "Version": f"{PRODUCT} {record.version}"}


def _printable(text: str) -> str:
    return _CONTROL.sub(" ", text)
