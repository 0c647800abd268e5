"""Leases in Redis: a call's slot at every level at once, taken, renewed and given back by one script."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, cast

import msgspec

from invorto.errors import Conflict, LimitReached, StoreUnavailable, Unavailable
from invorto.model.lease import Beat, Claim, Counts, Grant, Holding, Level, Owner, Renewal
from invorto.storage.redis import Argument, Command, Commands, Refused, Reply

SCRIPT = files("invorto.storage").joinpath("leases.lua").read_text("utf-8")
PREFIX = "{invorto:capacity}"
"""All keys begin with it; the braces keep them on one node of a cluster."""
CHUNK = 100
"""Leases that one run of the script renews: half a millisecond of Redis."""
RETRY_AFTER = 5.0
"""Seconds after which a refused caller may try again: about when the next of many calls ends."""
_SECOND = 1_000_000


class Leases:
    """
    The leases of all nodes, as one of them sees them.

    Everything raises `StoreUnavailable` while Redis is away. Nothing here keeps anything: `invorto.realtime.capacity`
    remembers what this node holds.
    """

    def __init__(
        self, redis: Commands, node_id: str, ttl: float, *, prefix: str = PREFIX, script: str = SCRIPT
    ) -> None:
        self._redis, self._prefix, self._script = redis, prefix, script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self.node_id = node_id
        self.ttl = ttl
        """Seconds that a lease lasts unless it is renewed."""

    async def take(self, claim: Claim) -> Grant:
        """
        Take a lease at every level of *claim*, or none; the same claim again gives the same answer.

        A call that another node has reserved is adopted, with a new epoch, whatever the limits say. Raises
        `LimitReached` for the first level without room, `Conflict` (``call_elsewhere``) for a call that is live on
        another node, `Unavailable` (``capacity_unknown``) while admission is closed.
        """
        [reply] = await self._run(
            "take", claim.call_id, claim.ticket, self.node_id, claim.phase, self._ttl, claim.floor, claim.spare,
            _json(_levels(claim)),
        )  # fmt: skip
        match reply:
            case [b"granted", epoch, before, levels]:
                taken = tuple(Level(scope, id, int(limit)) for scope, id, limit in msgspec.json.decode(levels))
                return Grant(epoch=int(epoch), levels=taken, adopted_from=before.decode() or None)
            case [b"full", scope, limit, held]:
                raise LimitReached(scope.decode(), int(limit), int(held), RETRY_AFTER)
            case [b"elsewhere", node]:
                raise Conflict(f"this call is live on {node.decode()}", "call_elsewhere")
            case [b"closed", left]:
                raise Unavailable(_COUNTING, "capacity_unknown", int(left) / _SECOND)
            case _:
                raise Unavailable(_COUNTING, "capacity_unknown", self.ttl)

    async def release(self, claims: Sequence[Claim]) -> int:
        """Give back the leases of *claims*, those that are theirs still; tells how many. Again does no harm."""
        if not claims:
            return 0
        pairs = [text for claim in claims for text in (claim.call_id, claim.ticket)]
        [released] = await self._run("release", *pairs)
        return int(released)

    async def beat(self, holdings: Sequence[Holding]) -> Beat:
        """Say that this node lives, and renew *holdings*, all in one pipelined write."""
        chunks = [holdings[at : at + CHUNK] for at in range(0, len(holdings), CHUNK)] or [()]
        runs = [("beat", self.node_id, self._ttl, _json([_hold(one) for one in chunk])) for chunk in chunks]
        renewals: dict[str, Renewal] = {}
        opens_in, fresh, nodes = 0.0, False, 1
        for chunk, reply in zip(chunks, await self._pipeline(runs), strict=True):
            left, first, nodes, told = reply
            opens_in, fresh = int(left) / _SECOND, fresh or bool(int(first))
            renewals |= {one.claim.call_id: _renewal(word) for one, word in zip(chunk, told, strict=True)}
        return Beat(opens_in=opens_in, fresh=fresh, nodes=int(nodes), renewals=renewals)

    async def open(self) -> bool:
        """Open admission at once, where nobody has registered a call; for whoever knows that nobody will."""
        [opened] = await self._run("open")
        return bool(int(opened))

    async def leave(self) -> None:
        """Say that this node is gone: it holds nothing any more."""
        await self._run("leave", self.node_id)

    async def promise(self, slots: Mapping[str, int]) -> None:
        """Keep that many global slots free for each tenant, in place of all that was promised before."""
        await self._run("promise", *(text for pair in sorted(slots.items()) for text in pair))

    async def owner_of(self, call_id: str) -> Owner | None:
        """Tell which node holds a call; None: none does, or its lease has run out."""
        owner = (await self.owners([call_id])).get(call_id)
        return owner if owner is not None and owner.expires_in > 0 else None

    async def owners(self, call_ids: Sequence[str]) -> dict[str, Owner]:
        """Tell of each call that has a lease who holds it, those too whose lease has run out and was not swept."""
        if not call_ids:
            return {}
        [reply] = await self._run("owners", *call_ids)
        found = zip(call_ids, reply, strict=True)
        return {call_id: _owner(*told) for call_id, told in found if told and told[0]}

    async def page(self, tenant_id: str | None, skip: int, most: int) -> list[tuple[str, Owner]]:
        """Give some of the calls that hold a slot, of one tenant or of all."""
        scope, id = ("global", "") if tenant_id is None else ("tenant", tenant_id)
        [reply] = await self._run("page", scope, id, skip, most)
        told = zip(reply[::3], reply[1::3], reply[2::3], strict=True)
        return [(call.decode(), _owner(record, left)) for call, record, left in told if record]

    async def counts(self) -> Counts:
        """Count what is held at each level."""
        [[opens_in, everything, tenants, campaigns, numbers, nodes]] = await self._run("counts")
        return Counts(
            opens_in=int(opens_in) / _SECOND, everything=int(everything), tenants=_pairs(tenants),
            campaigns=_pairs(campaigns), numbers=_pairs(numbers), nodes=tuple(node.decode() for node in nodes),
        )  # fmt: skip

    @property
    def _ttl(self) -> int:
        return round(self.ttl * _SECOND)

    async def _run(self, *arguments: Argument) -> list[Reply]:
        return await self._pipeline([arguments])

    async def _pipeline(self, runs: Sequence[Command]) -> list[Reply]:
        """Run the script with each of the arguments, and send it along where Redis does not have it."""
        rest = [(1, self._prefix, *run) for run in runs]
        replies = await self._redis.pipeline([("EVALSHA", self._sha, *run) for run in rest])
        missing = [place for place, reply in enumerate(replies) if _unknown(reply)]
        if missing:
            again = await self._redis.pipeline([("EVAL", self._script, *rest[place]) for place in missing])
            for place, reply in zip(missing, again, strict=True):
                replies[place] = reply
        for reply in replies:
            if isinstance(reply, Refused):
                raise StoreUnavailable(f"Redis refuses for now: {reply}") if reply.later else reply
        return replies


_COUNTING = "it is not known yet how many calls there are"


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _unknown(reply: Reply) -> bool:
    return isinstance(reply, Refused) and reply.code == "NOSCRIPT"


def _levels(claim: Claim) -> list[tuple[str, str, int]]:
    return [(level.scope, level.id, level.limit) for level in claim.levels]


def _hold(holding: Holding) -> dict[str, Any]:
    claim = holding.claim
    return {
        "call": claim.call_id, "ticket": claim.ticket, "phase": claim.phase, "epoch": str(holding.epoch),
        "unleased": holding.unleased, "levels": _levels(claim),
    }  # fmt: skip


def _renewal(word: bytes) -> Renewal:
    return cast("Renewal", word.decode())


def _owner(record: bytes, left: bytes) -> Owner:
    told = msgspec.json.decode(record)
    levels = {scope: id for scope, id, _ in told["levels"]}
    return Owner(
        node_id=told["node"], epoch=int(told["epoch"]), phase=told["phase"], tenant_id=levels.get("tenant", ""),
        expires_in=int(left) / _SECOND, campaign_id=levels.get("campaign"),
    )  # fmt: skip


def _pairs(flat: list[Any]) -> dict[str, int]:
    return {id.decode(): int(held) for id, held in zip(flat[::2], flat[1::2], strict=True)}
