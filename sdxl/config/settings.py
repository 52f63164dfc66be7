"""The settings, read once at start from environment variables `SDXL_…`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from sdxl.config.backends import BackendName, usable
from sdxl.config.presets import PresetName
from sdxl.config.references import checked
from sdxl.request.loras import LoraFiles

PREFIX = "SDXL_"
SECRETS = {"runner_token", "api_keys"}  # whose values are not shown
StageName = Literal["base", "refiner"]
ENTRY_NAME = "sdxl_relay"  # the entry's, as a BentoML service
MINI = Path(__file__).parents[2] / "checkpoints" / "mini"


class ConfigurationError(Exception):
    """An `SDXL_…` variable is unknown, or its value cannot be used. The message names it."""


def _urls(value: object) -> tuple[str, ...]:
    urls = tuple(url.strip().rstrip("/") for url in str(value).split(",") if url.strip())
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError(f"{url} is not a URL like http://host:3001")
    return urls


def _sizes(value: object) -> tuple[tuple[int, int], ...]:
    found = []
    for size in str(value).split(",") if isinstance(value, str) else ():
        match = re.fullmatch(r"\s*([1-9]\d{1,4})x([1-9]\d{1,4})\s*", size)
        if match is None or int(match[1]) % 8 or int(match[2]) % 8:
            raise ValueError(f"{size} is not a size like 1024x1024, in multiples of 8 pixels")
        found.append((int(match[1]), int(match[2])))
    return tuple(found)


def _keys(value: object) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in value.split(",")) if isinstance(value, str) else ()
    if not all(len(key) >= 16 and key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise ValueError("every key must have 16 characters at least, of printable ASCII without spaces")
    return keys


def _power_of_two(rows: int) -> int:
    if rows & (rows - 1):
        raise ValueError("a power of two is needed: only what divides evenly among threads is computed alike")
    return rows


Reference = Annotated[str, BeforeValidator(checked)]
Keys = Annotated[tuple[SecretStr, ...], BeforeValidator(_keys)]
Sizes = Annotated[tuple[tuple[int, int], ...], BeforeValidator(_sizes)]  # (width, height)
Urls = Annotated[tuple[str, ...], BeforeValidator(_urls)]


class Settings(BaseModel):
    """Every setting with its default; the variable's name is the field's in capitals, with `SDXL_` before it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    base: Reference = str(MINI / "base")
    refiner: Reference = str(MINI / "refiner")
    """Checkpoints (sdxl/config/references.py)."""
    base_config: Reference = "stabilityai/stable-diffusion-xl-base-1.0"
    refiner_config: Reference = "stabilityai/stable-diffusion-xl-refiner-1.0"
    """Whose configuration and tokenizers a checkpoint is loaded with that is one file, for these are not in it."""
    vae: Reference | None = None
    """A VAE for both stages, in place of the checkpoints' own."""
    preset: PresetName | None = None
    """The kind of distilled model that the base is; its sampler, defaults and bounds."""
    distilled: Reference | None = None
    """A distilled model's weights over the base's: a UNet's state or a LoRA."""
    base_url: Urls | None = None
    refiner_url: Urls | None = None
    """Where the stage's replicas are, separated by commas; without one, the entry starts the stage on its own host."""
    loras: LoraFiles = {}
    refiner_loras: LoraFiles = {}
    """What requests may choose for each stage: `name=path.safetensors`, separated by commas (docs/loras.md)."""
    runner_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """What runners ask for and the entry shows; without it, runners serve only loopback and UNIX sockets."""
    runner_open: bool = False
    """Whether runners without a token serve everybody who reaches them."""
    runner_silence_s: Annotated[float, Field(ge=3)] = 30.0
    """A runner that sends nothing for so long is lost; a working one sends something each second."""
    api_keys: Keys = ()
    """What the entry asks of its clients, separated by commas: one of them; without any, it serves everybody."""
    drain_s: Annotated[float, Field(ge=0)] = 120.0
    """After SIGTERM, the time for what was accepted to end."""
    max_requests: Annotated[int, Field(ge=1, le=100_000)] = 512
    """Requests that the entry holds, in all; one more gets a 429."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    backend: Annotated[BackendName, AfterValidator(usable)] = "auto"
    """What computes the models; others than torch are for the CPU, in float32, where `auto` takes the fastest there."""
    backend_cache: Path | None = None
    """Where models stay that were converted for another backend; without, each start converts them anew."""
    compile: Literal["off", "graphs", "on", "max"] = "off"
    """How ticks of known shapes are made fast: CUDA graphs alone, torch.compile with them, or its longest search."""
    compile_sizes: Sizes = ()
    """For which sizes, like 1024x1024,832x1216; else the checkpoint's native one. All others run uncompiled."""
    compile_cache: Path | None = None
    """A folder that keeps what was compiled, for the next start."""
    offload: Literal["none", "model", "sequential"] = "none"
    """What waits in the host's memory until it is called: nothing, whole models, or single layers."""
    quantize: Literal["none", "int8"] = "none"
    """The weights of the UNets' linear layers."""
    vae_upcast: bool = True
    """Whether a VAE in float16 that asks for it decodes in float32. Else that is only done again where NaN came out."""
    vae_tiling: bool = False
    """Decode pictures larger than the VAE's native size in overlapping tiles, for less memory."""
    policy: Literal["shortest", "fcfs"] = "shortest"
    """Which job goes first: the one with the shortest remaining work, with aging, or the first that came."""
    max_rows: Annotated[int, Field(ge=1, le=256)] | None = None
    """Rows of one UNet call at most, at the checkpoint's native size; measured at start if it is left out."""
    fixed_rows: Annotated[int, Field(ge=2, le=64), AfterValidator(_power_of_two)] | None = None
    """Rows of every UNet call, those missing filled up: a seed's picture is then the same to the bit under any load.
    Powers of two, because only what divides evenly among threads is computed in the same way in every slot."""
    max_jobs: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Jobs that one runner holds, waiting or running; one more gets a 429."""
    max_pixels: Annotated[int, Field(ge=64 * 64)] = 1536 * 1024
    """Pixels of one picture at most."""
    max_upload_mb: Annotated[int, Field(ge=1, le=1_000)] = 20
    """Size of a request's body at most, in megabytes of 10**6 bytes."""
    ui: Literal["auto", "off"] = "auto"
    """The page /ui: `auto` where Gradio is installed, or none."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Time for one request, and the most that X-Timeout-S may ask for; what takes longer gets a 504."""

    c2pa_certificate: Path | None = None
    c2pa_key: Path | None = None
    """PEM files: the certificate with its chain, and its private key, with which pictures get content credentials."""

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
        if value != "none" and (info.data.get("loras") or info.data.get("refiner_loras")):
            raise ValueError("not with SDXL_LORAS, whose layers come and go")
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
    def max_upload_bytes(self) -> int:
        """`max_upload_mb` in bytes."""
        return self.max_upload_mb * 1_000_000

    @property
    def needs_torch(self) -> bool:
        """Whether something is asked for that only torch can do with the models."""
        forms = (self.compile != "off", self.offload != "none", self.quantize != "none", self.vae_tiling)
        return any(forms) or bool(self.loras or self.refiner_loras)

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
                known = ", ".join(sorted(f"{PREFIX}{field.upper()}" for field in cls.model_fields))
                raise ConfigurationError(f"{name} is not a setting; there are {known}") from None
            value = "(not shown)" if first["loc"][0] in SECRETS else first["input"]
            raise ConfigurationError(f"{name}={value}: {first['msg']}") from None

    @classmethod
    def or_exit(cls) -> Settings:
        """The settings of this process; ends it with the one line that says what is wrong with them."""
        try:
            return cls.from_environment()
        except ConfigurationError as error:
            sys.exit(f"sdxl-relay: {error}")
