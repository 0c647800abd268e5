"""What a voice socket asks for in its URL, checked before anything is looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, cast

import attrs

from invorto.errors import PeerError
from invorto.model.ids import is_call_id
from invorto.realtime.head import Request

type Codec = Literal["linear16", "mulaw", "alaw"]

RATES: Mapping[str, int] = {"8000": 8000, "16000": 16000, "24000": 24000, "48000": 48000}
_CODECS = frozenset({"linear16", "mulaw", "alaw"})
_G711_RATE = "8000"
_DEFAULT_RATE = "16000"
_EVENT_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_PATH = "/v1/realtime/"


@attrs.frozen(kw_only=True)
class Handshake:
    """What was asked for."""

    call_id: str
    agent: str | None
    """An agent's id or name; None: the call's agent."""
    rate: int
    codec: Codec
    resume: str | None
    """The last event id that the client has seen."""


def read_handshake(request: Request) -> Handshake:
    """Read the URL; `PeerError` 4002 for the call's id, 1003 for audio that is not served."""
    query = request.query
    call_id = _call_id(request.path, query)
    codec = query.get("codec") or "linear16"
    rate = query.get("rate") or (_DEFAULT_RATE if codec == "linear16" else _G711_RATE)
    served = codec in _CODECS and rate in RATES and (query.get("channels") or "1") == "1"
    if not served or (codec != "linear16" and rate != _G711_RATE):
        raise PeerError(1003, "unsupported_audio")
    resume = query.get("resume") or ""
    return Handshake(
        call_id=call_id,
        agent=query.get("agentId") or None,
        rate=RATES[rate],
        codec=cast("Codec", codec),
        resume=resume if _EVENT_ID.fullmatch(resume) else None,
    )


def _call_id(path: str, query: Mapping[str, str]) -> str:
    """Find the call's id in the path or in the query; where both have one they must agree."""
    named = query.get("callId") or ""
    placed = path.removeprefix(_PATH).removesuffix("/") if path.startswith(_PATH) else ""
    call_id = placed or named
    if not call_id:
        raise PeerError(4002, "missing_call_id")
    if not is_call_id(call_id) or (named and named != call_id):
        raise PeerError(4002, "bad_call_id")
    return call_id
