"""BentoML's asynchronous client: several pictures at once, and a task that is asked for later."""

import asyncio
import os
import shutil

import bentoml

URL = os.environ.get("SDXL_RELAY_URL", "http://127.0.0.1:3000")
COLOURS = ("red", "green", "blue")


async def main() -> None:
    async with bentoml.AsyncHTTPClient(URL) as client:
        # All of them share the server's UNet calls.
        made = await asyncio.gather(
            *(client.generate(prompt=f"a {colour} sphere, gray background", seed=1) for colour in COLOURS)
        )
        for colour, path in zip(COLOURS, made, strict=True):
            shutil.copy(path, f"{colour}.png")

        task = await client.generate.submit(prompt="a yellow cylinder, gray background", seed=1)
        while (status := await task.get_status()).value == "in_progress":  # noqa: ASYNC110 (there is no event)
            await asyncio.sleep(0.2)
        if status.value == "completed":
            shutil.copy(await task.get(), "yellow.png")
        print(", ".join(f"{colour}.png" for colour in (*COLOURS, "yellow")))


asyncio.run(main())
