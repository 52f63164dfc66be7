"""From the pictures of an img2img request to what is edited, and what becomes of the result."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageChops, ImageFilter, ImageOps

from entry.automatic1111.base64_pictures import file_of
from entry.automatic1111.img2img import Img2Img
from entry.http.upload import Original, faults_named
from sdxl.config.settings import Settings
from sdxl.errors import invalid_field
from sdxl.picture.fit import Box, box_around, fitted
from sdxl.picture.image import read_picture
from sdxl.picture.mask import read_mask
from sdxl.picture.pixels import Size
from sdxl.request.fields import MIN_SIDE_PX

_MIDDLE = 128  # of a mask's levels: AUTOMATIC1111 knows no half-tones but those of its blur


@dataclass(frozen=True, kw_only=True)
class PasteBack:
    """Puts a result over the picture that it was made from, where the mask is white."""

    picture: Image.Image
    mask: Image.Image  # mode L, of the picture's size
    box: Box | None = None  # the part that the result is of; None for all

    def __call__(self, made: Image.Image) -> Image.Image:
        """The finished picture. From mid-gray on, where latents are repainted, nothing of the original is left."""
        if self.box is not None:
            left, top, right, bottom = self.box
            whole = self.picture.copy()
            whole.paste(fitted(made, (right - left, bottom - top), "crop"), (left, top))
            made = whole
        return Image.composite(made, self.picture, ImageChops.add(self.mask, self.mask))


def originals_of(wanted: Img2Img, settings: Settings) -> list[Original]:
    """Of each of `init_images`, in their order, all of one size. To be run in a thread.

    Raises RelayError (400, 413 or 415) that names the field.
    """
    limits = {"max_bytes": settings.max_upload_bytes, "max_pixels": settings.max_pixels}
    files = [file_of(text, _name(wanted, index)) for index, text in enumerate(wanted.init_images)]
    pictures = []
    for index, file in enumerate(files):
        with faults_named(_name(wanted, index)):
            pictures.append(read_picture(file, **limits))
    mask = None
    if wanted.mask is not None:
        with faults_named("mask"):
            mask = _prepared(read_mask(file_of(wanted.mask, "mask"), repaint="opaque", **limits), wanted)
    size = _size(wanted, pictures[0].size, settings)
    return [_original(wanted, file, each, mask, size) for file, each in zip(files, pictures, strict=True)]


def _original(wanted: Img2Img, file: bytes, picture: Image.Image, mask: Image.Image | None, size: Size) -> Original:
    if mask is None and wanted.resizes_latents and min(picture.size) >= MIN_SIDE_PX:
        return Original(file=file, picture=picture, latents_px=size)
    if mask is None:
        return Original(file=file, picture=fitted(picture, size, wanted.fit_mode))
    mask = fitted(mask, picture.size, "stretch")  # some clients send the mask in another size
    if not wanted.inpaint_full_res:
        picture, mask = (fitted(each, size, wanted.fit_mode) for each in (picture, mask))
        return Original(file=file, picture=picture, mask=mask, finish=PasteBack(picture=picture, mask=mask))
    box = box_around(mask, wanted.inpaint_full_res_padding, size)
    if box is None:
        raise invalid_field("mask", "a mask that repaints nothing", "white over at least 8 x 8 pixels")
    part, part_mask = (fitted(each.crop(box), size, "pad") for each in (picture, mask))
    return Original(file=file, picture=part, mask=part_mask, finish=PasteBack(picture=picture, mask=mask, box=box))


def _prepared(mask: Image.Image, wanted: Img2Img) -> Image.Image:
    """Black and white, inverted and blurred as it is wanted."""
    sharp = mask.point([255 * (level >= _MIDDLE) for level in range(256)])
    sharp = ImageOps.invert(sharp) if wanted.inpainting_mask_invert else sharp
    return sharp.filter(ImageFilter.GaussianBlur(wanted.blur_px)) if any(wanted.blur_px) else sharp


def _size(wanted: Img2Img, own: Size, settings: Settings) -> Size:
    """What is to be made; without a word the size of the first picture."""
    width, height = (side // 8 * 8 for side in own)
    width, height = wanted.width or width, wanted.height or height
    if min(width, height) < MIN_SIDE_PX:
        raise invalid_field("init_images", f"{own[0]} x {own[1]}", f"{MIN_SIDE_PX} px a side, or width and height")
    if width * height > settings.max_pixels:
        raise invalid_field("width", width, f"width x height of at most {settings.max_pixels} pixels together")
    return width, height


def _name(wanted: Img2Img, index: int) -> str:
    return "init_images" if len(wanted.init_images) == 1 else f"init_images.{index}"
