"""The files in which a checkpoint speaks to this server: its defaults, and how its latents look."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sdxl.config.references import UnusableFile
from sdxl.request.settled import Defaults

DEFAULTS = "relay.json"
LATENT_COLOURS = "latent_rgb.json"
OWN_FILES = (DEFAULTS, LATENT_COLOURS)


def own_files(path: Path) -> dict[str, Path]:
    """Those of a checkpoint: in its folder, or beside its one file `name.safetensors` as `name.relay.json`."""
    all_of_them = {name: path / name if path.is_dir() else path.with_suffix(f".{name}") for name in OWN_FILES}
    return {name: file for name, file in all_of_them.items() if file.is_file()}


def read_defaults(path: Path | None) -> dict[str, object]:
    """What a relay.json sets; nothing without one. Raises UnusableFile, which names the field."""
    if path is None:
        return {}
    try:
        return Defaults.model_validate_json(path.read_bytes()).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UnusableFile(f"{path.name}: {field + ': ' if field else ''}{first['msg']}") from error
    except OSError as error:
        raise UnusableFile(f"{path.name} cannot be read: {error.strerror}") from error
