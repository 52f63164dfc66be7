"""The settings, read once at start from environment variables `SDXL_…`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sdxl.config.access import Keys, Origins, Tokens
from sdxl.config.backends import BackendName, usable
from sdxl.config.presets import PresetName
from sdxl.config.values import File, FixedRows, Folder, Names, Reference, ReferenceOrName, Sizes, Url, Urls
from sdxl.request.loras import LoraFiles

PREFIX = "SDXL_"
SECRETS = {"runner_token", "api_keys"}  # whose values are not shown
StageName = Literal["base", "refiner"]
ENTRY_NAME = "sdxl_relay"  # the entry's, as a BentoML service
MINI = Path(__file__).parents[2] / "checkpoints" / "mini"


class ConfigurationError(Exception):
    """An `SDXL_…` variable is unknown, or its value cannot be used. The message names it."""


class Settings(BaseModel):
    """Every setting with its default; the variable's name is the field's in capitals, with `SDXL_` before it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)

    models: Folder | None = None
    """A folder of models in the layout of ComfyUI or AUTOMATIC1111, which requests may name."""
    catalog: File | None = None
    """A YAML file that says more about models; without it, `catalog.yaml` in `SDXL_MODELS` if it is there."""
    base: ReferenceOrName = str(MINI / "base")
    """The base model's checkpoint: a folder, a .safetensors file, a hub id or a Bento model. With `SDXL_MODELS` or
    `SDXL_CATALOG` it may be a model's name there, and is the model of requests that name none."""
    base_url: Urls | None = None
    """URLs of the base's replicas, separated by commas; without it, the entry starts the base on its own host."""
    refiner_url: Urls | None = None
    """URLs of the refiner's replicas, in the same way."""
    refiner: Annotated[ReferenceOrName | None, BeforeValidator(lambda value: None if value == "none" else value)] = str(
        MINI / "refiner"
    )
    """The refiner's checkpoint in the same forms, or `none`; any base can refine, too. Where `SDXL_BASE` or its URL is
    set, `none` by default, and with `SDXL_MODELS` or `SDXL_CATALOG` what that says."""
    base_config: Reference = "stabilityai/stable-diffusion-xl-base-1.0"
    """Where a base checkpoint that is a single file gets its configuration and its tokenizers from."""
    refiner_config: Reference = "stabilityai/stable-diffusion-xl-refiner-1.0"
    """Where a refiner checkpoint that is a single file gets its configuration and its tokenizers from."""
    vae: Reference | None = None
    """A VAE for both stages, instead of the checkpoints' own."""
    preset: PresetName | None = None
    """The kind of distilled model that the base is; it sets the sampler, the defaults and the bounds of requests."""
    distilled: Reference | None = None
    """The weights of a distilled model, which go over the base's: a UNet's state or a LoRA."""
    loras: LoraFiles = {}
    """LoRAs of the base that requests may choose: `name=path.safetensors`, separated by commas."""
    refiner_loras: LoraFiles = {}
    """LoRAs of the refiner that requests may choose: `name=path.safetensors`, separated by commas."""
    runner_token: Tokens = ()
    """A secret of 16 characters or more that runners ask for and the entry shows; two, separated by a comma, while it
    is changed. Without it, runners serve only loopback and UNIX sockets."""
    runner_open: bool = False
    """Whether runners without a token serve everybody who can reach them."""
    runner_silence_s: Annotated[float, Field(ge=3)] = 30.0
    """Seconds of silence after which a runner counts as lost; a working runner sends something each second."""
    api_keys: Keys = ()
    """API keys of 16 characters or more, separated by commas, each with a name or without: `name:key`. Clients must
    show one. Without keys, all are served."""
    cors_origins: Origins = ()
    """Origins of web pages that may call the server, such as https://app.example.com, separated by commas; `*` is all
    pages. Without it, only the server's own."""
    log_format: Literal["text", "json"] = "text"
    """How the log's lines are written: as text, or as a JSON object each."""
    drain_s: Annotated[float, Field(ge=0)] = 120.0
    """Seconds that accepted work has to end after SIGTERM."""
    max_requests: Annotated[int, Field(ge=1, le=100_000)] = 512
    """The most requests that the entry holds at once; one more gets a 429."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """Where the models run: cpu, cuda, cuda:1 and so on; `auto` is a GPU if there is one, else the CPU."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """The models' precision; `auto` is float32 on the CPU and float16 on a GPU."""
    backend: Annotated[BackendName, AfterValidator(usable)] = "auto"
    """What computes the models; all but torch are for the CPU in float32, where `auto` takes the fastest installed."""
    backend_cache: Path | None = None
    """A folder for models converted for another backend; without it, each start converts them again."""
    compile: Literal["off", "graphs", "on", "max"] = "off"
    """What makes ticks of known shapes fast: CUDA graphs, torch.compile with graphs, or its longest search."""
    compile_sizes: Sizes = ()
    """Sizes that are compiled, such as 1024x1024,832x1216; without it, the checkpoint's native size alone."""
    compile_cache: Path | None = None
    """A folder that keeps compiled code for the next start."""
    offload: Literal["none", "model", "sequential"] = "none"
    """What waits in the host's memory until it is called: nothing, whole models, or single layers."""
    quantize: Literal["none", "int8"] = "none"
    """How the weights of the UNets' linear layers are stored: as they are, or in 8 bits."""
    vae_upcast: bool = True
    """Whether a float16 VAE that asks for it decodes in float32; if not, it only decodes again where NaN came out."""
    vae_tiling: bool = False
    """Whether pictures larger than the VAE's native size are decoded in overlapping tiles, which saves memory."""
    policy: Literal["shortest", "fcfs"] = "shortest"
    """Which job goes first: the one with the least work left, with aging, or the one that came first."""
    resident_gb: Annotated[float, Field(gt=0)] | None = None
    """The most gigabytes (of 10**9 bytes) that a stage's models take where they run; without it, they are measured."""
    ram_gb: Annotated[float, Field(ge=0)] = 0.0
    """Gigabytes of the host's memory for copies of a stage's models, from which they come to the GPU again faster than
    from a disk. It has no meaning on a CPU."""
    max_rows: Annotated[int, Field(ge=1, le=256)] | None = None
    """The most rows of one UNet call, at the checkpoint's native size; without it, each stage measures it at start."""
    fixed_rows: FixedRows | None = None
    """The rows of every UNet call, a power of two; a seed then gives the same bytes under any load."""
    max_jobs: Annotated[int, Field(ge=1, le=100_000)] = 64
    """The most jobs that one runner holds, waiting or running; one more gets a 429."""
    max_pixels: Annotated[int, Field(ge=64 * 64)] = 1792 * 1024
    """The most pixels of one picture."""
    max_upload_mb: Annotated[int, Field(ge=1, le=1_000)] = 20
    """The largest body of a form, in megabytes of 10**6 bytes."""
    openai_models: Names = ()
    """Names that OpenAI's clients may send for the default model, separated by commas; `any`: all that no model has."""
    url_keep_s: Annotated[float, Field(gt=0)] = 3_600.0
    """Seconds for which a picture can be fetched that OpenAI's clients have asked for as a URL."""
    url_keep_mb: Annotated[int, Field(ge=0, le=100_000)] = 256
    """The most megabytes (of 10**6 bytes) of memory for such pictures; the oldest goes first. 0: there are no URLs."""
    public_url: Url | None = None
    """What their URLs begin with, such as https://example.com/sdxl; without it, the scheme and host that were asked."""
    ui: bool = True
    """Whether there is a page at /ui."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that a request may take, and the most that X-Timeout-S may ask for; what takes longer gets a 504."""
    c2pa_certificate: Path | None = None
    """A PEM file with the signer's certificate and its chain; with SDXL_C2PA_KEY, pictures get content credentials."""
    c2pa_key: Path | None = None
    """A PEM file with that certificate's private key."""

    @model_validator(mode="wrap")
    @classmethod
    def _no_refiner_of_another_base(cls, values: dict[str, object], validated: ModelWrapValidatorHandler[Self]) -> Self:
        has_another = any(values.get(name) for name in ("models", "catalog", "base", "base_url"))
        settings = validated({"refiner": "none", **values} if has_another else values)
        settings.model_fields_set.intersection_update(values)  # what was given, and no more
        return settings

    @field_validator("offload")
    @classmethod
    def _needs_weights_where_they_are(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get("compile", "off") != "off":
            raise ValueError("not with SDXL_COMPILE, whose graphs need the weights to stay on the GPU")
        return value

    @field_validator("compile", "offload", "quantize", "vae_tiling")
    @classmethod
    def _of_torch(cls, value: str | bool, info: ValidationInfo) -> str | bool:
        backend = info.data.get("backend")
        if value not in ("off", "none", False) and backend in ("openvino", "onnxruntime"):
            raise ValueError(f"not with SDXL_BACKEND={backend}, which computes the models by itself")
        return value

    @field_validator("offload", "quantize")
    @classmethod
    def _not_with_loras(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and any(info.data.get(name) for name in ("loras", "refiner_loras", "models", "catalog")):
            raise ValueError("not with SDXL_LORAS, SDXL_MODELS or SDXL_CATALOG, for LoRAs' layers come and go")
        return value

    @field_validator("quantize")
    @classmethod
    def _not_layer_by_layer(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get("offload") == "sequential":
            raise ValueError("not with SDXL_OFFLOAD=sequential, which takes the layers apart")
        return value

    @field_validator("loras", "refiner_loras")
    @classmethod
    def _are_there(cls, files: dict[str, Path], info: ValidationInfo) -> dict[str, Path]:
        """The files are needed where the stage is; where it has a URL, only their names are."""
        if info.data.get("base_url" if info.field_name == "loras" else "refiner_url"):
            return files
        for path in files.values():
            if not path.is_file():
                raise ValueError(f"there is no file {path}")
        return files

    @field_validator("distilled")
    @classmethod
    def _has_a_preset(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and "preset" in info.data and info.data["preset"] is None:
            raise ValueError("SDXL_PRESET must say what kind of model it is")
        return value

    @property
    def has_catalog(self) -> bool:
        """Whether there is more than the models of SDXL_BASE and SDXL_REFINER."""
        return bool(self.models or self.catalog)

    @property
    def may_have_loras(self) -> bool:
        """Whether requests may name LoRAs."""
        return bool(self.loras or self.refiner_loras or self.has_catalog)

    @property
    def has_refiner(self) -> bool:
        """Whether there is a refiner stage, on this host or another."""
        return bool(self.refiner or self.refiner_url)

    @property
    def max_upload_bytes(self) -> int:
        """`max_upload_mb` in bytes."""
        return self.max_upload_mb * 1_000_000

    @property
    def needs_torch(self) -> bool:
        """Whether something is asked for that only torch can do with the models."""
        forms = (self.compile != "off", self.offload != "none", self.quantize != "none", self.vae_tiling)
        return any(forms) or self.may_have_loras

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises ConfigurationError with one line that names the variable at fault."""
        given = {
            name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = f"{PREFIX}{str(first['loc'][0]).upper()}"
            if first["type"] == "extra_forbidden":
                known = sorted(f"{PREFIX}{field.upper()}" for field in cls.model_fields)
                hint = "".join(f" (did you mean {like}?)" for like in get_close_matches(name, known, 1))
                raise ConfigurationError(f"{name} is not a setting{hint}; there are {', '.join(known)}") from None
            value = "(not shown)" if first["loc"][0] in SECRETS else first["input"]
            raise ConfigurationError(f"{name}={value}: {first['msg'].removeprefix('Value error, ')}") from None
