"""The tools that every agent may have: hang up, transfer, send digits, leave a message on a voicemail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from invorto.errors import Forbidden, NotSupported
from invorto.model.agent import AgentConfig
from invorto.model.call import EndReason
from invorto.realtime.protocol import TransferMode
from invorto.realtime.targets import hand_over
from invorto.realtime.teller import Teller
from invorto.realtime.turn import Turn
from invorto.speech.ports import ToolCall
from invorto.tools.requests import ToolFailed
from invorto.tools.schemas import value_faults

END_CALL: Final = "end_call"
TRANSFER: Final = "transfer_call"
DIGITS: Final = "send_dtmf"
VOICEMAIL: Final = "voicemail_message"
_DONE: Final = b'{"ok":true}'

_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    END_CALL: {},
    TRANSFER: {
        "type": "object",
        "properties": {"to": {"type": "string"}, "mode": {"type": "string", "enum": ["blind", "attended"]}},
        "required": ["to"],
    },
    DIGITS: {
        "type": "object",
        "properties": {"digits": {"type": "string", "minLength": 1, "maxLength": 64}},
        "required": ["digits"],
    },
    VOICEMAIL: {"type": "object", "properties": {}},
}
_KEYS: Final = frozenset("0123456789*#ABCDabcd,w")


def built_in(agent: AgentConfig) -> Iterator[Mapping[str, Any]]:
    """List those that an agent has, as the model is told of them."""
    if agent.end_call.tool:
        yield _tool(END_CALL, "Hang up, once all is said.")
    if agent.transfer_targets:
        targets = ", ".join(agent.transfer_targets[:20])
        yield _tool(TRANSFER, f"Hand the caller over to one of: {targets}.")
    if DIGITS in agent.tools:
        yield _tool(DIGITS, "Press keys of the telephone: 0-9 * # and , for a pause.")
    if agent.voicemail.message:
        yield _tool(VOICEMAIL, "A machine has answered: leave the message and hang up.")


async def use_built_in(call: ToolCall, agent: AgentConfig, turn: Turn, teller: Teller) -> bytes:
    """Do it; `ToolFailed` says why not."""
    if not any(tool["name"] == call.name for tool in built_in(agent)) and call.name != END_CALL:
        raise ToolFailed(f"there is no tool {call.name}")
    if faults := value_faults(_SCHEMAS[call.name], dict(call.args)):
        raise ToolFailed(f"these arguments do not fit: {faults[0].path}: {faults[0].message}")
    match call.name:
        case "transfer_call" | "send_dtmf" if not teller.lines:
            raise ToolFailed("the caller is not connected just now")
        case "transfer_call":
            mode = cast("TransferMode", call.args.get("mode", "blind"))
            try:
                await hand_over(call.args["to"], mode, agent, teller.lines[0], teller.tell)
            except (Forbidden, NotSupported) as error:
                raise ToolFailed(str(error)) from None
        case "send_dtmf":
            digits = call.args["digits"]
            if not set(digits) <= _KEYS:
                raise ToolFailed("a telephone has no such keys")
            try:
                await teller.lines[0].send_digits(digits, "rfc2833")
            except NotSupported as error:
                raise ToolFailed(str(error)) from None
            teller.note("dtmf.send", {"digits": digits, "method": "rfc2833"})
        case "voicemail_message":
            turn.say, turn.leave = agent.voicemail.message, EndReason.VOICEMAIL
        case _:
            turn.leave = EndReason.AGENT
    return _DONE


def _tool(name: str, description: str) -> Mapping[str, Any]:
    return {"name": name, "description": description, "inputSchema": dict(_SCHEMAS[name])}
