"""What AUTOMATIC1111's clients send for a picture from a picture, and what it means here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from entry.automatic1111.forgiving import NUMBER, Portion, Whole
from entry.automatic1111.options import Options
from entry.automatic1111.requests import MAX_PICTURES, NO_OPTIONS, PicturesWanted
from sdxl.errors import invalid_field
from sdxl.picture.fit import FitMode
from sdxl.request.fields import MaskedContent
from sdxl.request.requests import EditRequest

CONTENTS: tuple[MaskedContent, ...] = ("fill", "original", "noise", "nothing")  # by AUTOMATIC1111's numbers
FIT_MODES: tuple[FitMode, ...] = ("stretch", "crop", "pad", "stretch")
LATENT_RESIZE = 3
STRONGEST = 0.9999  # with a mask: at 1, diffusers begins with nothing but noise, and AUTOMATIC1111 does not
MAX_BLUR_PX = MAX_PADDING_PX = 256

Blur = Annotated[float, Field(ge=0, le=MAX_BLUR_PX), NUMBER]


def _as_flag(value: object) -> object:
    """inpainting_mask_invert is a number there."""
    return bool(value) if isinstance(value, int | float) else value


class Img2Img(PicturesWanted):
    """Pictures from a picture (`POST /sdapi/v1/img2img`). Pictures are PNG, JPEG or WebP in base64."""

    init_images: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_PICTURES)]
    mask: str | None = None
    denoising_strength: Annotated[Portion, NUMBER] = 0.75
    resize_mode: Annotated[Whole, Field(ge=0, le=3)] = 0
    mask_blur: Blur | None = None
    mask_blur_x: Blur = 4.0
    mask_blur_y: Blur = 4.0
    inpainting_fill: Annotated[Whole, Field(ge=0, le=3)] = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: Annotated[Whole, Field(ge=0, le=MAX_PADDING_PX)] = 0
    inpainting_mask_invert: Annotated[bool, BeforeValidator(_as_flag)] = False
    include_init_images: bool = False

    @field_validator("init_images", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        """One picture may come without a list."""
        return [value] if isinstance(value, str) else value

    def model_post_init(self, _context: object) -> None:
        """Raises RelayError (400) for more pictures than are wanted, too."""
        super().model_post_init(_context)
        if self.batch_size is not None and len(self.init_images) > self.batch_size:
            allowed = f"one, or up to batch_size = {self.batch_size}"
            raise invalid_field("init_images", f"{len(self.init_images)} pictures", allowed)

    @property
    def count(self) -> int:
        """Pictures: with several to begin with, a batch has one from each."""
        at_once = len(self.init_images) if len(self.init_images) > 1 else self.batch_size or 1
        return at_once * (self.n_iter or 1)

    def picture_for(self, index: int) -> int:
        """Which of `init_images` the picture of this index is made from."""
        return index % len(self.init_images)

    @property
    def blur_px(self) -> tuple[float, float]:
        """Of the mask's edge, sideways and downwards."""
        return (self.mask_blur_x, self.mask_blur_y) if self.mask_blur is None else (self.mask_blur, self.mask_blur)

    @property
    def fit_mode(self) -> FitMode:
        """How a picture of another size is brought to width x height."""
        return FIT_MODES[self.resize_mode]

    @property
    def resizes_latents(self) -> bool:
        """Whether latents are brought to width x height, and not the picture."""
        return self.resize_mode == LATENT_RESIZE and self.mask is None

    @property
    def ignored(self) -> dict[str, str]:
        """The fields that were sent and had no effect, each with the reason."""
        if self.resize_mode != LATENT_RESIZE or self.resizes_latents:
            return super().ignored
        return super().ignored | {"resize_mode": "with a mask, the picture is resized, as by 0"}

    @property
    def own_names(self) -> Mapping[str, str]:
        """Our names of fields, of which errors may speak, and what the client calls them."""
        edits = {"strength": "denoising_strength", "image": "init_images", "masked_content": "inpainting_fill"}
        return {**super().own_names, **edits}

    def requests(self, seeds: list[int], options: Options = NO_OPTIONS) -> list[EditRequest]:
        """A request of ours for each seed."""
        content = {} if self.mask is None else {"masked_content": CONTENTS[self.inpainting_fill]}
        fields: dict[str, Any] = {**self.shared_fields(options), "strength": self._strength, **content}
        return [EditRequest(**fields, seed=seed) for seed in seeds]

    @property
    def _strength(self) -> float:
        """At least one step is left to do, as there."""
        least = 1.001 / (self.steps or 30)
        return min(max(float(self.denoising_strength), least), 1.0 if self.mask is None else STRONGEST)
