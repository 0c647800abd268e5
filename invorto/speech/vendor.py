"""What engines in the cloud have in common: how each thing that goes wrong on the way becomes a `ProviderFailed`."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Literal

import attrs
import msgspec

from invorto.errors import Invalid, ProviderFailed, UsageError
from invorto.outgoing.client import OutgoingFailed

type Stage = Literal["stt", "llm", "tts"]

SAID = 200
"""Characters of a vendor's own words that are passed on."""
PATIENCE = 3600.0
"""Seconds of a ``Retry-After`` that are believed."""
_STATUSES: Mapping[int, str] = {
    400: "it does not understand the request",
    401: "it refuses the key",
    402: "the account has run dry",
    403: "the key may not do this",
    404: "it does not know this model or voice",
    408: "it gave up waiting",
    413: "the request is too long for it",
    422: "it does not understand the request",
    429: "it wants fewer requests",
}


@attrs.frozen
class Vendor:
    """One engine of one vendor."""

    name: str
    stage: Stage

    def failed(self, message: str, *, retry_after: float | None = None) -> ProviderFailed:
        """Make the error."""
        return ProviderFailed(self.name, self.stage, message, retry_after=retry_after)

    @contextmanager
    def failures(self) -> Generator[None]:
        """Turn what goes wrong with a request into this engine's failure."""
        try:
            yield
        except (OutgoingFailed, Invalid) as error:
            raise self.failed(str(error)) from error

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> ProviderFailed:
        """Make the error of an answer that is none: *headers* by lower-case name."""
        meaning = _STATUSES.get(status, "it has trouble of its own" if status >= 500 else "it refuses")
        said = told(body)
        return self.failed(
            f"{meaning} ({status}){f': {said}' if said else ''}", retry_after=wait_of(headers.get("retry-after"))
        )


def needed(key: str | None, variable: str) -> str:
    """Give the key, or raise the `UsageError` that names the *variable* to set."""
    if key is None:
        raise UsageError(f"{variable} is not set")
    return key


def wait_of(text: str | None) -> float | None:
    """Read a ``Retry-After`` in seconds; None where it is missing, or a date."""
    try:
        seconds = float(text) if text is not None else None
    except ValueError:
        return None
    return min(seconds, PATIENCE) if seconds is not None and seconds >= 0 else None


def told(body: bytes) -> str:
    """Find the sentence in a vendor's answer of an error; empty where there is none worth passing on."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    for key in ("error", "detail", "err_msg", "message", "description"):
        if isinstance(answer, dict) and answer.get(key):
            answer = answer[key]
    if isinstance(answer, dict):
        answer = answer.get("message", "")
    return " ".join(answer.split())[:SAID] if isinstance(answer, str) else ""
