"""The way to a server, and what is said where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from invorto.caller import calling
from invorto.caller.calling import open_caller
from invorto.caller.reach import Server, refusal
from invorto.errors import InvortoError, StartFailed, UsageError

KEY = "inv_live_0123456789"


@pytest.mark.parametrize(
    ("url", "socket", "rest"),
    [
        ("http://here:81", ("here", 81, False, ""), "http://here:81/x"),
        ("https://here/", ("here", 443, True, ""), "https://here/x"),
        ("wss://here/p", ("here", 443, True, "/p"), "https://here/p/x"),
        ("ws://[::1]", ("::1", 80, False, ""), "http://[::1]/x"),
    ],
    ids=["port", "tls", "path", "six"],
)
def test_addresses(url: str, socket: tuple[str, int, bool, str], rest: str) -> None:
    """One base URL leads to the voice socket and to REST, behind a path too."""
    server = Server(url, KEY)
    *place, path = socket
    assert server.place == tuple(place)
    assert server.socket("c", "a b") == f"{path}/realtime/voice?callId=c&agentId=a%20b&rate=16000"
    assert server.rest("/x") == rest


@pytest.mark.parametrize(
    "url", ["", "here:81", "ftp://here", "http://", "http://[::1", "http://here:99999", "http://:0"]
)
def test_what_is_no_url_is_told(url: str) -> None:
    """A sentence with an example, before anything is tried."""
    with pytest.raises(UsageError, match="is no server's URL: expected something like"):
        Server(url, KEY)


@pytest.mark.parametrize("key", ["", "a b", "ключ", "a\r\nb", "a,b"])
def test_what_cannot_be_a_key_is_told(key: str) -> None:
    """It would break the handshake; it is not repeated."""
    with pytest.raises(UsageError, match="no key has"):
        Server("http://here", key)
    assert KEY not in repr(Server("http://here", KEY))


@pytest.mark.parametrize(
    ("code", "reason", "event", "kind", "sentence"),
    [
        (4003, "unauthorized", None, UsageError, "http://here does not know this key: give another one with --key"),
        (4003, "forbidden_origin", None, UsageError, "http://here takes no calls from here: forbidden_origin"),
        (4004, "agent_not_found", {"code": "agent_not_found", "message": "there is no such agent"}, UsageError,
         "http://here has no agent 'bob' (there is no such agent): give its id or name with --agent"),
        (4004, "agent_not_found", {"code": "agent_not_active", "message": "the agent is draft"}, UsageError,
         "the agent 'bob' takes no calls (the agent is draft): set its status to active"),
        (4029, "concurrency_limit", {"code": "concurrency_limit", "message": "full"}, StartFailed,
         "http://here takes no more calls just now: full"),
        (1001, "draining", None, StartFailed, "http://here did not take the call: draining"),
        (1006, "", None, StartFailed, "http://here did not take the call: close code 1006"),
    ],
    ids=["key", "origin", "agent", "draft", "full", "draining", "cut"],
)  # fmt: skip
def test_refusals_are_sentences(
    code: int, reason: str, event: dict[str, str] | None, kind: type[InvortoError], sentence: str
) -> None:
    """Each close code says what to do about it."""
    error = refusal(code, reason, [{"t": "error", **event}] if event else [], Server("http://here", KEY), "bob")
    assert type(error) is kind
    assert str(error) == sentence


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Serve something that is no Invorto: it says *answer* to whoever asks, and hangs up."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def why(url: str) -> str:
    """Try to call, and give what is said about it."""
    with pytest.RaisesGroup(InvortoError, allow_unwrapped=True, flatten_subgroups=True) as caught:
        async with open_caller(Server(url, KEY), "demo", "c"):
            pytest.fail("somebody answered")
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


async def test_nobody_answers() -> None:
    """A closed port, a host that is none: a sentence with what failed, at once."""
    assert "http://127.0.0.1:1 does not answer" in await why("http://127.0.0.1:1")
    assert "is the server running?" in await why("http://nobody.invalid")


async def test_a_server_without_tls_is_told() -> None:
    """`https` to a port that speaks plain HTTP: a sentence, no traceback, and nothing left open."""
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert "does not answer (" in await why(url.replace("http", "https"))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered 404: it serves no voice sockets"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer as a web server does"),
        (b"", "does not answer as a web server does"),
    ],
    ids=["http", "ssh", "silence"],
)
async def test_something_else_answers(answer: bytes, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another web server, or no web server at all, is told from Invorto."""
    monkeypatch.setattr(calling, "PATIENCE", 0.3)
    async with answering(answer) as url:
        assert sentence in await why(url)


async def test_rest_says_what_it_cannot_have() -> None:
    """An error of the API is passed on with its message; a port that is closed is named."""
    body = b'{"code":"not_found","message":"there is no such call"}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    async with answering(head + body) as url:
        with pytest.raises(StartFailed, match="answered 404: there is no such call"):
            await Server(url, KEY).get("/v1/calls/x")
    with pytest.raises(StartFailed, match="does not answer"):
        await Server("http://127.0.0.1:1", KEY).get("/health")
