"""The few families of errors, by what the one who meets them should do."""

from __future__ import annotations

from collections.abc import Sequence

import attrs


class InvortoError(Exception):
    """Something that is expected to go wrong, and says so in one sentence."""


class UsageError(InvortoError):
    """The person at the terminal can mend it: shown as one sentence, without a traceback, exit code 2."""


class StartFailed(InvortoError):
    """The process cannot start or go on: shown as one sentence, without a traceback, exit code 1."""


@attrs.frozen
class Fault:
    """One thing that is wrong with what was sent: *path* is a JSON path such as ``$.config.tts``."""

    path: str
    message: str


class Invalid(InvortoError):
    """What was sent is well-formed and breaks a rule; *faults* lists every rule it breaks."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class NotFound(InvortoError):
    """There is no such thing, or none that the one who asks may know of."""


class Conflict(InvortoError):
    """It cannot be done in the state things are in; *code* is the most specific name of why."""

    def __init__(self, message: str, code: str = "conflict") -> None:
        super().__init__(message)
        self.code = code


class Unauthorized(InvortoError):
    """Nobody we know."""


class Forbidden(InvortoError):
    """Known, and not allowed."""


class LimitReached(InvortoError):
    """A limit is reached: *scope* names which, *retry_after* is in seconds."""

    def __init__(self, scope: str, limit: int, held: int, retry_after: float = 1.0, message: str | None = None) -> None:
        super().__init__(message or f"the {scope} limit of {limit} calls is reached")
        self.scope, self.limit, self.held, self.retry_after = scope, limit, held, retry_after


class Unavailable(InvortoError):
    """A part is away for now; *code* as in a 503 answer, *retry_after* in seconds."""

    def __init__(self, message: str, code: str, retry_after: float = 2.0) -> None:
        super().__init__(message)
        self.code, self.retry_after = code, retry_after


class StoreUnavailable(Unavailable):
    """PostgreSQL or Redis cannot be reached."""

    def __init__(self, message: str = "the store cannot be reached") -> None:
        super().__init__(message, "store_unavailable")


class NotSupported(InvortoError):
    """The far end has no such ability."""


class ProviderFailed(InvortoError):
    """An engine failed, at *stage* stt, llm, tts or vad; *retry_after* seconds where it said when to come again."""

    def __init__(self, provider: str, stage: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{provider} ({stage}): {message}")
        self.provider, self.stage, self.retry_after = provider, stage, retry_after


class PeerError(InvortoError):
    """The far end of a socket broke the protocol: *close_code* is what to close with."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(reason)
        self.close_code, self.reason = close_code, reason


def first_of(error: BaseException) -> BaseException:
    """Give the first single error of a group; of any other, itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
