"""The names of models that OpenAI's clients send, and which of ours they mean."""

from __future__ import annotations

from entry.fleet.fleet import Fleet
from entry.fleet.names import model_named
from sdxl.config.settings import Settings
from sdxl.errors import RelayError

# Clients send these whether or not their user has chosen one, so they mean the default model.
OPENAI_MODELS = ("dall-e-", "gpt-image-", "chatgpt-image-")
ANY = "any"


class ModelNames:
    """From names to names."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet, self._means_default = fleet, settings.openai_models

    def ours(self, name: str | None) -> str | None:
        """The name; None for one that means the default model. Open WebUI sends "" for none."""
        if not name or name.startswith(OPENAI_MODELS) or name in self._means_default:
            return None
        return None if ANY in self._means_default and self._is_unknown(name) else name

    def _is_unknown(self, name: str) -> bool:
        try:
            model_named(name, self._fleet.base.offers)
        except RelayError as error:
            return error.status == 404
        return False
