"""`invorto webhooks listen` and `trigger`, as somebody who writes a receiver uses them."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from invorto import config
from invorto.errors import InvortoError, StartFailed, UsageError
from invorto.receiver.listen import Wish, listen
from invorto.receiver.trigger import Shot, trigger
from invorto.webhooks import signing

SECRET = signing.secret_of(b"s" * 32)
OTHER = signing.secret_of(b"o" * 32)


def wish(**more: Any) -> Wish:
    given: dict[str, Any] = {
        "host": "127.0.0.1", "port": 0, "secret": SECRET, "public": None, "events": [], "answer": 200, "as_json": False,
        "url": None, "key": None,
    }  # fmt: skip
    return Wish(**{**given, **more})


def shot(type_: str = "call.ended", **more: Any) -> Shot:
    given: dict[str, Any] = {"to": None, "secret": None, "over": None, "endpoint": None, "url": None, "key": None}
    return Shot(type=type_, **{**given, **more})


@asynccontextmanager
async def listening(
    folder: Path, capsys: pytest.CaptureFixture[str], **more: Any
) -> AsyncGenerator[tuple[str, list[int]]]:
    """Run `listen` and give its URL; a signal ends it, and its exit code is in the list then."""
    codes: list[int] = []
    free = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = free[0].socket.getsockname()[1]
    await free[0].aclose()

    async def run() -> None:
        codes.append(await listen(config.load({"DATA_DIR": str(folder)}), wish(port=port, **more)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)  # noqa: ASYNC113 - it is waited for below
        with trio.fail_after(5):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await trio.sleep(0.02)
        yield f"http://127.0.0.1:{port}/", codes
        signal.raise_signal(signal.SIGINT)


async def fire(folder: Path, **more: Any) -> int:
    return await trigger(config.load({"DATA_DIR": str(folder)}), shot(**more))


async def test_a_sample_arrives_and_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is genuine is shown with what it tells, what is not is answered 400 and shown with why; Ctrl-C ends it."""
    async with listening(tmp_path, capsys) as (url, codes):
        assert await fire(tmp_path, to=url, secret=SECRET) == 0
        assert await fire(tmp_path, to=url, secret=OTHER) == 1
        assert await fire(tmp_path, to=url, secret=SECRET, type_="agent.tool_call") == 0
    assert codes == [0]
    shown = capsys.readouterr().out
    assert f"listening on {url}; Ctrl-C ends it" in shown
    assert "✓ call.ended" in shown
    assert "completed (hangup) after 63.46 s, ₹ 1.27" in shown
    assert "✗ call.ended" in shown
    assert "no signature is right" in shown
    assert "book_table(people=2, day='2026-03-05') in 212.4 ms" in shown
    assert ": 400 in" in shown


async def test_bodies_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json each genuine body is a line, for another program; the answer may be one of failure."""
    async with listening(tmp_path, capsys, as_json=True, answer=503) as (url, _):
        assert await fire(tmp_path, to=url, secret=SECRET, over='{"endReason": "[bold]"}') == 1
        assert await fire(tmp_path, to=url, secret=OTHER) == 1
    bodies = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [body["data"]["endReason"] for body in bodies] == ["[bold]"]


@pytest.mark.parametrize(
    ("asked", "kind", "sentence"),
    [
        ({"type_": "call.end"}, UsageError, "there is no event call.end: call.started"),
        ({"to": "http://127.0.0.1:1/"}, UsageError, "give the secret"),
        ({"to": "http://127.0.0.1:1/", "secret": SECRET}, StartFailed, "no connection"),
        ({"to": "http://127.0.0.1:1/", "secret": "whsec_?"}, UsageError, "--secret: a secret is"),
        ({"to": "ftp://x", "secret": SECRET}, UsageError, "--to: "),
        ({"to": "http://x", "secret": SECRET, "over": "{"}, UsageError, "--with is no JSON"),
        ({"to": "http://x", "secret": SECRET, "over": "[1]"}, UsageError, "--with must be a JSON object"),
        ({"secret": SECRET}, UsageError, "are for --to"),
        ({}, UsageError, "no server runs here"),
        ({"url": "http://127.0.0.1:1", "key": "k"}, StartFailed, "is the server running?"),
    ],
    ids=lambda value: None if isinstance(value, type | dict) else str(value),
)
async def test_what_is_wrong_is_a_sentence(
    tmp_path: Path, asked: dict[str, Any], kind: type[InvortoError], sentence: str
) -> None:
    """Whatever cannot be sent is told in one sentence that says what to do."""
    with pytest.raises(kind) as caught:
        await fire(tmp_path, **asked)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"secret": "whsec_?"}, "--secret: "),
        ({"events": ["call.end"]}, "there is no event call.end"),
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
        ({"secret": None}, "no server runs here"),
    ],
    ids=["secret", "event", "address", "server"],
)
async def test_listening_in_vain(tmp_path: Path, asked: dict[str, Any], sentence: str) -> None:
    """What keeps it from listening is told before anything is waited for."""
    with pytest.RaisesGroup(InvortoError, allow_unwrapped=True, flatten_subgroups=True) as caught:
        with trio.fail_after(5):
            await partial(listen, config.load({"DATA_DIR": str(tmp_path)}), wish(**asked))()
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert sentence in str(error)
