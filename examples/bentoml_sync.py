"""BentoML's client: a picture from a prompt, then a better picture from that."""

import os
import shutil
from pathlib import Path

import bentoml

URL = os.environ.get("SDXL_RELAY_URL", "http://127.0.0.1:3000")

with bentoml.SyncHTTPClient(URL) as client:
    # The client deletes its files when it is closed, so they are copied.
    made = client.generate(prompt="a green cone, white background", seed=1, refine="none")
    shutil.copy(made, "cone.png")
    better = client.refine(image=Path("cone.png"), prompt="a green cone, white background", seed=1)
    shutil.copy(better, "cone-refined.png")
print("cone.png, cone-refined.png")
