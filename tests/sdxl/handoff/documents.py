"""Hand-off documents for tests: a valid one, and ways to spoil it."""

import json
import math
import struct
from typing import Any

import torch

from sdxl.handoff.document import HandOff
from sdxl.handoff.fields import HandOffFields
from sdxl.handoff.size import GENERATOR_STATE_BYTES

ENSEMBLE: dict[str, Any] = {
    "mode": "ensemble",
    "cutoff": 200,
    "prompt": "a lighthouse in fog, Öl auf Leinwand 🗼",
    "width": 128,
    "height": 64,
    "original_size": (64, 128),
    "crops_coords_top_left": (0, 8),
    "target_size": (64, 128),
    "negative_original_size": (512, 512),
    "negative_crops_coords_top_left": (0, 0),
    "negative_target_size": (1024, 1024),
    "aesthetic_score": 6.0,
    "negative_aesthetic_score": 2.5,
    "scheduler": "euler",
    "schedule": "default",
    "sampler_digest": "0123456789abcdef" * 4,
    "num_inference_steps": 30,
    "steps_done": 24,
    "prompt_syntax": "plain",
    "long_prompts": False,
    "guidance_scale": 5.0,
    "guidance_rescale": 0.1,
    "guidance_end": 0.9,
    "seed": 2**32 - 1,
    "base_digest": "f" * 64,
}


def make(dtype: torch.dtype = torch.float16, *, has_mask: bool = False, **changes: Any) -> HandOff:
    fields = HandOffFields(**{**ENSEMBLE, **changes})
    generator = torch.Generator("cpu").manual_seed(7)
    torch.randn(5, generator=generator)
    shape = (1, 4, fields.height // 8, fields.width // 8)
    latents = torch.arange(math.prod(shape), dtype=torch.float32).sub(256).div(128).reshape(shape).to(dtype)
    mask = latents[:, 3:].gt(1.5).to(torch.uint8) if has_mask else None
    return HandOff(fields=fields, latents=latents, generator_state=generator.get_state(), mask=mask)


def decode(document: bytes) -> HandOff:
    return HandOff.decode(document, max_bytes=1_000_000, max_pixels=1024 * 1024)


def parts(document: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data, by the format's definition rather than by safetensors."""
    (header_bytes,) = struct.unpack("<Q", document[:8])
    return json.loads(document[8 : 8 + header_bytes]), document[8 + header_bytes :]


def joined(header: object, data: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def with_metadata(**changes: str | None) -> bytes:
    header, data = parts(make().encode())
    metadata = {**header["__metadata__"], **changes}
    header["__metadata__"] = {name: text for name, text in metadata.items() if text is not None}
    return joined(header, data)


def with_tensor(name: str, **changes: object) -> bytes:
    """A mask is there only if it is what is changed."""
    header, data = parts(make(has_mask=name == "mask").encode())
    header[name] |= changes
    return joined(header, data)


def with_state(offset: int, code: str, value: int) -> bytes:
    document = bytearray(make().encode())
    struct.pack_into(code, document, len(document) - GENERATOR_STATE_BYTES + offset, value)
    return bytes(document)


HEADER, DATA = parts(make().encode())
