"""What can go wrong, by what one may do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast


class InvortoError(Exception):
    """Anything that this package raises on purpose."""


class Unreachable(InvortoError):
    """No answer: the server is away, or the network is. What was asked for may have happened or not."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a body or a query: where, such as ``$.config.tts``, and what."""

    path: str
    message: str


class ApiError(InvortoError):
    """The server refused; *code* is its word for why, *request_id* finds the request in its log."""

    def __init__(self, status: int, body: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.code = str(body.get("code", "unknown"))
        self.message = str(body.get("message", f"the server answered {status}"))
        self.request_id = str(body.get("requestId", ""))
        self.retry_after = retry_after
        """Seconds after which it may be tried again; None: the server did not say."""
        self.details: Sequence[Fault] = tuple(_faults(body.get("details")))
        self.body = body
        where = "; ".join(f"{fault.path}: {fault.message}" for fault in self.details)
        super().__init__(f"{status} {self.code}: {self.message}{f' ({where})' if where else ''}")


class SocketClosed(InvortoError):
    """A voice socket is over; *code* and *reason* are those of the close."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".strip())
        self.code, self.reason = code, reason


class CallRefused(InvortoError):
    """A call was not let in; *code* is the socket's close code, *reason* and *message* say why."""

    def __init__(self, code: int, reason: str, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{code} {reason}{f': {message}' if message else ''}")
        self.code, self.reason, self.message, self.retry_after = code, reason, message, retry_after


def _faults(details: object) -> list[Fault]:
    if not isinstance(details, list):
        return []
    found = (cast("dict[str, Any]", each) for each in cast("list[object]", details) if isinstance(each, dict))
    return [Fault(str(each.get("path", "$")), str(each.get("message", ""))) for each in found]
