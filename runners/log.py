"""The log of every service: ours and BentoML's lines of requests, without what libraries say to their developers."""

from __future__ import annotations

import logging

logger = logging.getLogger("bentoml.sdxl_relay")
CHATTY = {
    "bentoml.serve": logging.WARNING,  # the names of its hooks
    "torchao": logging.ERROR,  # which of its kernels are not for this machine
    "torch.utils._pytree": logging.ERROR,
}


def quiet_libraries() -> None:
    """To be called before they are imported; what they read from the environment is in runners/__init__.py."""
    for name, level in CHATTY.items():
        logging.getLogger(name).setLevel(level)
