"""What the API stands on: built once by whoever builds the tree, and passed down."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio
from prometheus_client import CollectorRegistry

from invorto.config import Config
from invorto.model.agent import Agent
from invorto.model.agent_document import Document, installation
from invorto.model.call import Call
from invorto.observability.traces import Spans
from invorto.outgoing.client import Resolve, resolve
from invorto.realtime.switchboard import Switchboard
from invorto.storage.leases import Leases
from invorto.storage.postgres import Database
from invorto.storage.rates import Rates
from invorto.storage.timeline import Timeline
from invorto.tools.equipment import Equipping

type Probe = Callable[[], Awaitable[Mapping[str, Any]]]
"""Asks a part how it is; gives what there is to say, such as its version, and raises when the part is away."""


def _never() -> bool:
    return False


def _unknown(_: str) -> object | None:
    return None


@attrs.frozen(kw_only=True)
class Part:
    """Something this process depends on, for health."""

    name: str
    probe: Probe
    needed: bool = False
    """Whether nothing can be admitted while it is away."""


class Dialler(Protocol):
    """Places calls through a tenant's carriers."""

    async def place(self, call: Call, agent: Agent) -> Call:
        """Write an outbound call down and have it dialled; gives it as it is kept. `NotSupported`, `LimitReached`."""
        ...


@attrs.frozen(kw_only=True)
class ApiDeps:
    """Everything that routes use."""

    config: Config
    database: Database
    timeline: Timeline
    recordings: Path
    """The folder below which recordings are kept."""
    metrics: CollectorRegistry
    spans: Spans | None = None
    """Where requests are told; None: nobody wants them."""
    rates: Rates | None = None
    """Counts requests over all nodes; None: nobody does."""
    parts: tuple[Part, ...] = ()
    engines: Mapping[str, Collection[str]] = attrs.field(factory=dict[str, Collection[str]])
    """The names that an agent may give as engines, under ``stt``, ``llm`` and ``tts``; a missing kind: any name."""
    draining: Callable[[], bool] = _never
    full: Callable[[], bool] = _never
    """Whether this node can take no more calls."""
    live: Callable[[str], object | None] = _unknown
    """Finds a call that is alive in this process, by its id."""
    held: Callable[[], int] = lambda: 0
    """How many calls this node holds."""
    leases: Leases | None = None
    """What all nodes hold; None: nobody holds any."""
    switchboard: Switchboard | None = None
    """Reaches live calls wherever they run; None: there are none."""
    node_id: str = ""
    dialler: Dialler | None = None
    """Places outbound calls; None: nothing here can."""
    wall: Callable[[], float] = time.time
    """Unix time, seconds."""
    stopping: trio.Event = attrs.field(factory=trio.Event)
    """Set when answers that go on for ever are to come to their end."""
    resolve: Resolve = resolve
    """Finds the addresses of a name that a tenant wants requests to go to."""
    equipping: Equipping | None = None
    """Finds and runs tools, and seals their secrets."""
    defaults: Document = attrs.field(
        default=attrs.Factory(lambda self: installation(self.config), takes_self=True), repr=False
    )
    """What lies under every agent's document."""
