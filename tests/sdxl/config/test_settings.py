from __future__ import annotations

from pathlib import Path

import pytest

from sdxl.config.references import name_of
from sdxl.config.settings import MINI, ConfigurationError, Settings

WEIGHTS = MINI / "base/unet/diffusion_pytorch_model.safetensors"


def test_without_variables_the_mini_checkpoint_is_served() -> None:
    settings = Settings.from_environment({"PATH": "/bin"})
    assert (settings.base, settings.refiner) == (str(MINI / "base"), str(MINI / "refiner"))


@pytest.mark.parametrize(
    ("given", "refiner", "has_refiner"),
    [
        ({"SDXL_BASE": str(MINI / "base")}, None, False),  # no toy beside a checkpoint of one's own
        ({"SDXL_BASE_URL": "http://base:3001"}, None, False),
        ({"SDXL_REFINER": "none"}, None, False),
        ({"SDXL_BASE": "a/model", "SDXL_REFINER": "a/refiner"}, "a/refiner", True),
        ({"SDXL_BASE_URL": "http://base:3001", "SDXL_REFINER_URL": "http://refiner:3002"}, None, True),
        ({"SDXL_REFINER_URL": "http://refiner:3002"}, str(MINI / "refiner"), True),
    ],
)
def test_which_refiner(given: dict[str, str], refiner: str | None, has_refiner: bool) -> None:
    settings = Settings.from_environment(given)
    assert (settings.refiner, settings.has_refiner) == (refiner, has_refiner)


def test_a_catalog_says_what_the_settings_do_not(tmp_path: Path) -> None:
    """What was given is told from what was not; and a name is a name only where there is a catalog."""
    given = {"SDXL_MODELS": str(tmp_path)}
    plain = Settings.from_environment(given)
    assert (plain.refiner, plain.has_catalog, plain.model_fields_set) == (None, True, {"models"})
    named = Settings.from_environment({**given, "SDXL_BASE": "Dream v1.5", "SDXL_REFINER": "none"})
    assert (named.base, named.refiner) == ("Dream v1.5", None)
    assert named.model_fields_set == {"models", "base", "refiner"}
    with pytest.raises(ConfigurationError, match="SDXL_BASE=Dream: no checkpoint there"):
        Settings.from_environment({"SDXL_BASE": "Dream"})
    pickled = tmp_path / "a.ckpt"
    pickled.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"only \.safetensors files are loaded"):
        Settings.from_environment({**given, "SDXL_BASE": str(pickled)})
    for name, value in (("SDXL_MODELS", str(pickled)), ("SDXL_CATALOG", str(tmp_path))):
        with pytest.raises(ConfigurationError, match=f"^{name}={value}: there is no such "):
            Settings.from_environment({name: value})


def test_variables_are_read() -> None:
    settings = Settings.from_environment(
        {"SDXL_MAX_ROWS": "4", "SDXL_BASE": str(MINI / "base"), "SDXL_TIMEOUT_S": "2.5"}
    )
    assert (settings.max_rows, settings.timeout_s) == (4, 2.5)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SDXL_MAXROWS", "4", "SDXL_MAXROWS is not a setting (did you mean SDXL_MAX_ROWS?); there are SDXL_API_KEYS, "),
        ("SDXL_MAX_ROWS", "0", "SDXL_MAX_ROWS=0: Input should be greater than or equal to 1"),
        ("SDXL_MAX_ROWS", "four", "SDXL_MAX_ROWS=four: "),
        ("SDXL_TIMEOUT_S", "-1", "SDXL_TIMEOUT_S=-1: "),
        ("SDXL_DEVICE", "gpu", "SDXL_DEVICE=gpu: "),
        ("SDXL_DTYPE", "float8", "SDXL_DTYPE=float8: "),
        ("SDXL_BASE_URL", "base:3001", "SDXL_BASE_URL=base:3001: base:3001 is not a URL like http://"),
        ("SDXL_REFINER_URL", "http://a:1, ftp://b", "ftp://b is not a URL"),
        ("SDXL_RUNNER_SILENCE_S", "1", "SDXL_RUNNER_SILENCE_S=1: "),
        ("SDXL_RUNNER_TOKEN", "short secret", "SDXL_RUNNER_TOKEN=(not shown): every token must have 16"),
        ("SDXL_API_KEYS", "", "SDXL_API_KEYS=(not shown): every key must have 16 characters at least"),
        ("SDXL_API_KEYS", f"{'k' * 16},short", "SDXL_API_KEYS=(not shown): every key must have 16"),
        ("SDXL_API_KEYS", f"{'k' * 16},", "SDXL_API_KEYS=(not shown): every key must have 16"),
        ("SDXL_API_KEYS", "a key with spaces in it", "SDXL_API_KEYS=(not shown): every key must have"),
        ("SDXL_COMPILE_SIZES", "1024", "SDXL_COMPILE_SIZES=1024: 1024 is not a size like 1024x1024"),
        ("SDXL_COMPILE_SIZES", "1024x1024,900x900", "900x900 is not a size like 1024x1024, in multiples of 8"),
        ("SDXL_LORAS", "style", "SDXL_LORAS=style: style is not like name=path.safetensors"),
        ("SDXL_LORAS", "a:b=x.safetensors", "SDXL_LORAS=a:b=x.safetensors: a:b=x.safetensors is not like"),
        ("SDXL_LORAS", "a=x.bin", "is not like name=path.safetensors"),
        (
            "SDXL_REFINER_LORAS",
            "a=/no.safetensors",
            "=a=/no.safetensors: there is no file /no.safetensors",
        ),
        ("SDXL_LORAS", "a=x.safetensors,a=y.safetensors", "there are two LoRAs of the name a"),
        ("SDXL_PRESET", "hyper", "SDXL_PRESET=hyper: Input should be 'turbo', 'lightning' or 'lcm'"),
        ("SDXL_DISTILLED", "name/model", "SDXL_DISTILLED=name/model: SDXL_PRESET must say"),
        ("SDXL_BASE", "/no/such/folder", "SDXL_BASE=/no/such/folder: no checkpoint there"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_environment({name: value})
    assert said in str(raised.value)


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SDXL_REFINER"):
        Settings.from_environment({"SDXL_REFINER": str(tmp_path)})


def test_urls_are_a_list() -> None:
    settings = Settings.from_environment(
        {"SDXL_BASE_URL": "http://a:3001/, https://b.test/base", "SDXL_REFINER_URL": ""}
    )
    assert settings.base_url == ("http://a:3001", "https://b.test/base")
    assert not settings.refiner_url


def test_the_token_is_not_shown() -> None:
    settings = Settings.from_environment({"SDXL_RUNNER_TOKEN": "a secret of 24 letters.."})
    assert "secret" not in f"{settings} {settings!r}"


def test_keys_are_a_list_and_not_shown() -> None:
    settings = Settings.from_environment({"SDXL_API_KEYS": "a-secret-of-19-signs, another-secret:of-more"})
    assert [key.get_secret_value() for key in settings.api_keys] == ["a-secret-of-19-signs", "another-secret:of-more"]
    assert "secret-of" not in f"{settings} {settings!r}"
    assert Settings.from_environment({}).api_keys == ()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SDXL_COMPILE": "graphs", "SDXL_OFFLOAD": "model"}, "SDXL_OFFLOAD=model: not with SDXL_COMP"),
        (
            {"SDXL_COMPILE": "graphs", "SDXL_BACKEND": "onnxruntime"},
            "SDXL_COMPILE=graphs: not with SDXL_B",
        ),
        (
            {"SDXL_VAE_TILING": "true", "SDXL_BACKEND": "openvino"},
            "SDXL_VAE_TILING=true: not with SDXL_B",
        ),
        (
            {"SDXL_LORAS": f"a={WEIGHTS}", "SDXL_BACKEND": "openvino"},
            "SDXL_BACKEND=openvino: not with SD",
        ),
        ({"SDXL_LORAS": f"a={WEIGHTS}", "SDXL_OFFLOAD": "model"}, "SDXL_OFFLOAD=model: not with SDXL_LO"),
        ({"SDXL_OFFLOAD": "sequential", "SDXL_QUANTIZE": "int8"}, "SDXL_QUANTIZE=int8: not with SDXL_OFF"),
    ],
)
def test_settings_that_exclude_each_other(variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_environment(variables)
    assert said in str(raised.value)


def test_sizes_to_compile_are_pairs_of_width_and_height() -> None:
    settings = Settings.from_environment({"SDXL_COMPILE_SIZES": "1024x1024, 1216x832"})
    assert settings.compile_sizes == ((1024, 1024), (1216, 832))


def test_loras_are_files_where_their_stage_is_and_names_where_it_is_not(tmp_path: Path) -> None:
    file = tmp_path / "a=b.safetensors"
    file.touch()
    given = {"SDXL_LORAS": f" style={file},", "SDXL_REFINER_LORAS": "finish=elsewhere.safetensors"}
    settings = Settings.from_environment({**given, "SDXL_REFINER_URL": "http://refiner:3002"})
    assert settings.loras == {"style": file}
    assert [*settings.refiner_loras] == ["finish"]
    with pytest.raises(ConfigurationError, match="there is no file elsewhere"):
        Settings.from_environment(given)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("stabilityai/stable-diffusion-xl-base-1.0@abc", "stabilityai/stable-diffusion-xl-base-1.0@abc"),
        ("sdxl:v1", "sdxl:v1"),
        ("models/dream/base", "dream"),
        ("models/dream", "dream"),
        ("models/dream.v2.safetensors", "dream.v2"),
    ],
)
def test_what_people_may_call_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "dream" / "base").mkdir(parents=True)
    (tmp_path / "models" / "dream.v2.safetensors").touch()
    assert name_of(reference, "base") == name


def test_the_page_can_be_turned_off() -> None:
    assert Settings.from_environment({}).ui
    assert not Settings.from_environment({"SDXL_UI": "off"}).ui
