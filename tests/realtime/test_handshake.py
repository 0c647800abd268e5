"""The URL of a voice socket is read exactly, and refused with the documented codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import PeerError, UsageError
from invorto.realtime.handshake import Handshake, read_handshake
from invorto.realtime.origin import Origins
from tests.realtime.doors import request

PLAIN = Handshake(call_id="c_1", agent=None, rate=16000, codec="linear16", resume=None)


def test_defaults():
    """A call's id is all that is needed: 16 kHz, 16 bit, the call's agent."""
    assert read_handshake(request("callId=c_1")) == PLAIN
    assert read_handshake(request("", path="/v1/realtime/c_1")) == PLAIN
    assert read_handshake(request("", path="/v1/realtime/c_1/")) == PLAIN
    assert read_handshake(request("callId=c_1", path="/v1/realtime/c_1")) == PLAIN
    assert read_handshake(request("callId=c_1&agentId=&rate=&codec=&channels=&resume=")) == PLAIN


def test_everything_that_can_be_asked_for():
    """Each field of the query arrives."""
    asked = request("callId=A.b-c_9&agentId=My+Desk&rate=8000&codec=mulaw&channels=1&resume=1733000000000-3&x=y")
    assert read_handshake(asked) == Handshake(
        call_id="A.b-c_9", agent="My Desk", rate=8000, codec="mulaw", resume="1733000000000-3"
    )


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_rates(rate):
    """Linear audio is served at the four rates of the field."""
    assert read_handshake(request(f"callId=c_1&rate={rate}")).rate == rate


@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
def test_g711_is_8_khz(codec):
    """G.711 has one rate, which is also its default."""
    assert read_handshake(request(f"callId=c_1&codec={codec}")).rate == 8000
    assert read_handshake(request(f"callId=c_1&codec={codec}&rate=8000")).rate == 8000


REFUSED = [
    ("", "/realtime/voice", 4002, "missing_call_id"),
    ("callId=", "/realtime/voice", 4002, "missing_call_id"),
    ("callid=c_1", "/realtime/voice", 4002, "missing_call_id"),
    ("callId=connections", "/realtime/voice", 4002, "bad_call_id"),
    ("callId=tokens", "/realtime/voice", 4002, "bad_call_id"),
    ("", "/v1/realtime/tokens", 4002, "bad_call_id"),
    ("", "/v1/realtime/", 4002, "missing_call_id"),
    ("", "/v1/realtime/c 1", 4002, "bad_call_id"),
    ("", "/v1/realtime/c_1/x", 4002, "bad_call_id"),
    ("callId=c_2", "/v1/realtime/c_1", 4002, "bad_call_id"),
    ("callId=" + "c" * 65, "/realtime/voice", 4002, "bad_call_id"),
    ("callId=c%0A", "/realtime/voice", 4002, "bad_call_id"),
    ("callId=c%00", "/realtime/voice", 4002, "bad_call_id"),
    ("callId=%C3%A9", "/realtime/voice", 4002, "bad_call_id"),
    ("callId=../x", "/realtime/voice", 4002, "bad_call_id"),
    ("callId=c_1&rate=44100", "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&rate=16000.0", "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&rate=%E0%A5%A7%E0%A5%AC000", "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&rate=-8000", "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&rate=" + "9" * 5000, "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&channels=2", "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&codec=opus", "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&codec=LINEAR16", "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&codec=mulaw&rate=16000", "/realtime/voice", 1003, "unsupported_audio"),
    ("callId=c_1&codec=alaw&rate=48000", "/realtime/voice", 1003, "unsupported_audio"),
]


@pytest.mark.parametrize(
    ("query", "path", "code", "reason"), REFUSED, ids=[f"{i}-{r[3]}" for i, r in enumerate(REFUSED)]
)
def test_what_is_refused(query, path, code, reason):
    """What cannot be served is refused with its code and reason."""
    with pytest.raises(PeerError) as error:
        read_handshake(request(query, path=path))
    assert (error.value.close_code, error.value.reason) == (code, reason)


@pytest.mark.parametrize("resume", ["x", "1", "-1", "1-2-3", "1 - 2", "9" * 30 + "-0", "$", "1-1\n"])
def test_a_resume_that_is_no_event_id_is_left_out(resume):
    """A client with a broken memory is served; `connected.resumed` tells it that nothing was replayed."""
    assert read_handshake(request({"callId": "c_1", "resume": resume})).resume is None


@given(st.dictionaries(st.sampled_from(["callId", "rate", "codec", "channels", "agentId", "resume"]), st.text()))
def test_any_query_is_read_or_refused(query):
    """Whatever stands in a query, it is a handshake or one of the documented refusals."""
    code = None
    try:
        read_handshake(request(query))
    except PeerError as error:
        code = error.close_code
    assert code in {None, 4002, 1003}


HOST = "voice.example:8080"
OPEN, CLOSED = True, False
ORIGINS = [
    ([], None, OPEN),
    ([], "http://voice.example:8080", OPEN),
    ([], "https://voice.example:8080", OPEN),
    ([], "http://voice.example", CLOSED),
    ([], "http://evil.example:8080", CLOSED),
    ([], "http://voice.example.evil.example:8080", CLOSED),
    ([], "null", CLOSED),
    ([], "", CLOSED),
    ([], "http://[", CLOSED),
    ([], "http://voice.example:99999", CLOSED),
    (["https://app.example"], None, OPEN),
    (["https://app.example"], "https://app.example", OPEN),
    (["https://app.example"], "https://APP.example:443", OPEN),
    (["https://app.example/base/"], "https://app.example", OPEN),
    (["https://app.example"], "http://app.example", CLOSED),
    (["https://app.example"], "https://app.example:444", CLOSED),
    (["https://app.example"], "https://x.app.example", CLOSED),
    (["https://app.example"], "http://voice.example:8080", CLOSED),
    (["https://app.example", "http://localhost:3000"], "http://localhost:3000", OPEN),
    (["*"], "https://anything.example", OPEN),
    (["*"], "null", OPEN),
]


@pytest.mark.parametrize(("known", "origin", "may"), ORIGINS, ids=[f"{i}-{o[1]}" for i, o in enumerate(ORIGINS)])
def test_origins(known, origin, may):
    """A page may open a socket from a known origin, or, where none is known, from the host it asks."""
    if may:
        Origins.parse(known).check(origin, HOST)
        return
    with pytest.raises(PeerError) as error:
        Origins.parse(known).check(origin, HOST)
    assert (error.value.close_code, error.value.reason) == (4003, "forbidden_origin")


def test_an_own_host_without_a_port():
    """Behind a proxy with TLS the default port is not written, on either side."""
    Origins().check("https://voice.example", "voice.example")
    Origins().check("https://voice.example", "voice.example:443")
    for host in ("", "[", "voice.example:port", "evil.example"):
        with pytest.raises(PeerError):
            Origins().check("https://voice.example", host)


@pytest.mark.parametrize("written", ["app.example", "https://", "https://[", "//app.example"])
def test_an_origin_that_is_none_stops_the_start(written):
    """A mistyped `ALLOWED_ORIGINS` is said at the start, not found out by a caller."""
    with pytest.raises(UsageError, match="ALLOWED_ORIGINS"):
        Origins.parse(["https://ok.example", written])
