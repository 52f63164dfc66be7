"""LiteLLM against the server. Arguments: its address, and a picture's file. Prints what it got as JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import litellm

PROMPT = "a green cone, white background"


def main(url: str, file: str) -> None:
    common: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": "none", "max_retries": 0}
    made = litellm.image_generation(prompt=PROMPT, model="openai/sdxl", n=2, size="128x128", **common)
    linked = litellm.image_generation(prompt=PROMPT, model="openai/dall-e-3", size="128x128", **common)
    with Path(file).open("rb") as picture:
        edited = litellm.image_edit(image=[picture], prompt=PROMPT, model="openai/sdxl", **common)
    try:
        litellm.image_generation(prompt=PROMPT, model="openai/flux", **common)
        error = ""
    except litellm.exceptions.NotFoundError as raised:
        error = str(raised)
    told = {
        "pictures": [image.b64_json for image in made.data],
        "tokens": made.usage.total_tokens,
        "url": linked.data[0].url,
        "edited": edited.data[0].b64_json,
        "error": error,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
