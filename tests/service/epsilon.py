"""A random-weights pair of checkpoints that predicts epsilon, as the real SDXL does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel


def write_epsilon_pair(mini: Path, target: Path, **unet_config: object) -> None:
    """Copies the mini pair to `target`, gives it UNets with random weights and the prediction type epsilon.

    `unet_config` changes the UNets' own configuration.
    """
    shutil.copytree(mini, target, dirs_exist_ok=True)
    for seed, stage in enumerate(("base", "refiner")):
        torch.manual_seed(seed)
        config = UNet2DConditionModel.load_config(target / stage / "unet")
        unet = UNet2DConditionModel.from_config({**config, **unet_config})
        with torch.no_grad():  # a fresh UNet predicts little; a trained one predicts noise of unit variance
            unet.conv_out.weight *= 3
        unet.save_pretrained(target / stage / "unet")
        path = target / stage / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "epsilon"}))
