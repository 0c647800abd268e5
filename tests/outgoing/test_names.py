"""Looking up names, apart from one another."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address
from typing import Any

import pytest
import trio
import trio.testing

from invorto.outgoing.client import OutgoingFailed
from invorto.outgoing.names import apart


async def test_a_silent_name_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred questions about a name that nobody answers take four threads, and others are answered at once."""
    go_on, asked = threading.Event(), list[str]()

    def slow(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        if host == "silent.example":
            go_on.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolve = apart()
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(resolve, "silent.example")
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(5):
                for number in range(60):
                    assert await resolve(f"{number}.example") == [ip_address("93.184.216.34")]
            nursery.cancel_scope.cancel()
        assert asked.count("silent.example") <= 4
    finally:
        go_on.set()
    with trio.fail_after(5):
        assert await resolve("silent.example")


async def test_what_is_no_name_is_told() -> None:
    """A name that leads nowhere fails as such."""
    for host in ("nobody.invalid", "a" * 300):
        with pytest.raises(OutgoingFailed) as failed:
            await apart()(host)
        assert failed.value.reason == "name"
    assert await apart()("127.0.0.1") == [ip_address("127.0.0.1")]
