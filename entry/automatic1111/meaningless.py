"""Fields of AUTOMATIC1111's that have no meaning here: which are refused, and which are ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from entry.automatic1111.forgiving import as_number
from sdxl.errors import RelayError, invalid_field

# What would make another picture, the values with which it does not, and why it is refused.
REFUSED: Mapping[str, tuple[tuple[object, ...], str]] = {
    "restore_faces": ((False,), "false, for there is nothing here that restores faces"),
    "tiling": ((False,), "false, for pictures here do not tile"),
    "subseed_strength": ((0,), "0, for there are no variation seeds here"),
    "seed_resize_from_h": ((-1, 0), "-1 or 0, for noise is not resized here"),
    "seed_resize_from_w": ((-1, 0), "-1 or 0, for noise is not resized here"),
    "script_name": (("none",), "none, for there are no scripts here"),
    "infotext": ((), "nothing; the fields of the request say what is wanted"),
}
# What is ignored, and the values that AUTOMATIC1111 has without a word about it.
USUAL: Mapping[str, tuple[object, ...]] = {
    "styles": ([], ["None"]), "save_images": (False,), "s_churn": (0,), "s_tmin": (0,), "s_tmax": (0,),
    "s_noise": (1,), "s_min_uncond": (0,), "token_merging_ratio": (0,), "token_merging_ratio_hr": (0,),
    "ddim_discretize": ("uniform",), "initial_noise_multiplier": (1,), "image_cfg_scale": (1.5,),
    "extra_generation_params": ({},), "alwayson_scripts": ({},), "script_args": ([],),
    "sd_vae": ("automatic", "none"), "sd_hypernetwork": ("none",), "eta_noise_seed_delta": (0,),
}  # fmt: skip
# What has no effect there either, or concerns files on a server.
SILENT = {
    "do_not_save_samples", "do_not_save_grid", "override_settings_restore_afterwards", "subseed", "seed_enable_extras",
    "do_not_reload_embeddings", "comments", "firstphase_width", "firstphase_height", "hr_additional_modules",
}  # fmt: skip
NO_SUCH_THING = "there is no such thing here"


def check_refused(unknown: Mapping[str, Any]) -> None:
    """Raises RelayError (400) for a field that would make another picture, and for a script that is switched on."""
    for name, (usual, allowed) in REFUSED.items():
        if name in unknown and not _is_one_of(unknown[name], usual):
            raise invalid_field(name, unknown[name], allowed)
    scripts = unknown.get("alwayson_scripts", {})
    if not isinstance(scripts, dict):
        raise invalid_field("alwayson_scripts", scripts, "an object")
    for name, script in scripts.items():
        if _is_on(script):
            raise _no_script(name)


def ignored_fields(unknown: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Those that have no effect, though AUTOMATIC1111 may know one, each with the reason."""
    for name, value in unknown.items():
        is_usual = name in REFUSED or name in SILENT or _is_one_of(value, USUAL.get(name, ()))
        if not is_usual and name != "alwayson_scripts":  # of those, no script is on
            yield f"{prefix}{name}", NO_SUCH_THING


def _no_script(name: str) -> RelayError:
    field = f"alwayson_scripts.{name}"
    return invalid_field(field[:100], "a script that is switched on", "none, for there are no scripts here")


def _is_on(script: object) -> bool:
    """Whether a script does something by these arguments: the first is its switch, or each is a unit with one."""
    args = script.get("args") if isinstance(script, dict) else script
    if isinstance(args, dict):  # some extensions have names for their arguments
        args = [args]
    if not isinstance(args, list) or not args:
        return False
    if isinstance(args[0], bool) and not args[0]:
        return False
    return any(_is_unit_on(arg) if arg and isinstance(arg, dict) else bool(arg) for arg in args)


def _is_unit_on(unit: dict[str, Any]) -> bool:
    """ControlNet's units have a switch, ADetailer's a model; without either, it counts as on."""
    for switch in ("enabled", "is_enabled", "enable"):
        if switch in unit:
            return _plain(unit[switch]) not in (False, 0, "false")
    model = unit.get("ad_model", unit.get("model", "?"))
    return _plain(model) not in ("none", "", None)


def _is_one_of(value: object, usual: tuple[object, ...]) -> bool:
    return _plain(value) in [_plain(each) for each in usual]


def _plain(value: object) -> object:
    """Without the differences that do not count: numbers as text, case, text in place of a truth value."""
    value = as_number(value)
    if isinstance(value, str):
        value = value.strip().lower()
        return {"false": False, "true": True}.get(value, value)
    return value
