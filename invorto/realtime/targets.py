"""Transferring a call: only to what is on the agent's list of numbers, SIP URIs and patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from invorto.errors import Forbidden, NotSupported
from invorto.model.agent import AgentConfig
from invorto.realtime import protocol as p
from invorto.realtime.line import Line

type Tell = Callable[[p.ServerMessage], object]


def is_target(to: str, targets: Iterable[str]) -> bool:
    """Tell whether *to* is on the list; ``*`` in a target stands for anything, spaces and hyphens for nothing."""
    wanted = _plain(to)
    return any(fnmatchcase(wanted, _plain(target).replace("[", "[[]")) for target in targets)


async def hand_over(to: str, mode: p.TransferMode, agent: AgentConfig, line: Line, tell: Tell) -> None:
    """Transfer the far end, and tell how far that has come; `Forbidden`, or `NotSupported` where it cannot be."""
    if not is_target(to, agent.transfer_targets):
        raise Forbidden(f"{to!r} is not one of the agent's transferTargets")
    try:
        await line.transfer(to, mode)
    except NotSupported:
        tell(p.TransferStatus(to=to, mode=mode, status="failed"))
        raise
    tell(p.TransferStatus(to=to, mode=mode, status="started"))


def _plain(address: str) -> str:
    address = address.strip()
    if address.lower().startswith(("sip:", "sips:")):
        return address.lower()
    return address.replace(" ", "").replace("-", "").replace("(", "").replace(")", "")
