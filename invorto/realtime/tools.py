"""What the model may do besides talking: tools that are built in, tools of the client, tools that run elsewhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs
import msgspec
import trio

from invorto.model.agent import AgentConfig, ToolDefinition
from invorto.model.pii import Redactor
from invorto.realtime.builtins import built_in, use_built_in
from invorto.realtime.protocol import ToolCallMessage, ToolResult
from invorto.realtime.summary import ToolUse
from invorto.realtime.teller import Teller
from invorto.realtime.turn import Turn
from invorto.speech.ports import ToolCall
from invorto.tools.answers import LARGEST
from invorto.tools.equipment import Equipment, Equipping
from invorto.tools.requests import BUILT_IN, ToolFailed, turn_key
from invorto.tools.runner import Outcome
from invorto.tools.schemas import value_faults

_NUMBERS: Final = Redactor(frozenset({"card", "aadhaar", "pan"}))
_NUMBER: Final = re.compile(rb"\d{4}")
"""Nothing to be taken out is without one."""
BUDGET: Final = 0.8
"""Seconds of a turn that a tool which is elsewhere may take; then the agent goes on, and the answer comes later."""
LATER: Final = msgspec.json.encode({
    "status": "pending",
    "note": "This takes a little longer. Tell the caller so, and go on: the answer follows in a later turn.",
}).decode()  # fmt: skip


@attrs.define
class Toolbox:
    """A call's tools, and the answers that clients still owe."""

    teller: Teller
    call_id: str = ""
    tenant_id: str = ""
    equipping: Equipping | None = None
    uses: list[ToolUse] = attrs.field(factory=list[ToolUse])
    equipment: Equipment | None = None
    _ready: trio.Event = attrs.field(factory=trio.Event)
    _owed: dict[str, trio.MemorySendChannel[ToolResult]] = attrs.field(factory=dict)

    async def equip(self, agent: AgentConfig) -> None:
        """Look up the tools that an agent names; until that is done, the model does not know of them."""
        if self.equipping is not None:
            self.equipment = await self.equipping.equip(self.tenant_id, agent)
        self._ready.set()

    def offered(self, agent: AgentConfig) -> list[Mapping[str, Any]]:
        """List the tools as the model is told of them: name, description, JSON Schema."""
        return [
            *({"name": tool.name, "description": tool.description, "inputSchema": dict(tool.input_schema)}
              for tool in self._tools(agent)),
            *built_in(agent),
        ]  # fmt: skip

    def _tools(self, agent: AgentConfig) -> Iterator[ToolDefinition]:
        known = self.equipment.known if self.equipment is not None else {}
        for tool in agent.tools:
            if isinstance(tool, ToolDefinition) and tool.type != "mcp":
                yield tool
            else:
                yield from known.get(tool if isinstance(tool, str) else tool.name, ())

    def find(self, name: str, agent: AgentConfig) -> ToolDefinition | None:
        """Give the tool of a name, unless it is built in."""
        return next((tool for tool in self._tools(agent) if tool.name == name), None)

    async def use(self, call: ToolCall, agent: AgentConfig, turn: Turn) -> str:
        """Run one tool and give what the model is told of it, as JSON; a failure is told to the model, never raised."""
        began = trio.current_time()
        self.teller.note("tool.requested", {"name": call.name, "args": dict(call.args), "turn": turn.number})
        failed, status = None, None
        try:
            outcome = await self._run(call, agent, turn)
            result, status = self._filtered(outcome.data, agent), outcome.status
        except (ToolFailed, trio.TooSlowError) as error:
            failed = str(error) or "the tool did not answer in time"
            status = error.status if isinstance(error, ToolFailed) else None
            result = msgspec.json.encode({"error": failed})
        latency = round((trio.current_time() - began) * 1000, 1)
        self.uses.append(ToolUse(call.name, failed is None, failed or "", turn.number, dict(call.args), latency))
        outcome_told: dict[str, Any] = {"name": call.name, "latencyMs": latency, "turn": turn.number}
        if status is not None:
            outcome_told["status"] = status
        if failed is None:
            outcome_told["hash"] = hashlib.sha256(result).hexdigest()[:16]
        else:
            outcome_told["error"] = failed
        self.teller.note("tool.succeeded" if failed is None else "tool.failed", outcome_told)
        self.teller.fact(
            "agent.tool_call", {**outcome_told, "args": dict(call.args), "succeeded": failed is None}
        )  # fmt: skip
        return result.decode()

    def _filtered(self, data: bytes, agent: AgentConfig) -> bytes:
        """Take out what no conversation needs, numbers of cards and identities, where an agent's redaction is on."""
        if not agent.redaction.enabled or not _NUMBER.search(data):
            return data
        return msgspec.json.encode(_NUMBERS.value(msgspec.json.decode(data), ()))

    def answered(self, result: ToolResult) -> bool:
        """Take in a client's answer; False where none is owed under that id."""
        owed = self._owed.pop(result.id, None)
        if owed is None:
            return False
        owed.send_nowait(result)
        return True

    async def _run(self, call: ToolCall, agent: AgentConfig, turn: Turn) -> Outcome:
        if call.name in BUILT_IN:
            return Outcome(await use_built_in(call, agent, turn, self.teller))
        tool = self.find(call.name, agent)
        if tool is None:
            raise ToolFailed(f"there is no tool {call.name}")
        if tool.url is None:
            if faults := value_faults(tool.input_schema, dict(call.args)):
                raise ToolFailed(f"these arguments do not fit: {faults[0].path}: {faults[0].message}")
            with trio.fail_after(tool.timeout_ms / 1000):
                return Outcome(await self._ask_client(call))
        if self.equipping is None:
            raise ToolFailed(f"the tool {call.name} cannot be reached")
        await self._ready.wait()
        if self.equipment is None:
            raise ToolFailed(f"the tool {call.name} cannot be reached")
        key = turn_key(self.call_id, turn.number, tool.name, call.args)
        return await self.equipping.runner.run(tool, call.args, self.equipment.access, key=key)

    async def _ask_client(self, call: ToolCall) -> bytes:
        send, receive = trio.open_memory_channel[ToolResult](1)
        event_id = self.teller.tell(ToolCallMessage(name=call.name, args=call.args), keep=False)
        self._owed[event_id] = send
        try:
            answer = await receive.receive()
        finally:
            self._owed.pop(event_id, None)
        if answer.error is not None:
            raise ToolFailed(answer.error)
        encoded = msgspec.json.encode(answer.result)
        if len(encoded) > LARGEST:
            raise ToolFailed("the tool's answer is too long")
        return encoded


@attrs.frozen
class Using:
    """One round of tools in a turn: what is not there in time is told in a later one."""

    toolbox: Toolbox
    agent: AgentConfig
    turn: Turn
    nursery: trio.Nursery
    """The call's: what was begun is finished, even if the turn is not."""
    later: Callable[[str, str], None]
    """Told a tool's name and its answer, when the turn could not wait for it."""

    async def all(self, calls: tuple[ToolCall, ...], answered: Callable[[list[tuple[str, str]]], None]) -> None:
        """Use tools one after the other; *answered* is told the results by id, even if nobody waits any more."""
        done = trio.Event()

        async def run() -> None:
            answered([(call.id, await self._one(call)) for call in calls])
            done.set()

        self.nursery.start_soon(run)
        await done.wait()

    async def _one(self, call: ToolCall) -> str:
        tool = self.toolbox.find(call.name, self.agent)
        if tool is None or (tool.url is None and tool.blocking):
            return await self.toolbox.use(call, self.agent, self.turn)
        came = trio.Event()
        results: list[str] = []
        waiting = True

        async def run() -> None:
            results.append(await self.toolbox.use(call, self.agent, self.turn))
            came.set()
            if not waiting:
                self.later(call.name, results[0])

        self.nursery.start_soon(run)
        with trio.move_on_after(BUDGET if tool.blocking else 0):
            await came.wait()
        waiting = False
        return results[0] if results else LATER
