"""What a catalog.yaml may say, and how it is read."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from sdxl.catalog.names import MAX_CHARACTERS, cleaned
from sdxl.config.presets import PresetName
from sdxl.config.settings import ConfigurationError
from sdxl.errors import shorten
from sdxl.files.check import one_line
from sdxl.request.fields import Prompt, StrictModel
from sdxl.request.loras import Loras
from sdxl.request.settled import Defaults

FILE = "catalog.yaml"


def _name(name: str) -> str:
    composed = unicodedata.normalize("NFC", name)
    if not name or len(name) > MAX_CHARACTERS or cleaned(name) != composed:
        raise ValueError(f"a name without < > : , of up to {MAX_CHARACTERS} printable characters")
    return composed


class StatedModel(StrictModel):
    """One of `models`: settings of a file in the folder, or with `checkpoint` a model from elsewhere."""

    title: str | None = None
    description: str | None = None
    examples: Annotated[tuple[Prompt, ...], BeforeValidator(lambda value: value or ())] = ()
    checkpoint: str | None = None
    refiner: str | None = None
    vae: str | None = None
    preset: PresetName | None = None
    distilled: str | None = None
    config: str | None = None
    defaults: Defaults = Defaults()
    loras: Loras = None
    resident: Literal["by_need", "always"] = "by_need"

    @model_validator(mode="after")
    def _distilled_as_what(self) -> StatedModel:
        if self.distilled is not None and self.preset is None:
            raise ValueError("distilled needs preset, which says what kind of model it is")
        return self

    @property
    def own_defaults(self) -> dict[str, object]:
        """The fields of a relay.json that it sets, with its texts in `about`."""
        set_ones = self.defaults.model_dump(exclude_unset=True)
        texts = {"name": self.title, "description": self.description, "examples": self.examples}
        about = {**set_ones.get("about", {}), **{name: text for name, text in texts.items() if text}}
        return {**set_ones, **({"about": about} if about else {})}


Entry = Annotated[StatedModel, BeforeValidator(lambda value: {} if value is None else value)]
Entries = Annotated[
    dict[Annotated[str, AfterValidator(_name)], Entry], BeforeValidator(lambda value: {} if value is None else value)
]


class Stated(StrictModel):
    """The whole file."""

    default: str | None = None
    refiner: str | None = None
    models: Entries = Field(default_factory=dict)


def parsed(path: Path, content: bytes) -> Stated:
    """Raises ConfigurationError of one line, which names the file and the field."""
    try:
        data = yaml.safe_load(content)
        as_json = json.dumps({} if data is None else data, default=str, allow_nan=False)
        return Stated.model_validate_json(as_json)
    except ValidationError as error:
        raise ConfigurationError(f"{path.name}: {_told(error)}") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigurationError(f"{path.name}: {line}{one_line(error.problem or 'it is not YAML')}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{path.name}: it is not YAML that can be read: {one_line(str(error))}") from None


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"] if part != "[key]")
    at = f"{field}: " if field else ""
    match first["type"]:
        case "extra_forbidden":
            known = ", ".join(_fields(first["loc"]))
            return f"{at}there is no such field" + (f"; there are {known}" if known else "")
        case "model_type":
            return f"{at}got {shorten(first['input'])}; allowed: fields with their values"
        case "value_error" if isinstance(first["input"], Mapping):
            return f"{at}{first['msg'].removeprefix('Value error, ')}"
    allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{at}got {shorten(first['input'])}; allowed: {allowed}"


def _fields(loc: tuple[int | str, ...]) -> list[str]:
    """Those that there are where an unknown one came, if it is no deeper than a model."""
    models: dict[int, type[StrictModel]] = {1: Stated, 3: StatedModel}
    return list(models[len(loc)].model_fields) if len(loc) in models else []
