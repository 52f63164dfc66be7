"""Masks: which part of a picture an edit repaints, and what is put back over the rest."""

from pathlib import Path
from typing import Literal

from PIL import Image, ImageChops, ImageFilter, ImageOps

from sdxl.picture.image import opened_picture
from sdxl.picture.pixels import flattened, reduced, upright

MaskConvention = Literal["white", "transparent"]

# Latents are repainted in blocks of 8 x 8 pixels, so what is new goes on past the mask's edge by up to 7.
FADE_PX = 8


def read_mask(upload: bytes | Path, *, repaint: MaskConvention, max_bytes: int, max_pixels: int) -> Image.Image:
    """Decode an upload to a mask of mode L: 255 where the picture is to be repainted, 0 where it is kept.

    `repaint` says what the file marks so: "white" (diffusers; transparency counts as black) or "transparent"
    (OpenAI; colours are ignored, unless nothing is transparent, for then it is white that counts).
    It is scaled down as a picture is, but a colour profile means nothing here: these are not colours.
    Raises what `sdxl.picture.image.read_picture` raises.
    """
    convert = _whiteness if repaint == "white" else _transparency
    with opened_picture(upload, max_bytes=max_bytes) as mask:
        return convert(upright(reduced(mask, max_pixels), mask))


def paste_original(edited: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """Put the original's pixels over what `edited`, of the original's size or less, should have kept.

    Where the mask (mode L) is 0, they fade in over some :data:`FADE_PX` pixels from its edge: cut off there, what
    is new would show the edge. From mid-gray on, where latents are repainted, nothing of them is left.
    """
    original, mask = (image.resize(edited.size, Image.Resampling.LANCZOS) for image in (original, mask))
    blurred = mask.filter(ImageFilter.GaussianBlur(FADE_PX / 2))  # half its white at the edge, none at FADE_PX
    doubled = ImageChops.add(blurred, blurred)
    return Image.composite(edited, original, ImageChops.lighter(mask, doubled))


def _whiteness(mask: Image.Image) -> Image.Image:
    return flattened(mask, onto="black").convert("L")


def _transparency(mask: Image.Image) -> Image.Image:
    alpha = mask.convert("RGBA").getchannel("A")
    is_opaque = alpha.getextrema()[0] == 255
    return _whiteness(mask) if is_opaque else ImageOps.invert(alpha)
