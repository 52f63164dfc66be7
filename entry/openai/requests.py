"""What OpenAI's clients send to the Images API, and what it means here.

Every field of the client is known, with the bounds that it has here. docs/reference/other-apis.md says for each why it
is mapped, ignored or refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator
from pydantic.json_schema import SkipJsonSchema

from sdxl.errors import invalid_field
from sdxl.request.fields import (
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    EditRefineMode,
    Guidance,
    Integer,
    ModelName,
    OpenShare,
    OutputFormat,
    Prompt,
    PromptSyntax,
    RefineMode,
    Score,
    Seed,
    Steps,
    Strength,
    Text,
)
from sdxl.request.requests import EditRequest, GenerationRequest
from sdxl.request.samplers import SamplerName, with_present_names
from sdxl.request.schedules import ScheduleName

IGNORED = {
    "quality": "num_inference_steps decides",
    "complexity": "num_inference_steps decides",
    "style": "the prompt decides",
    "input_fidelity": "strength decides",
    "moderation": "there is none",
    "user": "nobody is told who asked",
    "safety_identifier": "nobody is told who asked",
}
OURS = {
    "prompt", "negative_prompt", "prompt_syntax", "long_prompts", "num_inference_steps", "guidance_scale", "scheduler",
    "schedule",
}  # fmt: skip
GIVES_URLS = "dall-e-"  # OpenAI's models that answer with URLs unless they are asked not to


def _check_size(size: str) -> str:
    sides = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", size)
    if size != "auto" and not (
        sides and all(MIN_SIDE_PX <= int(side) <= MAX_SIDE_PX and int(side) % 8 == 0 for side in sides.groups())
    ):
        raise ValueError(f"WIDTHxHEIGHT in pixels, both multiples of 8 from {MIN_SIDE_PX} to {MAX_SIDE_PX}; or auto")
    return size


def _refuse(reason: str) -> BeforeValidator:
    """For a field of the client's that cannot have a value here."""

    def check(value: object) -> None:
        if value is not None:
            raise ValueError(f"nothing, for {reason}")

    return BeforeValidator(check)


NoGIF = Annotated[SkipJsonSchema[None], _refuse("there are no GIFs here")]
NoSVG = Annotated[SkipJsonSchema[None], _refuse("there are no SVGs here")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class _Refiner(_Model):
    model: ModelName | None = None

    @property
    def as_fields(self) -> dict[str, Any]:
        """With the names that they have in our requests."""
        fields = self.model_dump(exclude_none=True)
        return {"refiner_model" if name == "model" else name: value for name, value in fields.items()}


class Refiner(_Refiner):
    """The refiner's part of a generation; fields as in `POST /generate`, and `model` for `refiner_model`."""

    refine: RefineMode | None = None
    high_noise_frac: OpenShare | None = None
    strength: Strength | None = None
    aesthetic_score: Score | None = None


class EditRefiner(_Refiner):
    """The refiner's part of an edit; fields as in `POST /edit`, and `model` for `refiner_model`."""

    refine: EditRefineMode | None = None
    high_noise_frac: OpenShare | None = None
    aesthetic_score: Score | None = None


class _ImageRequest(_Model):
    """What generations and edits have in common. null is as left out."""

    prompt: Prompt
    """What to draw."""
    model: ModelName | Literal[""] | None = None
    """A model of this server; one of OpenAI's names means the default."""
    n: Annotated[Integer, Field(ge=1, le=10)] | None = None
    """How many pictures; each has the seed after that of the one before it."""
    size: Annotated[str, AfterValidator(_check_size)] | None = None
    """WIDTHxHEIGHT in pixels, multiples of 8; or auto."""
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    background: Literal["auto", "opaque"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[Integer, Field(ge=0, le=100)] | None = None
    """The quality of a jpeg or webp."""
    response_format: Literal["b64_json", "url"] | None = None
    """Without it, url for models whose names begin with dall-e-, and b64_json for others."""
    moderation: Literal["auto", "low"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    stream: Annotated[bool, Strict()] | None = None
    """Whether the answer is Server-Sent Events."""
    partial_images: Annotated[Integer, Field(ge=0, le=3)] | None = None
    """Previews of a stream."""
    frame_count: NoGIF = None
    frame_duration_ms: NoGIF = None
    svg: NoSVG = None
    negative_prompt: Text | None = None
    prompt_syntax: PromptSyntax | None = None
    long_prompts: Annotated[bool, Strict()] | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    seed: Seed | None = None
    scheduler: SamplerName | None = None
    schedule: ScheduleName | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_present_names(cls, values: object) -> object:
        return with_present_names(values)

    def model_post_init(self, _context: object) -> None:
        """Raises RelayError (400) for fields that do not go together."""
        if self.stream and self.count > 1:
            raise invalid_field("n", self.n, "1 with stream, whose events do not say which picture they are of")
        if self.stream and self.response_format == "url":
            raise invalid_field("response_format", "url", "b64_json with stream")
        if self.partial_images and not self.stream:
            raise invalid_field("partial_images", self.partial_images, "0 without stream")
        if self.output_compression not in (None, 100) and self.format == "png":
            raise invalid_field("output_compression", self.output_compression, "100 for png, which is without loss")

    @property
    def count(self) -> int:
        """Pictures."""
        return 1 if self.n is None else self.n

    @property
    def wants_urls(self) -> bool:
        """Whether the answer is to have URLs in place of pictures."""
        return (self.response_format or self._usual_format) == "url"

    @property
    def _usual_format(self) -> str:
        """That of OpenAI, by the model."""
        return "url" if (self.model or "").startswith(GIVES_URLS) and not self.stream else "b64_json"

    @property
    def format(self) -> OutputFormat:
        """Of the file."""
        return self.output_format or "png"

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height, if they were given."""
        if self.size in (None, "auto"):
            return None
        width, height = self.size.split("x")
        return int(width), int(height)

    @property
    def warnings(self) -> dict[str, str]:
        """The fields that were given and have no meaning here, each with the reason."""
        given = {name: getattr(self, name, None) for name in IGNORED}
        return {name: f"ignored: {IGNORED[name]}" for name, value in given.items() if value not in (None, "auto")}

    def shared_fields(self, model: str | None) -> dict[str, Any]:
        """The fields that have their own name in our requests, too, and the file's; `model` is a name of ours."""
        own = self.model_dump(include=OURS)
        own["model"] = model
        compression = 100 if self.output_compression is None else self.output_compression
        file = {"output_format": self.format, "quality": max(1, compression)}
        return {**{name: value for name, value in own.items() if value is not None}, **file}


class ImageGeneration(_ImageRequest):
    """Pictures from a prompt (`POST /v1/images/generations`)."""

    style: Literal["vivid", "natural"] | None = None
    refiner: Refiner | None = None

    def requests(self, seeds: list[int], model: str | None = None) -> list[GenerationRequest]:
        """A request of ours for each seed, to the model of this name or to the default."""
        refiner = {} if self.refiner is None else self.refiner.as_fields
        width, height = self.size_px or (None, None)
        fields = {**self.shared_fields(model), **refiner, "width": width, "height": height}
        return [GenerationRequest(**fields, seed=seed) for seed in seeds]


class ImageEdit(_ImageRequest):
    """Pictures from a picture and a prompt (`POST /v1/images/edits`), whose files are fields of their own."""

    input_fidelity: Literal["high", "low"] | None = None
    strength: Strength | None = None
    refiner: EditRefiner | None = None

    def requests(self, seeds: list[int], model: str | None = None) -> list[EditRequest]:
        """A request of ours for each seed, to the model of this name or to the default."""
        refiner = {} if self.refiner is None else self.refiner.as_fields
        fields = {**self.shared_fields(model), **refiner, "strength": self.strength}
        return [EditRequest(**fields, seed=seed) for seed in seeds]
