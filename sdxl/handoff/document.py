"""The hand-off: what the base stage sends to the refiner stage (normative description: docs/reference/handoff.md).

A document may come from anyone, so :meth:`HandOff.decode` checks all that can be known without a model.
What it leaves to the refiner: that the digests are the refiner's own and that both stages' timesteps tile.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import save
from torch import Tensor

from sdxl.errors import shorten
from sdxl.handoff.fields import HandOffError, HandOffFields
from sdxl.handoff.size import GENERATOR_STATE_BYTES, LATENT_CHANNELS, MAX_HEADER_BYTES, PX_PER_LATENT

FORMAT = "sdxl-relay-handoff"
VERSION = "2"
_LATENT_DTYPES = {  # by safetensors' name: torch's dtype, the word of that size, the word's exponent bits
    "F32": (torch.float32, "<u4", 0x7F80_0000),
    "F16": (torch.float16, "<u2", 0x7C00),
    "BF16": (torch.bfloat16, "<u2", 0x7F80),
}
_MT19937_WORDS = 624


class HandOffTooLargeError(HandOffError):
    """The document, its header or the picture it is about exceeds a limit."""


class NotSafetensorsError(HandOffError):
    """The bytes are not a well-formed safetensors document."""


class FormatNameError(HandOffError):
    """A safetensors document, but of another format."""


class VersionError(HandOffError):
    """A hand-off of a version that this release does not read."""


class TensorNameError(HandOffError):
    """A tensor is missing or unknown."""


class TensorDtypeError(HandOffError):
    """A tensor has a dtype that is not allowed."""


class TensorShapeError(HandOffError):
    """A tensor has a shape that no hand-off has."""


class LatentSizeError(HandOffError):
    """The size of the latents, or of the mask, disagrees with the fields `width` and `height`."""


class NonFiniteError(HandOffError):
    """The latents contain NaN or infinity."""


class MaskValueError(HandOffError):
    """The mask contains something other than 0 and 1."""


class GeneratorStateError(HandOffError):
    """The generator state is not one that torch.Generator("cpu") can be in."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HandOff:
    """The baton between base and refiner."""

    fields: HandOffFields
    latents: Tensor  # [1, 4, height / 8, width / 8], float32, float16 or bfloat16, on the CPU
    generator_state: Tensor  # [5056] uint8: torch.Generator("cpu").get_state()
    mask: Tensor | None = None  # [1, 1, height / 8, width / 8] uint8: 1 where the picture is repainted, 0 where kept

    def encode(self) -> bytes:
        """Return the document; equal hand-offs give equal bytes."""
        metadata = {"format": FORMAT, "version": VERSION, **self.fields.to_metadata()}
        tensors = {"latents": self.latents.contiguous(), "generator_state": self.generator_state}
        if self.mask is not None:
            tensors["mask"] = self.mask
        return _with_sorted_header(save(tensors, metadata))

    @classmethod
    def decode(cls, document: bytes, *, max_bytes: int, max_pixels: int) -> Self:
        """Read a document of at most `max_bytes` bytes about a picture of at most `max_pixels` pixels.

        Raises the subclass of HandOffError that names the fault, and nothing else.
        """
        if len(document) > max_bytes:
            raise HandOffTooLargeError(f"hand-off of {len(document)} bytes, allowed are {max_bytes}")
        views = _read_views(document)
        fields = HandOffFields.from_metadata(_read_metadata(document))
        if (pixels := fields.width * fields.height) > max_pixels:
            raise HandOffTooLargeError(f"hand-off for a picture of {pixels} pixels, allowed are {max_pixels}")
        if views.keys() - {"mask"} != {"latents", "generator_state"}:
            names = shorten(sorted(views))
            raise TensorNameError(f"hand-off tensors {names}, allowed are generator_state and latents, and mask or not")
        return cls(
            fields=fields,
            latents=_read_latents(views["latents"], fields),
            generator_state=_read_generator_state(views["generator_state"]),
            mask=_read_mask(views["mask"], fields) if "mask" in views else None,
        )


def _read_views(document: bytes) -> dict[str, dict[str, Any]]:
    """Return each tensor's `dtype` (safetensors' name), `shape` and `data`, not yet as torch tensors."""
    header_bytes = int.from_bytes(document[:8], "little")
    if MAX_HEADER_BYTES < header_bytes <= len(document):
        raise HandOffTooLargeError(f"header of {header_bytes} bytes, allowed are {MAX_HEADER_BYTES}")
    try:
        return dict(deserialize(document))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise NotSafetensorsError(f"not a safetensors document: {error!s:.200}") from None


def _read_metadata(document: bytes) -> dict[str, str]:
    """Return the header's metadata without `format` and `version`, which are checked.

    Safetensors has read the same header before: it is known to be JSON, and the metadata to be strings.
    """
    header_bytes = int.from_bytes(document[:8], "little")
    metadata: dict[str, str] = json.loads(document[8 : 8 + header_bytes]).get("__metadata__") or {}
    if (name := metadata.pop("format", None)) != FORMAT:
        raise FormatNameError(f"document of format {shorten(name)}, allowed is {FORMAT!r}")
    if (version := metadata.pop("version", None)) != VERSION:
        raise VersionError(f"hand-off of version {shorten(version)}, allowed is {VERSION!r}")
    return metadata


def _read_latents(view: dict[str, Any], fields: HandOffFields) -> Tensor:
    _check_shape("latents", view["shape"], LATENT_CHANNELS, fields)
    if view["dtype"] not in _LATENT_DTYPES:
        raise TensorDtypeError(f"latents of dtype {view['dtype']}, allowed are {', '.join(_LATENT_DTYPES)}")
    dtype, word, exponent = _LATENT_DTYPES[view["dtype"]]
    # NaN and infinity are the values whose exponent bits are all set. Asked of numpy, because torch.isfinite
    # shares its pool of threads with a model that runs on the CPU: 0.1 ms then becomes 30 ms.
    if ((np.frombuffer(view["data"], dtype=word) & exponent) == exponent).any():
        raise NonFiniteError("latents with NaN or infinity, allowed are finite values")
    return torch.frombuffer(view["data"], dtype=dtype).reshape(view["shape"])


def _read_mask(view: dict[str, Any], fields: HandOffFields) -> Tensor:
    _check_shape("mask", view["shape"], 1, fields)
    if view["dtype"] != "U8":
        raise TensorDtypeError(f"mask of dtype {view['dtype']}, allowed is U8")
    values = np.frombuffer(view["data"], dtype=np.uint8)
    if values.max() > 1:
        raise MaskValueError(f"mask with the value {values.max()}, allowed are 0 and 1")
    return torch.frombuffer(view["data"], dtype=torch.uint8).reshape(view["shape"])


def _check_shape(name: str, got: list[int], channels: int, fields: HandOffFields) -> None:
    if len(got) != 4 or got[:2] != [1, channels]:
        raise TensorShapeError(f"{name} of shape {shorten(got)}, allowed is [1, {channels}, height / 8, width / 8]")
    allowed = [1, channels, fields.height // PX_PER_LATENT, fields.width // PX_PER_LATENT]
    if got != allowed:
        size = f"{fields.width} x {fields.height} pixels"
        raise LatentSizeError(f"{name} of shape {got} for {size}, allowed is {allowed}")


def _read_generator_state(view: dict[str, Any]) -> Tensor:
    if view["dtype"] != "U8":
        raise TensorDtypeError(f"generator_state of dtype {view['dtype']}, allowed is U8")
    if view["shape"] != [GENERATOR_STATE_BYTES]:
        got = shorten(view["shape"])
        raise TensorShapeError(f"generator_state of shape {got}, allowed is [{GENERATOR_STATE_BYTES}]")
    state = torch.frombuffer(view["data"], dtype=torch.uint8)
    try:
        torch.Generator("cpu").set_state(state)
    except RuntimeError as error:
        raise GeneratorStateError(f"generator_state that torch refuses: {error!s:.200}") from None
    # torch accepts any position, and later reads past the end of the generator's 624 words.
    left, position = struct.unpack_from("<i4xQ", view["data"], offset=8)
    if left + position > _MT19937_WORDS + 1:
        raise GeneratorStateError(
            f"generator_state at word {position} with {left} to go, allowed are {_MT19937_WORDS} in all"
        )
    return state


def _with_sorted_header(document: bytes) -> bytes:
    """Sort the header's keys, for safetensors writes the metadata in another order each time."""
    end = 8 + int.from_bytes(document[:8], "little")
    entries = json.loads(document[8:end])
    header = json.dumps(entries, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # as safetensors does, so that the tensors stay aligned
    return struct.pack("<Q", len(header)) + header + document[end:]
