"""What the settings name, looked at before anything is loaded: headers and configurations, no weights and no torch.

It takes milliseconds, so that what cannot work ends the server with one line before it starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sdxl.config.references import UnusableFile
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.files.folder import check_folder, check_vae_folder, check_weights, read_json, stage_of_folder
from sdxl.files.header import read_header
from sdxl.files.kinds import check_checkpoint, check_lora, check_vae, stage_of
from sdxl.files.own import DEFAULTS, LATENT_COLOURS, own_files, read_defaults
from sdxl.files.sampling import sampling_of

NO_MEMORY = "not enough memory to load it"


@contextmanager
def named(setting: str, value: object) -> Iterator[None]:
    """What goes wrong in the block becomes a ConfigurationError of one line that names the setting and its value."""
    try:
        yield
    except ConfigurationError:
        raise
    except UnusableFile as error:
        raise ConfigurationError(f"{setting}={value}: {one_line(str(error))}") from error
    except Exception as error:  # libraries raise many kinds for files that they cannot read
        told = one_line(str(error))
        if re.search("out of memory|allocate memory", told, re.IGNORECASE) or isinstance(error, MemoryError):
            told = f"{NO_MEMORY} ({told or 'MemoryError'})"
        else:
            told = f"it cannot be loaded: {type(error).__name__}: {told}"
        raise ConfigurationError(f"{setting}={value}: {told}") from error


def one_line(text: str) -> str:
    """A message of whatever length as a part of a line."""
    return f"{' '.join(text.split()):.350}"


def check_files(settings: Settings, stages: Iterable[StageName]) -> None:
    """Raises ConfigurationError for what these stages cannot load. What is not on this machine yet is left alone."""
    for stage in stages:
        name = f"SDXL_{stage.upper()}"
        if getattr(settings, stage) is None:
            raise ConfigurationError(
                f"{name}=none: there is no {stage} to serve; set {name} (where SDXL_BASE is set, none is the default)"
            )
        check_setting(settings, stage)
        check_beside(settings, stage)


def check_setting(settings: Settings, stage: StageName) -> None:
    """Raises ConfigurationError unless SDXL_BASE is a base, or SDXL_REFINER either, with its configuration."""
    reference = getattr(settings, stage)
    path, kind = Path(reference), stage
    with named(f"SDXL_{stage.upper()}", reference):
        if path.exists():
            kind = check_stage("base" if stage == "base" else None, path, brings_vae=settings.vae is not None)
    if path.is_file():
        check_config(settings, kind)


def check_config(settings: Settings, stage: StageName) -> None:
    """Raises ConfigurationError for a folder that is not the configuration of this stage."""
    config = Path(getattr(settings, f"{stage}_config"))
    if config.is_dir():
        with named(f"SDXL_{stage.upper()}_CONFIG", config):
            check_folder(stage, config, has_weights=False)


def check_beside(settings: Settings, stage: StageName) -> None:
    """Raises ConfigurationError for a stage's LoRAs, a VAE and a distilled model that are none."""
    for lora, file in (settings.loras if stage == "base" else settings.refiner_loras).items():
        with named("SDXL_LORAS" if stage == "base" else "SDXL_REFINER_LORAS", f"{lora}={file}"):
            check_lora(read_header(file))
    if settings.vae is not None and Path(settings.vae).exists():
        with named("SDXL_VAE", settings.vae):
            check_own_vae(Path(settings.vae))
    if settings.distilled is not None and Path(settings.distilled).is_file():
        with named("SDXL_DISTILLED", settings.distilled):
            read_header(Path(settings.distilled))


def stages_here(settings: Settings) -> list[StageName]:
    """Those that the entry starts on its own host."""
    here: dict[StageName, bool] = {
        "base": not settings.base_url,
        "refiner": settings.has_refiner and not settings.refiner_url,
    }
    return [stage for stage, is_here in here.items() if is_here]


def check_stage(stage: StageName | None, path: Path, *, brings_vae: bool) -> StageName:
    """Which stage's checkpoint it is, as a folder or in one file. Raises UnusableFile for anything else.

    With a `stage`, also for the other one's.
    """
    own = own_files(path)
    read_defaults(own.get(DEFAULTS))
    if LATENT_COLOURS in own:
        read_json(own[LATENT_COLOURS].parent, own[LATENT_COLOURS].name)
    if path.is_dir():
        stage = stage or stage_of_folder(path)
        check_folder(stage, path, brings_vae=brings_vae)
        return stage
    header = read_header(path)
    stage = stage or stage_of(header)
    check_checkpoint(stage, header, brings_vae=brings_vae)
    sampling_of(header)
    return stage


def check_own_vae(path: Path) -> None:
    """Raises UnusableFile for anything but a VAE, as a folder or in one file."""
    if path.is_dir():
        check_vae_folder(path)
        check_weights(path)
    else:
        check_vae(read_header(path))
