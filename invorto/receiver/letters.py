"""What came, in a line (pure): is it genuine, did it come before, and what does it tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from invorto.webhooks import signing

_WIDTH = 70


@attrs.frozen(kw_only=True)
class Letter:
    """A post, as it is shown."""

    type: str
    """The event's type, or nothing where that cannot be told."""
    subject: str
    """The call, or whatever else it is about."""
    text: str
    fault: str | None
    """Why it is not believed; None: it is genuine."""
    again: bool
    """Whether it came before: on every attempt it has the same id."""
    body: bytes


@attrs.define
class Mailbox:
    """Reads posts to one endpoint."""

    secret: str | None
    """None: nothing can be verified."""
    seen: set[str] = attrs.field(factory=set[str])

    def read(self, headers: Mapping[str, str], body: bytes, now: float) -> Letter:
        """Read a post that came at Unix time *now*."""
        fault = None if self.secret is None else signing.fault(self.secret, headers, body, now)
        whole = _parsed(body)
        data = whole.get("data")
        data = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        type_ = whole.get("type")
        type_ = type_ if isinstance(type_, str) else ""
        name = str(data.get("eventId") or headers.get("webhook-id", ""))
        again = bool(name) and fault is None and name in self.seen
        if fault is None and name:
            self.seen.add(name)
        return Letter(
            type=type_,
            subject=str(data.get("callId") or data.get("campaignId") or data.get("endpointId") or ""),
            text=told(type_, data),
            fault=fault,
            again=again,
            body=body,
        )


def told(type_: str, data: Mapping[str, Any]) -> str:
    """Say in a line what an event tells; nothing for one that is not known, or not what it says."""
    try:
        return _short(_TOLD[type_](data))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return ""


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", whole) if isinstance(whole, dict) else {}


def _parties(data: Mapping[str, Any]) -> str:
    if data["direction"] == "web":
        return f"a web call to {data['agentId']}"
    return f"{data['direction']}, {data['from']} → {data['to']}"


def _ended(data: Mapping[str, Any]) -> str:
    return f"{data['status']} ({data['endReason']}) after {data['duration']:g} s, ₹ {data['costInr']}"


def _tool(data: Mapping[str, Any]) -> str:
    end = f"in {data['latencyMs']:g} ms" if data["succeeded"] else f"failed: {data['error']}"
    return f"{data['name']}({', '.join(f'{name}={value!r}' for name, value in data['args'].items())}) {end}"


def _summary(data: Mapping[str, Any]) -> str:
    return data["summary"]["text"] if data["summary"] else _ended(data)


def _message(data: Mapping[str, Any]) -> str:
    return f"{data['messageType']} {data['messageId']} to {data['endpointId']}, after {data['attempts']} attempts"


def _campaign(data: Mapping[str, Any]) -> str:
    return f"{data['name']} is {data['status']}"


_TOLD: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "call.started": _parties,
    "call.ringing": _parties,
    "call.answered": _parties,
    "stt.final": lambda data: f"“{data['text']}”",
    "agent.tool_call": _tool,
    "qa.flags": lambda data: f"{', '.join(data['flags'])}: {data['evidence']}",
    "call.ended": _ended,
    "call.recording.ready": lambda data: f"{data['duration']:g} s at {data['url']}",
    "billing.usage.updated": lambda data: f"₹ {data['costInr']}",
    "agent.summary": _summary,
    "campaign.started": _campaign,
    "campaign.paused": _campaign,
    "campaign.completed": _campaign,
    "webhook.endpoint.disabled": lambda data: f"{data['url']}: {data['reason']}",
    "webhook.message.exhausted": _message,
    "webhook.message.recovered": _message,
    "webhook.test": lambda data: data["message"],
}


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
