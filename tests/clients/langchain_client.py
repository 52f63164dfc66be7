"""LangChain's wrapper of OpenAI's pictures against the server, whose address is the argument. Prints JSON."""

import json
import sys

import openai
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

PROMPT = "a green cone, white background"


def main(url: str) -> None:
    common = {"api_key": "none", "base_url": f"{url}/v1", "size": "128x128", "max_retries": 0}
    urls = DallEAPIWrapper(n=2, **common).run(PROMPT).split("\n")
    try:
        DallEAPIWrapper(model="flux", **common).run(PROMPT)
        error = ""
    except openai.NotFoundError as raised:
        error = str(raised.code)
    print(json.dumps({"urls": urls, "error": error}))


if __name__ == "__main__":
    main(*sys.argv[1:])
