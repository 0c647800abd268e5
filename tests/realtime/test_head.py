"""A request's head: what it says, what is refused, and what must not be shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from invorto.realtime.head import (
    HEAD_LIMIT,
    HeadReader,
    Refused,
    Request,
    accepted,
    check_upgrade,
    refusal,
)

HEAD = (
    b"GET /v1/realtime/c%5F1?callId=a%20b&agentId=%E0%A4%A8+x&empty= HTTP/1.1\r\nHost: here\r\n"
    b"connection: keep-alive, Upgrade\r\nUPGRADE: WebSocket\r\nOrigin: https://a.example\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: invorto.v1, inv_live_KEY\r\nSec-WebSocket-Protocol: third\r\n\r\n"
)


def read(data: bytes) -> Request:
    """Read a head that is whole."""
    request = HeadReader().feed(data, "192.0.2.1")
    assert request is not None
    return request


def with_line(line: bytes, without: bytes = b"") -> Request:
    """Read the usual head with another line, and without the one that begins with *without*."""
    lines = [each for each in HEAD[:-4].split(b"\r\n") if not without or not each.lower().startswith(without.lower())]
    return read(b"\r\n".join([*lines, line]).strip() + b"\r\n\r\n")


def target(text: bytes) -> Request:
    """Read a head that asks for *text*."""
    return read(b"GET " + text + b" HTTP/1.1\r\nHost: here\r\n\r\n")


def test_a_head_is_read_whole():
    """Method, path, query, headers in any case, and subprotocols of several lines come out decoded."""
    request = read(HEAD)
    assert (request.method, request.path, request.peer) == ("GET", "/v1/realtime/c_1", "192.0.2.1")
    assert request.query == {"callId": "a b", "agentId": "न x", "empty": ""}
    assert request.headers["ORIGIN"] == request.headers.get("origin") == "https://a.example"
    assert request.subprotocols == ["invorto.v1", "inv_live_KEY", "third"]
    assert request.wants_socket
    check_upgrade(request)


def test_a_head_comes_in_pieces():
    """Wherever a head is cut, byte by byte too, it is the same, and what follows it is kept."""
    for at in range(1, len(HEAD)):
        reader = HeadReader()
        assert reader.feed(HEAD[:at]) is None
        assert reader.feed(HEAD[at:] + b"rest") is not None
        assert (reader.residue, bytes(reader.raw)) == (b"rest", HEAD + b"rest")
    reader = HeadReader()
    assert [reader.feed(HEAD[i : i + 1]) is not None for i in range(len(HEAD))] == [False] * (len(HEAD) - 1) + [True]


def test_a_whole_address_is_a_path_too():
    """Proxies may ask for `http://host/path`."""
    assert target(b"http://here:80/realtime/voice?callId=1").path == "/realtime/voice"
    assert target(b"*").path == "/"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (b"callId=a&callId=b", "more than once"), (b"callId=a&callId=a", "more than once"), (b"a=%ff", "UTF-8"),
        (b"&".join(b"f%d=1" % i for i in range(65)), "64 fields"),
    ],
    ids=["twice", "twice the same", "bad utf-8", "too many"],
)  # fmt: skip
def test_a_query_that_can_be_read_two_ways_is_refused(query: bytes, why: str):
    """A name given twice, bytes that are no text, a thousand fields: 400, in a sentence."""
    with pytest.raises(Refused, match=why) as raised:
        _ = target(b"/?" + query).query
    assert raised.value.status == 400


def test_a_path_that_is_no_text_is_refused():
    """Percent-encoded bytes that are not UTF-8 are nobody's path."""
    with pytest.raises(Refused, match="path"):
        target(b"/%ff")


@pytest.mark.parametrize(
    ("request_", "status", "why"),
    [
        (with_line(b"", b"upgrade"), 426, "needed"), (with_line(b"Upgrade: h2c", b"upgrade"), 426, "needed"),
        (with_line(b"", b"connection"), 400, "Connection"),
        (with_line(b"Connection: close", b"connection"), 400, "Connection"),
        (with_line(b"Sec-WebSocket-Version: 8", b"sec-websocket-version"), 426, "version 13"),
        (with_line(b"", b"sec-websocket-version"), 426, "version 13"),
        (with_line(b"", b"sec-websocket-key"), 400, "Key"),
        (with_line(b"Sec-WebSocket-Key: c2hvcnQ=", b"sec-websocket-key"), 400, "Key"),
        (with_line(b"Sec-WebSocket-Key: !!!!", b"sec-websocket-key"), 400, "Key"),
        (with_line(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "Key"),
        (with_line(b"Sec-WebSocket-Key: \xe9\xe9", b"sec-websocket-key"), 400, "Key"),
        (read(HEAD.replace(b"GET", b"POST", 1)), 426, "needed"),
    ],
    ids=[
        "no upgrade", "another upgrade", "no connection", "another connection", "old version", "no version", "no key",
        "short key", "not base64", "two keys", "not ascii", "post",
    ],
)  # fmt: skip
def test_bad_handshakes_are_refused(request_: Request, status: int, why: str):
    """Each rule of the handshake has its answer; 426 says what would do."""
    with pytest.raises(Refused, match=why) as raised:
        check_upgrade(request_)
    assert raised.value.status == status
    answer = refusal(raised.value)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (b"\r\nUpgrade: websocket\r\n" in answer) is (status == 426)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert set(json.loads(body)) == {"code", "message", "requestId"}


def test_an_accepted_handshake_answers_with_the_standards_example():
    """The key of RFC 6455 1.3 gives its accept value; a subprotocol is chosen among those offered."""
    request = read(HEAD)
    answer = accepted(request, "invorto.v1").decode()
    assert "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert "\r\nSec-WebSocket-Protocol: invorto.v1\r\n" in answer
    assert "Protocol" not in accepted(request).decode().replace("Switching Protocols", "")
    assert "Extensions" not in answer
    with pytest.raises(ValueError, match="not offered"):
        accepted(request, "other")


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x16\x03\x01", b"hello\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET  / X\r\n\r\n"]
)
def test_what_is_not_http_is_refused(data: bytes):
    """Garbage is a 400, at its first line if that is enough to know."""
    with pytest.raises(Refused) as raised:
        HeadReader().feed(data)
    assert raised.value.status == 400


@pytest.mark.parametrize("piece", [100, 4096, 100_000])
def test_a_head_without_end_is_refused(piece: int):
    """A head over 16 KiB is a 431, whether it ends or not, and in whatever pieces it comes."""
    data = HEAD[:-2] + b"X: " + b"x" * HEAD_LIMIT + b"\r\n\r\n"
    reader = HeadReader()

    def feed_all():
        for at in range(0, len(data), piece):
            reader.feed(data[at : at + piece])

    with pytest.raises(Refused) as raised:
        feed_all()
    assert raised.value.status == 431
    assert HeadReader().feed(HEAD[:-2] + b"X: " + b"x" * 15_000 + b"\r\n\r\n" + b"y" * 50_000) is not None


def test_nothing_secret_is_shown():
    """A key, a token or a signature is in no `repr`, wherever it was sent."""
    secret = "S3CR3T"
    request = with_line(b"Authorization: Bearer S3CR3T")
    asked = target(b"/realtime/voice?callId=1&api_key=S3CR3T&token=S3CR3T&sig=S3CR3T")
    media = target(b"/telephony/twilio/ca_1/media/c_1/1733000000.S3CR3T")
    offered = with_line(b"Sec-WebSocket-Protocol: S3CR3T")
    for each in (request, asked, media, offered):
        assert secret not in f"{each!r} {each} {each.headers!r} {each.headers} {pretty_repr(each)}"
        assert each.path.split("/")[1] in repr(each)
    assert "c_1" in repr(media)


@given(data=st.lists(st.binary(max_size=200), max_size=4), whole=st.booleans())
def test_garbage_is_refused_or_waited_for(data: list[bytes], whole: bool):
    """Whatever comes first on a connection, or in place of a header, it is a request, a refusal, or not yet whole."""
    reader, status = HeadReader(), 400
    try:
        for piece in [b"GET /?q=%e0 HTTP/1.1\r\nHost: h\r\n", *data] if whole else data:
            request = reader.feed(piece)
            if request is not None:
                break
    except Refused as refused:
        status = refused.status
    assert status in {400, 431}
