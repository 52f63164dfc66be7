"""The openai package: a picture, then one with partial pictures while it is made."""

import base64
import os
from pathlib import Path

from openai import OpenAI

URL = os.environ.get("SDXL_RELAY_URL", "http://127.0.0.1:3000")

client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("SDXL_RELAY_KEY", "none is needed"))

answer = client.images.generate(
    prompt="a red cube on top of a blue sphere, yellow background",
    extra_body={"seed": 1, "refiner": {"high_noise_frac": 0.8}},  # what OpenAI's own API does not have
)
Path("cube.png").write_bytes(base64.b64decode((answer.data or [])[0].b64_json or ""))

for event in client.images.generate(prompt="a purple cone, white background", stream=True, partial_images=3):
    if event.type == "image_generation.partial_image":
        Path(f"cone-{event.partial_image_index}.png").write_bytes(base64.b64decode(event.b64_json))
    elif event.type == "image_generation.completed":
        Path("cone.png").write_bytes(base64.b64decode(event.b64_json))
print("cube.png, cone-0.png, cone-1.png, cone-2.png, cone.png")
