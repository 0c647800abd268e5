"""One attempt at a delivery: a signed request, and what is made of its answer; nothing that goes wrong leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
import structlog
import trio

from invorto.errors import Invalid, InvortoError
from invorto.model.webhook import Event
from invorto.outgoing.client import Answer, Client, OutgoingFailed
from invorto.webhooks import envelope, signing
from invorto.webhooks.schedule import retry_after
from invorto.webhooks.seals import Opened

log = structlog.get_logger(__name__)

USER_AGENT = "Invorto-Webhooks/1"
_MOST_ERROR = 500

type Kind = Literal[
    "delivered", "status", "redirect", "gone", "timeout", "name", "connect", "tls", "protocol", "lost", "address",
    "internal",
]  # fmt: skip
"""How attempts end, as they are counted."""


@attrs.frozen(kw_only=True)
class Result:
    """What came of an attempt."""

    kind: Kind
    status: int | None = None
    error: str | None = None
    excerpt: str | None = None
    asked: float | None = None
    """Seconds that the receiver wants to be left alone."""


def body_of(event: Event) -> bytes:
    """Give what is sent of an event: the same bytes each time."""
    return envelope.body(
        type_=event.type, event_id=event.event_id, tenant_id=event.tenant_id, call_id=event.call_id, seq=event.seq,
        data=event.data, written_at=event.created_at,
    )  # fmt: skip


def headers_of(opened: Opened, event_id: str, body: bytes, now: float, *, legacy: bool) -> dict[str, str]:
    """Give the headers of a request; ours win over the endpoint's."""
    ours = {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        **signing.headers(opened.secrets, event_id, int(now), body, legacy=legacy),
    }
    theirs = {name: value for name, value in opened.headers.items() if name.lower() not in ours}
    return {**theirs, **ours}


async def post(
    client: Client, url: str, headers: Mapping[str, str], body: bytes, *, seconds: float, now: float
) -> Result:
    """Post once, *seconds* for all of it however slowly the answer drips; *now* is Unix time."""
    try:
        with trio.move_on_after(seconds):
            return judge(await client.request("POST", url, headers=headers, content=body), now)
    except OutgoingFailed as error:
        return Result(kind=_reason(error.reason), error=_plain(str(error)))
    except Invalid as error:
        return Result(kind="address", error=_plain(str(error)))
    except InvortoError as error:
        return Result(kind="internal", error=_plain(str(error)))
    except Exception:  # one of the three edges where errors are contained: one delivery
        log.exception("webhook_attempt_failed")
        return Result(kind="internal", error="we made a mistake; the log has it")
    return Result(kind="timeout", error=f"no whole answer within {seconds:g} s")


def judge(answer: Answer, now: float) -> Result:
    """Tell what an answer means: 2xx is success, everything else is not, redirects included."""
    status, excerpt = answer.status, _plain(answer.body.decode(errors="replace"), len(answer.body))
    if 200 <= status < 300:
        return Result(kind="delivered", status=status, excerpt=excerpt)
    kind: Kind = "gone" if status == 410 else "redirect" if 300 <= status < 400 else "status"
    error = f"{status}: redirects are not followed" if kind == "redirect" else f"the answer was {status}"
    asked = retry_after(answer.headers.get("retry-after"), now)
    return Result(kind=kind, status=status, error=error, excerpt=excerpt, asked=asked)


def _reason(reason: str) -> Kind:
    known: Mapping[str, Kind] = {
        "name": "name", "connect": "connect", "tls": "tls", "protocol": "protocol", "lost": "lost"
    }  # fmt: skip
    return known.get(reason, "lost")


def _plain(text: str, most: int = _MOST_ERROR) -> str:
    """Give text that can be kept."""
    return text[:most].replace("\0", "\N{REPLACEMENT CHARACTER}")
