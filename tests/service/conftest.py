"""Clients of the running server."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.service.server import Server


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none is asked for", max_retries=0) as made:
        yield made
