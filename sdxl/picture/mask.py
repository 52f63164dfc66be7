"""Masks: which part of a picture an edit repaints, and what is put back over the rest."""

from pathlib import Path
from typing import Literal

from PIL import Image, ImageChops, ImageFilter, ImageOps

from sdxl.picture.image import opened_picture
from sdxl.picture.pixels import flattened, reduced, upright

MaskConvention = Literal["white", "transparent", "opaque"]

# Latents are repainted in blocks of 8 x 8 pixels, so what is new goes on past the mask's edge by up to 7.
FADE_PX = 8


def read_mask(upload: bytes | Path, *, repaint: MaskConvention, max_bytes: int, max_pixels: int) -> Image.Image:
    """Decode an upload to a mask of mode L: 255 where the picture is to be repainted, 0 where it is kept.

    `repaint` says what the file marks so: "white" (diffusers; transparency counts as black), "transparent" (OpenAI) or
    "opaque" (AUTOMATIC1111); with both of these, colours are ignored, unless nothing is transparent, for then it is
    white that counts.
    It is scaled down as a picture is, but a colour profile means nothing here: these are not colours.
    Raises what `sdxl.picture.image.read_picture` raises.
    """
    with opened_picture(upload, max_bytes=max_bytes) as opened:
        mask = upright(reduced(opened, max_pixels), opened)
        return _whiteness(mask) if repaint == "white" else _by_alpha(mask, is_opaque=repaint == "opaque")


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


def _by_alpha(mask: Image.Image, *, is_opaque: bool) -> Image.Image:
    alpha = mask.convert("RGBA").getchannel("A")
    if alpha.getextrema()[0] == 255:
        return _whiteness(mask)
    return alpha if is_opaque else ImageOps.invert(alpha)
