"""Where Invorto is: which of constructor, environment and default counts. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

PRODUCTION = "https://api.invortoai.com"
_SOCKET = "/realtime/voice"
_WEB = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def api_base(given: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Give the API's base without a slash at its end: *given*, else ``API_BASE_URL``, else production's."""
    base = given or environ.get("API_BASE_URL") or PRODUCTION
    return _checked(base, ("http", "https"))


def socket_url(
    call_id: str,
    agent_id: str | None = None,
    *,
    base_url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    query: Mapping[str, str] | None = None,
) -> str:
    """
    Give a call's socket.

    ``REALTIME_WS_URL`` counts first: if it contains ``/realtime/voice``, ``?callId=`` is added, else ``/{callId}``.
    Otherwise the API's base with ws for http, and ``/realtime/voice?callId=``. Ids are percent-encoded.
    """
    own = environ.get("REALTIME_WS_URL")
    parameters = dict(query or {})
    if agent_id is not None:
        parameters = {"agentId": agent_id, **parameters}
    if own:
        url = _checked(own, ("ws", "wss", "http", "https"))
        url = f"{_WEB[urlsplit(url).scheme]}{url[len(urlsplit(url).scheme) :]}"
        if _SOCKET in url:
            parameters = {"callId": call_id, **parameters}
        else:
            url = f"{url}/{quote(call_id, safe='')}"
    else:
        base = api_base(base_url, environ)
        scheme = urlsplit(base).scheme
        url = f"{_WEB[scheme]}{base[len(scheme) :]}{_SOCKET}"
        parameters = {"callId": call_id, **parameters}
    if not parameters:
        return url
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
    return f"{url}{'&' if urlsplit(url).query else '?'}{pairs}"


def _checked(url: str, schemes: tuple[str, ...]) -> str:
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        fine = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(f"{url!r} is no URL of {' or '.join(schemes)}")
    return url
