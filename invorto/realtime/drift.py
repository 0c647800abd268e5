"""Where leases, rows and what nodes hold disagree (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

import attrs

from invorto.model.call import CallStatus
from invorto.model.lease import Owner
from invorto.storage.system import LiveCall

type Problem = Literal["no_lease", "no_call", "other_owner"]
"""*no_lease*: a row says that the call goes on, and it holds no slot. *no_call*: a slot is held, and no row says that
its call goes on. *other_owner*: the slot is another node's than the row says."""

HOLDING: Final = frozenset({CallStatus.DIALING, CallStatus.RINGING, CallStatus.ACTIVE})
"""States in which a call holds a slot."""


@attrs.frozen(kw_only=True)
class Stuck:
    """One call that something is wrong with."""

    call_id: str
    tenant_id: str
    problem: Problem
    status: CallStatus | None
    """None: no row of a live call."""
    node_id: str | None
    """The owner by the row; where there is none, by the lease."""


def disagreements(
    rows: Iterable[LiveCall], owners: Mapping[str, Owner], held_here: Collection[str] = ()
) -> list[Stuck]:
    """Compare live *rows* with all leases; *held_here* are calls of this node, whose leases the keeper sees to."""
    found: list[Stuck] = []
    living: set[str] = set()
    for row in rows:
        living.add(row.id)
        owner = owners.get(row.id)
        problem: Problem | None = None
        if row.status in HOLDING and row.id not in held_here:
            if owner is None or owner.expires_in <= 0:
                problem = "no_lease"
            elif owner.phase == "live" and row.node_id not in {None, owner.node_id}:
                problem = "other_owner"
        if problem is not None:
            found.append(
                Stuck(
                    call_id=row.id, tenant_id=row.tenant_id, problem=problem, status=row.status, node_id=row.node_id
                )
            )  # fmt: skip
    found += [
        Stuck(call_id=call_id, tenant_id=owner.tenant_id, problem="no_call", status=None, node_id=owner.node_id)
        for call_id, owner in owners.items()
        if call_id not in living and owner.expires_in > 0
    ]
    return found
