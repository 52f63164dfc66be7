"""The page as Gradio makes it, without what would tie it to one address or lead to other servers.

Importing this imports Gradio, so that only `entry.page.mount` does, when somebody opens the page.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
from fastapi import FastAPI

from entry.page.layout import make_blocks

HERE = Path(__file__).parent
ANYWHERE = "http://anywhere.invalid"  # stands for the server's address in what Gradio writes
OWN_ADDRESS = "document.baseURI.slice(0, -1)"  # JavaScript: the page's folder, wherever a proxy has put it
ABOUT_GRADIO = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
MANIFEST = '<link rel="manifest" href="/manifest.json" />'  # would be outside of the page's folder
ICON = (
    "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Ccircle cx='6' cy='8' r='5' fill='%236366f1'/%3E%3Ccircle cx='10' cy='8' r='5' fill='%23f59e0b' "
    "fill-opacity='.8'/%3E%3C/svg%3E\" />"
)


def gradio_app(path: str, *, asks_for_keys: bool) -> FastAPI:
    """An app with the page at `path`; whether the server asks for API keys, the page's curl commands must know."""
    style, script = ((HERE / name).read_text() for name in ("page.css", "page.js"))
    keys = '<meta name="relay-keys">' if asks_for_keys else ""
    return gr.mount_gradio_app(
        FastAPI(),
        make_blocks(),
        path=path,
        theme=_theme(),
        # Not as css=, whose rules Gradio confines to its own container: some are about the body.
        head=f"{keys}<style>{style}</style><script>{script}</script>",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )


def _theme() -> Any:
    """With the reader's own fonts, and hints dark enough to be read."""
    theme = gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    hints = ("body_text_color_subdued", "block_info_text_color", "input_placeholder_color")
    return theme.set(**dict.fromkeys(hints, "*neutral_500"))


def page_html(app: Any, path: str) -> str:
    """The page's one document. It is the same for every client, for it finds its address by itself."""
    html = asyncio.run(_get(app, f"{path}/"))
    html = html.replace(f'"{ANYWHERE}{path}"', OWN_ADDRESS)
    if ANYWHERE in html or MANIFEST not in html:
        raise RuntimeError("this version of Gradio writes another page than the one that is known")
    return ABOUT_GRADIO.sub("", html).replace(MANIFEST, ICON)


async def _get(app: Any, path: str) -> str:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ANYWHERE) as client:
        return (await client.get(path)).raise_for_status().text
