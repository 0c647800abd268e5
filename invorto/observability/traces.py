"""Spans of requests and turns: kept in memory until they are exported, in OpenTelemetry's JSON."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import attrs
import structlog
import trio

type Value = str | int | float | bool

_HELD: Final = 4096
"""Spans that wait: ten seconds of a busy node; older ones are dropped and counted."""
_KINDS: Final = {"internal": 1, "server": 2}
_PARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@attrs.frozen(kw_only=True)
class Span:
    """Something that took time; Unix nanoseconds."""

    name: str
    trace_id: str
    began: int
    ended: int
    kind: Literal["internal", "server"] = "internal"
    parent: str = ""
    failed: bool = False
    attributes: Mapping[str, Value] = attrs.field(factory=dict[str, Value])
    span_id: str = attrs.field(factory=lambda: os.urandom(8).hex())


class Spans:
    """The spans that wait to be exported; the oldest give way."""

    def __init__(self) -> None:
        self._waiting = deque[Span]()
        self._some = trio.Event()
        self.dropped = 0

    def add(self, span: Span) -> None:
        """Keep a span; never waits."""
        if len(self._waiting) >= _HELD:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(span)
        self._some.set()

    def take(self, most: int) -> list[Span]:
        """Give up to *most* of the oldest, which are gone then."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    async def wait(self) -> None:
        """Wait until there is one."""
        while not self._waiting:
            self._some = trio.Event()
            await self._some.wait()
        await trio.lowlevel.checkpoint()

    def turn(self, millis: float, attributes: Mapping[str, Value | None]) -> None:
        """Keep the span of a turn that was answered just now, *millis* after the caller fell silent."""
        known = structlog.contextvars.get_contextvars()
        call_id, ended = str(known.get("call_id", "")), time.time_ns()
        said = {name: value for name, value in attributes.items() if value is not None}
        self.add(
            Span(
                name="turn",
                trace_id=trace_of(call_id),
                began=ended - round(millis * 1e6),
                ended=ended,
                attributes={"invorto.call_id": call_id, "invorto.tenant_id": str(known.get("tenant_id", "")), **said},
            )
        )


def trace_of(text: str) -> str:
    """Give the trace that belongs to a name: all turns of a call are in one."""
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"invorto-trace").hexdigest()


def parent_of(header: str | None) -> tuple[str, str]:
    """Give trace and parent span of a ``traceparent`` header; a new trace and no parent where there is none."""
    found = _PARENT.fullmatch(header or "")
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return os.urandom(16).hex(), ""
    return found[1], found[2]


def otlp(spans: Sequence[Span], resource: Mapping[str, Value]) -> dict[str, Any]:
    """Write spans as the body of ``POST /v1/traces``, OTLP 1.x in JSON."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": {"name": "invorto"}, "spans": [_span(span) for span in spans]}],
            }
        ]
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        **({"parentSpanId": span.parent} if span.parent else {}),
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.began),
        "endTimeUnixNano": str(span.ended),
        "attributes": _attributes(span.attributes),
        "status": {"code": 2} if span.failed else {},
    }


def _attributes(values: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
