"""Where the SDK looks for Invorto."""

from __future__ import annotations

import pytest

from invorto_sdk.urls import api_base, socket_url


@pytest.mark.parametrize(
    ("given", "environ", "base"),
    [
        (None, {}, "https://api.invortoai.com"),
        (None, {"API_BASE_URL": "https://voice.example.com/"}, "https://voice.example.com"),
        ("https://mine.example.com//", {"API_BASE_URL": "https://voice.example.com"}, "https://mine.example.com"),
        ("http://mine.example.com:8080/base/", {}, "http://mine.example.com:8080/base"),
    ],
)
def test_the_api_is_found(given: str | None, environ: dict[str, str], base: str) -> None:
    """What is given counts, else the environment, else production; slashes at the end are dropped."""
    assert api_base(given, environ) == base


@pytest.mark.parametrize(
    ("base", "environ", "url"),
    [
        (None, {}, "wss://api.invortoai.com/realtime/voice?callId=c%2F1&agentId=my%20desk"),
        (None, {"API_BASE_URL": "http://x.example"}, "ws://x.example/realtime/voice?callId=c%2F1&agentId=my%20desk"),
        ("https://y.example/", {"API_BASE_URL": "http://x.example"},
         "wss://y.example/realtime/voice?callId=c%2F1&agentId=my%20desk"),
        ("https://y.example", {"REALTIME_WS_URL": "wss://z.example/realtime/voice/"},
         "wss://z.example/realtime/voice?callId=c%2F1&agentId=my%20desk"),
        ("https://y.example", {"REALTIME_WS_URL": "wss://z.example/v1/realtime"},
         "wss://z.example/v1/realtime/c%2F1?agentId=my%20desk"),
        (None, {"REALTIME_WS_URL": "https://z.example/realtime/voice?zone=1"},
         "wss://z.example/realtime/voice?zone=1&callId=c%2F1&agentId=my%20desk"),
    ],
)  # fmt: skip
def test_the_socket_is_found(base: str | None, environ: dict[str, str], url: str) -> None:
    """`REALTIME_WS_URL` counts first, as it always did; else the API's base; ids are percent-encoded."""
    assert socket_url("c/1", "my desk", base_url=base, environ=environ) == url


def test_more_of_a_query_goes_along() -> None:
    """A rate stands behind the ids, and no agent is none."""
    assert socket_url("1", environ={}, query={"rate": "8000"}).endswith("/realtime/voice?callId=1&rate=8000")
    assert socket_url("1", environ={"REALTIME_WS_URL": "wss://z.example/x"}) == "wss://z.example/x/1"


@pytest.mark.parametrize("base", ["api.example.com", "ftp://x.example", "https://", "https://x.example:0", "https://["])
def test_what_is_no_url_is_refused(base: str) -> None:
    """A mistake is told where it is made, and not at the first request."""
    with pytest.raises(ValueError, match="is no URL"):
        api_base(base, {})
    with pytest.raises(ValueError, match="is no URL"):
        socket_url("1", environ={"REALTIME_WS_URL": base})
