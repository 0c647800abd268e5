"""What the model may do besides talking: the tools that are built in, and those that run at the client."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
import trio

from invorto.model.agent import AgentConfig, ToolDefinition
from invorto.model.call import EndReason
from invorto.realtime.protocol import ToolCallMessage, ToolResult
from invorto.realtime.summary import ToolUse
from invorto.realtime.teller import Teller
from invorto.realtime.turn import Turn
from invorto.speech.ports import ToolCall

END_CALL = "end_call"
MAX_RESULT = 64 * 1024
"""Bytes of JSON that a tool may answer: more does not fit into a model's attention either."""


def offered(agent: AgentConfig) -> list[Mapping[str, Any]]:
    """List the agent's tools as the model is told of them: name, description, JSON Schema."""
    tools: list[Mapping[str, Any]] = [
        {"name": tool.name, "description": tool.description, "inputSchema": dict(tool.input_schema)}
        for tool in agent.tools
        if isinstance(tool, ToolDefinition)
    ]
    if agent.end_call.tool:
        tools.append({"name": END_CALL, "description": "Hang up, once all is said.", "inputSchema": {}})
    return tools


@attrs.define
class Toolbox:
    """A call's tools, and the answers that clients still owe."""

    teller: Teller
    uses: list[ToolUse] = attrs.field(factory=list[ToolUse])
    _owed: dict[str, trio.MemorySendChannel[ToolResult]] = attrs.field(factory=dict)

    async def use(self, call: ToolCall, agent: AgentConfig, turn: Turn) -> str:
        """Run one tool and give what the model is told of it, as JSON; a failure is told to the model, never raised."""
        began = trio.current_time()
        self.teller.note("tool.requested", {"name": call.name, "args": dict(call.args), "turn": turn.number})
        try:
            result = await self._run(call, agent, turn)
            failed = None
        except (ToolFailed, trio.TooSlowError) as error:
            failed = str(error) or "the tool did not answer in time"
            result = msgspec.json.encode({"error": failed})
        latency = round((trio.current_time() - began) * 1000, 1)
        self.uses.append(ToolUse(call.name, failed is None, failed or "", turn.number, dict(call.args), latency))
        outcome: dict[str, Any] = {"name": call.name, "latencyMs": latency, "turn": turn.number}
        if failed is None:
            outcome["hash"] = hashlib.sha256(result).hexdigest()[:16]
        else:
            outcome["error"] = failed
        self.teller.note("tool.succeeded" if failed is None else "tool.failed", outcome)
        self.teller.fact("agent.tool_call", {**outcome, "args": dict(call.args), "succeeded": failed is None})
        return result.decode()

    def answered(self, result: ToolResult) -> bool:
        """Take in a client's answer; False where none is owed under that id."""
        owed = self._owed.pop(result.id, None)
        if owed is None:
            return False
        owed.send_nowait(result)
        return True

    async def _run(self, call: ToolCall, agent: AgentConfig, turn: Turn) -> bytes:
        if call.name == END_CALL:
            turn.leave = EndReason.AGENT
            return b'{"ok":true}'
        tool = next((t for t in agent.tools if isinstance(t, ToolDefinition) and t.name == call.name), None)
        if tool is None:
            raise ToolFailed(f"there is no tool {call.name}")
        if tool.url is not None:
            raise ToolFailed(f"the tool {call.name} cannot be reached")
        with trio.fail_after(tool.timeout_ms / 1000):
            return await self._ask_client(call)

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
        if len(encoded) > MAX_RESULT:
            raise ToolFailed("the tool's answer is too long")
        return encoded


class ToolFailed(Exception):
    """A tool gave no answer; the text is for the model."""
