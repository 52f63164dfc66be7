"""The routes of AUTOMATIC1111's API that tell what there is, and those that have nothing to do here."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from entry.automatic1111.hires import LATENT_MODES
from entry.automatic1111.lists import embedding_items, lora_items, model_items, upscaler_items, vae_items
from entry.automatic1111.samplers import sampler_items, schedule_items
from entry.fleet.fleet import Fleet

# What there is none of here, by AUTOMATIC1111's and its forks' paths.
NOTHING: dict[str, Any] = {
    "hypernetworks": [], "face-restorers": [], "realesrgan-models": [],
    "prompt-styles": [], "scripts": {"txt2img": [], "img2img": []}, "script-info": [], "extensions": [],
    "sd-modules": [],
}  # fmt: skip
FLAGS: dict[str, Any] = {
    "api": True, "nowebui": True, "listen": False, "share": False, "api_auth": None, "api_server_stop": False,
    "lowvram": False, "medvram": False, "medvram_sdxl": False, "no_half": False, "no_half_vae": False,
    "xformers": False, "ckpt": None, "ckpt_dir": None, "vae_dir": None, "lora_dir": "", "embeddings_dir": "",
    "port": None,
}  # fmt: skip
ELSEWHERE = {"error": "models are in other processes, whose memory /metrics tells"}


def add_lists(app: FastAPI, fleet: Fleet, tags: Any, responses: dict[int | str, dict[str, Any]]) -> None:
    """Adds them."""
    _add_offers(app, fleet, tags, responses)
    _add_constants(app, tags, responses)
    _add_refreshes(app, fleet, tags, responses)


def _add_offers(app: FastAPI, fleet: Fleet, tags: Any, responses: dict[int | str, dict[str, Any]]) -> None:
    @app.get("/sdapi/v1/sd-models", tags=tags, responses=responses)
    async def sd_models() -> list[dict[str, Any]]:
        """Lists the models, for `override_settings.sd_model_checkpoint` and `refiner_checkpoint`."""
        return model_items(fleet.offers)

    @app.get("/sdapi/v1/loras", tags=tags, responses=responses)
    async def loras() -> list[dict[str, Any]]:
        """Lists the LoRAs that a prompt may name as `<lora:name:scale>`."""
        return lora_items(fleet.offers)

    @app.get("/sdapi/v1/sd-vae", tags=tags, responses=responses)
    async def sd_vae() -> list[dict[str, Any]]:
        """Lists the VAEs. The server's catalog says which model has which."""
        return vae_items(fleet.offers)

    @app.get("/sdapi/v1/embeddings", tags=tags, responses=responses)
    async def embeddings() -> dict[str, Any]:
        """Lists the textual inversions that a prompt may name."""
        return embedding_items(fleet.offers)

    @app.get("/sdapi/v1/samplers", tags=tags, responses=responses)
    async def samplers() -> list[dict[str, Any]]:
        """Lists the samplers."""
        return sampler_items()

    @app.get("/sdapi/v1/schedulers", tags=tags, responses=responses)
    async def schedulers() -> list[dict[str, Any]]:
        """Lists the schedules."""
        return schedule_items()

    @app.get("/sdapi/v1/upscalers", tags=tags, responses=responses)
    async def upscalers() -> list[dict[str, Any]]:
        """Lists the ways to enlarge a picture, for `extra-single-image`."""
        return upscaler_items()


def _add_constants(app: FastAPI, tags: Any, responses: dict[int | str, dict[str, Any]]) -> None:
    def add(path: str, value: Any, description: str) -> None:
        async def tell() -> Any:
            return value

        app.get(path, tags=tags, responses=responses, description=description, name=path.rsplit("/", 1)[-1])(tell)

    for name, value in NOTHING.items():
        add(f"/sdapi/v1/{name}", value, "An empty list: there are none here.")
    modes = [{"name": name} for name in LATENT_MODES]
    add("/sdapi/v1/latent-upscale-modes", modes, "How hires fix may enlarge latents.")
    add("/sdapi/v1/cmd-flags", FLAGS, "Flags as AUTOMATIC1111 has them. None can be set.")
    add("/sdapi/v1/memory", {"ram": ELSEWHERE, "cuda": ELSEWHERE}, "No figures: the models are in other processes.")
    add("/internal/ping", {}, "Answers, as AUTOMATIC1111 does while it is there.")


def _add_refreshes(app: FastAPI, fleet: Fleet, tags: Any, responses: dict[int | str, dict[str, Any]]) -> None:
    async def refresh() -> dict[str, Any]:
        """Looks at once for files that have come or gone; the server does so by itself every few seconds."""
        await fleet.renew()
        return {}

    async def nothing() -> dict[str, Any]:
        """Does nothing: models are loaded when a request needs them."""
        return {}

    for kind in ("checkpoints", "loras", "vae", "embeddings"):
        app.post(f"/sdapi/v1/refresh-{kind}", tags=tags, responses=responses, name=f"refresh_{kind}")(refresh)
    for name in ("unload-checkpoint", "reload-checkpoint"):
        app.post(f"/sdapi/v1/{name}", tags=tags, responses=responses, name=name.replace("-", "_"))(nothing)
