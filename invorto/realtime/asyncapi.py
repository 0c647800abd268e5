"""AsyncAPI 3 of the voice socket, made of the classes that read and write its messages."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast, get_args

import msgspec
from msgspec import Struct

import invorto
from invorto.realtime.protocol import MAX_TEXT, SUBPROTOCOL, ClientMessage, ServerMessage

type Document = dict[str, Any]

CLOSES: tuple[tuple[int, str, str], ...] = (
    (1000, "", "after `end`"),
    (1001, "draining", "the node is going away: connect again"),
    (1003, "unsupported_audio", "a codec, a rate or a number of channels that is not served"),
    (1007, "", "text that is not UTF-8"),
    (1009, "", f"a message over {MAX_TEXT // 1024} KiB"),
    (1011, "", "our fault; `error` before it says which"),
    (4000, "connection_timeout", "nothing was received for too long"),
    (4001, "replaced", "the same credential came again and took over"),
    (4001, "connection_limit_exceeded", "another credential holds this call"),
    (4002, "missing_call_id", "the query names no call"),
    (4002, "bad_call_id", "the query's `callId` may not name a call"),
    (4003, "unauthorized", "nobody we know, somebody else's call, or a key that was revoked"),
    (4003, "forbidden_origin", "a web page that may not use this server"),
    (4004, "agent_not_found", "the tenant has no such agent, or it is not active"),
    (4029, "concurrency_limit", "no slot; `error` before it names the level and `retryAfter`"),
    (4029, "quota_exceeded", "the tenant's day has cost as much as it may"),
)
"""Codes, reasons, and when."""

_QUERY: Document = {
    "type": "object",
    "required": ["callId"],
    "properties": {
        "callId": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$", "description": "The call to join or make."},
        "agentId": {"type": "string", "description": "An agent's id, or its name."},
        "rate": {"type": "integer", "enum": [8000, 16000, 24000, 48000], "default": 16000},
        "channels": {"type": "integer", "enum": [1], "default": 1},
        "codec": {"type": "string", "enum": ["linear16", "mulaw", "alaw"], "default": "linear16"},
        "token": {"type": "string", "description": "Of `POST /v1/realtime/tokens`: the way for browsers."},
        "api_key": {"type": "string", "description": "A key, for clients that can set no subprotocol."},
        "sig": {"type": "string", "description": "Hex HMAC-SHA256 of `{callId}:{ts}`."},
        "ts": {"type": "string", "description": "Unix seconds of the signature."},
        "resume": {"type": "string", "description": "The id of the last event that was seen."},
    },
}
_BINARY: Document = {
    "name": "audio frame",
    "title": "A binary frame of sound",
    "summary": "Whole samples in the agreed codec, 10 to 200 ms.",
    "contentType": "application/octet-stream",
    "payload": {"type": "string", "format": "binary"},
}


def document() -> Document:
    """Write the document."""
    said = _messages(cast("Sequence[type[Struct]]", get_args(ClientMessage.__value__)))
    told = _messages(cast("Sequence[type[Struct]]", get_args(ServerMessage.__value__)))
    _, schemas = msgspec.json.schema_components(
        [one for one, _ in (*said.values(), *told.values())], ref_template="#/components/schemas/{name}"
    )
    for kind, _ in told.values():
        shape = schemas[kind.__name__]
        identity = {"type": "string", "description": "The event's id: `resume` takes it."}
        shape["properties"] = {**shape["properties"], "id": identity}
    messages = {
        **{f"client.{tag}": message for tag, (_, message) in said.items()},
        **{f"server.{tag}": message for tag, (_, message) in told.items()},
        "audio": _BINARY,
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Invorto voice socket",
            "version": invorto.__version__,
            "description": _words(),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "voice": _channel("/realtime/voice", messages),
            "call": {
                **_channel("/v1/realtime/{callId}", messages),
                "parameters": {"callId": {"description": "The call to join or make."}},
            },
        },
        "operations": {
            "hear": _operation("receive", "What a client says.", [*_names("client", said), "audio"]),
            "tell": _operation("send", "What a client is told.", [*_names("server", told), "audio"]),
        },
        "components": {"messages": messages, "schemas": _plain(schemas)},
    }


def _messages(kinds: Sequence[type[Struct]]) -> dict[str, tuple[type[Struct], Document]]:
    found: dict[str, tuple[type[Struct], Document]] = {}
    for kind in kinds:
        tag = cast("str", kind.__struct_config__.tag)
        found[tag] = (
            kind,
            {
                "name": tag,
                "summary": (inspect.getdoc(kind) or "").partition("\n")[0],
                "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
            },
        )
    return found


def _names(side: str, kinds: dict[str, Any]) -> list[str]:
    return [f"{side}.{tag}" for tag in kinds]


def _channel(address: str, messages: dict[str, Any]) -> Document:
    return {
        "address": address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"ws": {"method": "GET", "query": _QUERY, "bindingVersion": "0.1.0"}},
    }


def _operation(action: str, summary: str, names: Sequence[str]) -> Document:
    messages = [{"$ref": f"#/channels/voice/messages/{name}"} for name in names]
    return {"action": action, "channel": {"$ref": "#/channels/voice"}, "summary": summary, "messages": messages}


def _words() -> str:
    lines = [
        f"A WebSocket with the subprotocol `{SUBPROTOCOL}`, offered together with a key or a token.",
        f'Offer `["{SUBPROTOCOL}", KEY]`. Text messages are JSON with `t`; ignore what you do not know.',
        "",
        "| closes | reason | when |",
        "|---|---|---|",
        *(f"| {code} | {f'`{reason}`' if reason else ''} | {when} |" for code, reason, when in CLOSES),
    ]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Write patterns as JSON Schema has them: Python's ends of text are not known there."""
    match value:
        case dict():
            pairs = cast("dict[str, Any]", value).items()
            return {
                key: item.replace(r"\A", "^").replace(r"\Z", "$") if key == "pattern" and isinstance(item, str)
                else _plain(item)
                for key, item in pairs
            }  # fmt: skip
        case list():
            return [_plain(item) for item in cast("list[Any]", value)]
        case _:
            return value
