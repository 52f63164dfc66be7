"""Who may enter a runner."""

from __future__ import annotations

from typing import Any

import pytest

from runners.door import Door
from sdxl.config.settings import Settings
from sdxl.errors import RelayError

TOKEN = "0123456789abcdef"


def door(**settings: str) -> Door:
    return Door(Settings.from_environment({f"SDXL_{name.upper()}": value for name, value in settings.items()}), {})


def scope(host: str | None, port: int | None = 80, token: str | None = None) -> dict[str, Any]:
    """`host` and `port` are the runner's own, as the caller sees them."""
    headers = [] if token is None else [(b"authorization", token.encode())]
    # What a proxy's header says of the client must not count.
    server = None if host is None else (host, port)
    return {"type": "http", "server": server, "client": ("127.0.0.1", 1), "headers": headers}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", None])
def test_without_a_token_its_own_machine_may_enter(host: str | None) -> None:
    door().check_caller(scope(host))


def test_a_unix_socket_is_its_own_machines() -> None:
    door().check_caller(scope("/tmp/a.sock", None))


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.2", "fd00::1", "8.8.8.8"])
def test_without_a_token_no_other_machine_may_enter(host: str) -> None:
    with pytest.raises(RelayError, match="SDXL_RUNNER_TOKEN") as refused:
        door().check_caller(scope(host))
    assert refused.value.status == 403
    door(runner_open="true").check_caller(scope(host))


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1"])
def test_with_a_token_it_is_asked_for_everywhere(host: str) -> None:
    for settings in ({}, {"runner_open": "true"}):
        guarded = door(runner_token=TOKEN, **settings)
        guarded.check_caller(scope(host, token=f"Bearer {TOKEN}"))
        for token in (None, "", TOKEN, f"bearer {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"):
            with pytest.raises(RelayError) as refused:
                guarded.check_caller(scope(host, token=token))
            assert refused.value.status == 401


def test_two_tokens_while_one_is_changed() -> None:
    guarded = door(runner_token=f"{TOKEN},{TOKEN[::-1]}")
    for token in (TOKEN, TOKEN[::-1]):
        guarded.check_caller(scope("10.0.0.1", token=f"Bearer {token}"))
    for token in (f"{TOKEN},{TOKEN[::-1]}", f"{TOKEN}{TOKEN[::-1]}", TOKEN[:8]):
        with pytest.raises(RelayError):
            guarded.check_caller(scope("10.0.0.1", token=f"Bearer {token}"))


def test_too_many_requests_wait_for_nothing() -> None:
    small = door(max_jobs="1")
    with small.drain.request(), small.drain.request(), pytest.raises(RelayError) as refused:
        small.check_room()
    assert refused.value.status == 429
    small.check_room()


def test_a_stuck_engine_is_not_ready_and_at_last_not_alive() -> None:
    watched = door()
    for waited, ready, alive in ((0, 200, 200), (1, 200, 200), (2, 503, 200), (11, 503, 503)):
        watched.is_stuck = lambda times, waited=waited: waited > times  # type: ignore[misc]
        assert (watched.readiness(scope(None)).status_code, watched.liveness().status_code) == (ready, alive)
