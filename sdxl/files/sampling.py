"""How a model is sampled, as its files say it: by tensors that are marks, by metadata, or by a configuration."""

from __future__ import annotations

from collections.abc import Mapping

from sdxl.config.references import UnusableFile
from sdxl.files.header import Header
from sdxl.files.kinds import UNET

# Of Stability AI's model specification, and as ComfyUI writes it.
PREDICTION = ("modelspec.prediction_type", "modelspec.predict_key")
PREDICTIONS = {"epsilon": "epsilon", "eps": "epsilon", **dict.fromkeys(("v", "v_pred", "v_prediction"), "v_prediction")}
ALLOWED = ("epsilon", "v_prediction")
TRAINING_TIMESTEPS = 1_000


def sampling_of(header: Header) -> dict[str, object]:
    """What a checkpoint in one file says, as fields of diffusers' scheduler configuration; empty if it says nothing.

    Tensors without values are ComfyUI's marks: `v_pred`, and `ztsnr` for a schedule that ends in pure noise, which the
    sampling must begin with ("Common Diffusion Noise Schedules and Sample Steps are Flawed", arXiv 2305.08891).
    Raises UnusableFile for what no sampler here can do.
    """
    marks = {name.removeprefix(UNET) for name in header.tensors}
    if edm := sorted(name for name in marks if name.startswith("edm_")):
        raise UnusableFile(f"it has EDM's noise levels ({', '.join(edm)}), for which there is no sampler here")
    process = header.metadata.get("modelspec.noise_process", "ddpm")
    if process != "ddpm":
        raise UnusableFile(f"its metadata says that its noise process is {process:.40}; allowed: ddpm")
    told = next((header.metadata[key] for key in PREDICTION if header.metadata.get(key)), None)
    prediction = "v_prediction" if "v_pred" in marks else _prediction(told)
    if prediction is None:
        return {}
    if prediction == "v_prediction" and "ztsnr" in marks:
        return {"prediction_type": prediction, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return {"prediction_type": prediction}


def _prediction(told: str | None) -> str | None:
    if told is None:
        return None
    word = told.strip().lower().replace("-", "_")
    if word not in PREDICTIONS:
        raise UnusableFile(f"its metadata says that it predicts {told:.40}; allowed: epsilon, v")
    return PREDICTIONS[word]


def check_sampler(config: Mapping[str, object]) -> None:
    """Raises UnusableFile for a scheduler configuration that the samplers here cannot be made from.

    All of them go over the noise levels that a table of betas gives; those of EDM and of flow matching have none.
    """
    if not config.get("beta_schedule") and config.get("trained_betas") is None:
        raise UnusableFile(f"its sampler is {config.get('_class_name')}, and no sampler here has its noise levels")
    if config.get("prediction_type", "epsilon") not in ALLOWED or config.get("use_flow_sigmas"):
        raise UnusableFile(f"its prediction_type is {config.get('prediction_type')}; allowed: {', '.join(ALLOWED)}")
    steps = config.get("num_train_timesteps", TRAINING_TIMESTEPS)
    if steps != TRAINING_TIMESTEPS:
        raise UnusableFile(f"it was trained with {steps} timesteps, and SDXL's have {TRAINING_TIMESTEPS}")
