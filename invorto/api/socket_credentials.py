"""Who may end a call without a key: the one who holds what its socket was opened with."""

from __future__ import annotations

import hmac
import re

import attrs
from quart import Request

from invorto.errors import Unauthorized
from invorto.realtime import tokens
from invorto.realtime.auth import Trust
from invorto.realtime.stored import StoredKeys

_TS = re.compile(r"[0-9]{1,12}")
_BEARER = re.compile(r"bearer +(inv_tok_\S+) *", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class SocketCredentials:
    """
    Checks a token, or a signature, that is good for one call.

    Both have run out when a long call ends. A token comes back to its live call for as long as that lasts; a signature
    names the call and nothing else, so one that was good at most *longest* seconds ago was good when the call began.
    """

    trust: Trust
    keys: StoredKeys
    longest: float
    """Seconds of the longest call."""

    def shown(self, asked: Request) -> bool:
        """Tell whether a request shows a socket's credential, and no key."""
        if asked.headers.get("X-Api-Key"):
            return False
        authorization = asked.headers.get("Authorization", "")
        if authorization:
            return _BEARER.fullmatch(authorization.strip()) is not None
        return bool(asked.args.get("token") or asked.args.get("sig"))

    async def tenant(self, asked: Request, call_id: str, now: float) -> str:
        """Tell whose call it is; `Unauthorized` for what is not good for ending this call at Unix time *now*."""
        bearer = _BEARER.fullmatch(asked.headers.get("Authorization", "").strip())
        if token := bearer[1] if bearer else asked.args.get("token"):
            return await self._token(token, call_id)
        return self._signature(asked, call_id, now)

    async def _token(self, token: str, call_id: str) -> str:
        grant = tokens.verify(self.trust.secret_keys, token)
        if grant.call_id != call_id or "end" not in grant.allow:
            raise Unauthorized("this token does not end this call")
        if grant.key_id is not None:
            minted_with = await self.keys.get(grant.tenant_id, grant.key_id)
            if minted_with is None or minted_with.revoked_at is not None:
                raise Unauthorized("the key that the token was made with is gone")
        return grant.tenant_id

    def _signature(self, asked: Request, call_id: str, now: float) -> str:
        given, ts = asked.args.get("sig", "").lower(), asked.args.get("ts", "")
        if not self.trust.ws_secret or not _TS.fullmatch(ts):
            raise Unauthorized("the signature does not hold")
        signed = [f"{call_id}:{ts}"]
        if agent := asked.args.get("agentId"):
            signed.append(f"{call_id}:{agent}:{ts}")
        good = [_same(self.trust.ws_secret, message, given) for message in signed]
        if not any(good) or not -self.trust.ws_ttl <= now - int(ts) <= self.longest + self.trust.ws_ttl:
            raise Unauthorized("the signature does not hold")
        return self.trust.default_tenant


def _same(secret: str, message: str, given: str) -> bool:
    made = hmac.digest(secret.encode(), message.encode("utf-8", "surrogatepass"), "sha256").hex()
    return hmac.compare_digest(made.encode(), given.encode("utf-8", "surrogatepass"))
