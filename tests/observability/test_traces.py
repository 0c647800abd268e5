"""Spans of requests and turns reach a collector, in its language, without holding anybody up."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import h11
import pytest
import trio
from trio.testing import MockClock

from invorto.observability.traces import Span, Spans, otlp, parent_of, trace_of
from invorto.outgoing.traces import export
from tests.journeys.house import BINARY, open_client, open_server, settings, speech


@attrs.define
class Collector:
    """A stand-in for a collector: keeps what is posted to it."""

    port: int = 0
    status: int = 200
    bodies: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    paths: list[str] = attrs.field(factory=list[str])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [
            {**span, "attributes": {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}}
            for body in self.bodies
            for whole in body["resourceSpans"]
            for scope in whole["scopeSpans"]
            for span in scope["spans"]
        ]

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            machine = h11.Connection(h11.SERVER)
            body = b""
            while True:
                event = machine.next_event()
                if event is h11.NEED_DATA:
                    machine.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.Request):
                    self.paths.append(event.target.decode())
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    break
            if isinstance(event, h11.EndOfMessage):
                self.bodies.append(json.loads(body))
                head = f"HTTP/1.1 {self.status} OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
                await stream.send_all(head.encode())


@asynccontextmanager
async def open_collector() -> AsyncGenerator[Collector]:
    """Open one on a free port."""
    collector = Collector()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, collector.serve, 0, host="127.0.0.1"))
        collector.port = listeners[0].socket.getsockname()[1]
        yield collector
        nursery.cancel_scope.cancel()


async def test_a_conversation_is_told(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Requests with route, status and tenant, turns with their call and how quick they were."""
    async with open_collector() as collector:
        environ = settings(postgres_url, redis_url, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        async with open_server(environ) as server, open_client(server, "c-1", start=BINARY) as client:
            await client.until("tts.done")
            await client.speak(speech())
            await client.until("turn.metrics")
            ask = (
                f"GET /v1/calls/c-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\nConnection: close\r\n"
                f"traceparent: 00-{'a' * 32}-{'b' * 16}-01\r\n\r\n"
            )
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                await stream.send_all(ask.encode())
                while await stream.receive_some(65536):
                    pass
        (request,) = [span for span in collector.spans if span["name"] == "GET /v1/calls/{call_id}"]
        (turn,) = [span for span in collector.spans if span["name"] == "turn"]
    assert set(collector.paths) == {"/v1/traces"}
    assert (request["traceId"], request["parentSpanId"], request["kind"]) == ("a" * 32, "b" * 16, 2)
    assert request["attributes"]["http.response.status_code"] == "200"
    assert request["attributes"]["invorto.tenant_id"] == "t_default"
    assert int(request["startTimeUnixNano"]) < int(request["endTimeUnixNano"])
    assert turn["attributes"]["invorto.call_id"] == "c-1"
    assert turn["attributes"]["invorto.tenant_id"] == "t_default"
    assert turn["traceId"] == trace_of("c-1")
    assert turn["attributes"]["llm_first_token_ms"] >= 0
    assert int(turn["endTimeUnixNano"]) - int(turn["startTimeUnixNano"]) > 50_000_000
    assert server.key not in json.dumps(collector.bodies)


async def test_a_collector_that_is_away(loop: None) -> None:
    """It costs the batch and nothing else: spans are taken up again when it is back."""
    spans = Spans()
    async with open_collector() as collector, trio.open_nursery() as nursery:
        await nursery.start(export, collector.url, spans, {"service.name": "x"})
        for status in (503, 200):
            collector.status = status
            spans.add(Span(name=str(status), trace_id=trace_of("x"), began=1, ended=2))
            with trio.fail_after(10):
                while len(collector.spans) < (1 if status == 503 else 2):
                    await trio.sleep(0.02)
        nursery.cancel_scope.cancel()


async def test_old_spans_give_way(autojump_clock: MockClock) -> None:
    """However many there are, so many are held, and the rest is counted."""
    spans = Spans()
    for number in range(5000):
        spans.add(Span(name=str(number), trace_id="", began=0, ended=0))
    assert spans.dropped == 5000 - 4096
    assert spans.take(1)[0].name == str(5000 - 4096)
    assert len(spans.take(10_000)) == 4095


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", True), (None, False), ("", False), (f"00-{'0' * 32}-{'b' * 16}-01", False),
        (f"00-{'A' * 32}-{'b' * 16}-01", False), ("x" * 9000, False),
    ],
    ids=[str(n) for n in range(6)],
)  # fmt: skip
def test_parents(header: str | None, known: bool) -> None:
    """A caller's trace goes on; whatever else stands there begins a new one."""
    trace, parent = parent_of(header)
    assert (parent == "b" * 16) is known
    assert len(trace) == 32


def test_the_shape_of_a_batch() -> None:
    """Numbers of 64 bits are text, and each value says its kind."""
    attributes = {"a": "x", "b": 2, "c": 1.5, "d": True}
    span = Span(name="n", trace_id="t", began=1, ended=2, attributes=attributes, failed=True, span_id="s")
    (whole,) = otlp([span], {"service.name": "invorto"})["resourceSpans"]
    (made,) = whole["scopeSpans"][0]["spans"]
    assert [one["value"] for one in made["attributes"]] == [
        {"stringValue": "x"}, {"intValue": "2"}, {"doubleValue": 1.5}, {"boolValue": True},
    ]  # fmt: skip
    assert (made["startTimeUnixNano"], made["status"]) == ("1", {"code": 2})
