"""Makes a picture from a prompt, and shows how far it has come: python examples/generate.py "a red cube" """

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

URL = os.environ.get("SDXL_RELAY_URL", "http://127.0.0.1:3000")


def arguments() -> argparse.Namespace:
    """What was asked for; fields that were not given are left to the server."""
    parser = argparse.ArgumentParser(description="Makes a picture from a prompt.")
    parser.add_argument("prompt")
    parser.add_argument("--output", type=Path, default=Path("picture.png"), help="a .png, .jpeg or .webp file")
    parser.add_argument("--url", default=URL)
    parser.add_argument("--key", default=os.environ.get("SDXL_RELAY_KEY"), help="if the server asks for one")
    for name, kind in (
        ("--negative-prompt", str),
        ("--width", int),
        ("--height", int),
        ("--num-inference-steps", int),
        ("--guidance-scale", float),
        ("--seed", int),
        ("--scheduler", str),
        ("--schedule", str),
        ("--refine", str),
    ):
        parser.add_argument(name, type=kind)
    return parser.parse_args()


def events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and data of each Server-Sent Event."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def main() -> None:
    """Prints an error and exits with 1 if there is no picture."""
    options = arguments()
    left_out = ("output", "url", "key")
    request = {name: value for name, value in vars(options).items() if value is not None and name not in left_out}
    suffix = options.output.suffix.lower().removeprefix(".")
    request["output_format"] = "jpeg" if suffix == "jpg" else suffix
    headers = {"authorization": f"Bearer {options.key}"} if options.key else {}
    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        TextColumn("{task.fields[left]:>8}"),
        TimeElapsedColumn(),
    )
    with (
        httpx.stream("POST", f"{options.url}/generate_stream", json=request, headers=headers, timeout=600) as response,
        Progress(*columns) as bar,
    ):
        if response.status_code != 200:
            sys.exit(json.loads(response.read())["error"])
        task = bar.add_task("waits", total=1.0, left="")
        for name, data in events(response):
            if name == "queued":
                bar.update(task, description=f"waits: {data['place']}")
            elif name == "progress":
                left = "" if data["eta_s"] is None else f"{data['eta_s']:.1f} s left"
                bar.update(
                    task, description=f"{data['stage']} {data['step']}/{data['of']}", completed=data["share"], left=left
                )
            elif name == "result":
                options.output.write_bytes(base64.b64decode(data["picture"]))
                bar.update(task, description="done", left="")
                bar.console.print(f"{options.output}, seed {data['seed']}")
            elif name == "error":
                sys.exit(data["error"])


if __name__ == "__main__":
    main()
