"""Exports spans to a collector: a batch a second over OTLP/HTTP, in a task of the tree and no thread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn

import attrs
import structlog
import trio

from invorto.errors import InvortoError
from invorto.observability.traces import Spans, Value, otlp
from invorto.outgoing.client import Client, open_client

log = structlog.get_logger(__name__)

_EVERY = 1.0
"""Seconds that a batch is gathered."""
_BATCH = 512
_PATIENCE = 5.0
"""Seconds that a collector may take for a batch; what it does not take is dropped."""
_LAST = 2.0
"""Seconds for the last batch, when the process stops."""


@attrs.frozen
class Exporter:
    """Takes spans out of *spans* and posts them below *endpoint*."""

    client: Client
    endpoint: str
    spans: Spans
    resource: Mapping[str, Value]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Export for ever; a collector that is away is tried again with the next batch. The last goes at the stop."""
        task_status.started()
        try:
            while True:
                await self.spans.wait()
                await trio.sleep(_EVERY)
                await self._export(_PATIENCE)
        finally:
            with trio.move_on_after(_LAST, shield=True):
                await self._export(_LAST)

    async def _export(self, patience: float) -> None:
        spans = self.spans.take(_BATCH)
        if not spans:
            return
        body = json.dumps(otlp(spans, self.resource)).encode()
        try:
            with trio.fail_after(patience):
                answer = await self.client.request(
                    "POST", f"{self.endpoint}/v1/traces", headers={"content-type": "application/json"}, content=body
                )
        except (InvortoError, trio.TooSlowError) as error:
            log.warning("spans_dropped", count=len(spans), error=str(error) or "too slow")
        else:
            if answer.status >= 300:
                log.warning("spans_dropped", count=len(spans), status=answer.status)


async def export(  # noqa: ASYNC128 - what it runs says when it is ready
    endpoint: str,
    spans: Spans,
    resource: Mapping[str, Value],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Export for as long as the process takes, through a client of its own; *resource* says who tells."""
    async with open_client(None) as client:
        await Exporter(client, endpoint, spans, resource).run(task_status=task_status)
    raise AssertionError("an exporter never ends by itself")
