"""The API by its nouns: each method is one route; lists are async iterators over all of their pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

Row: TypeAlias = "dict[str, Any]"
Body: TypeAlias = "Mapping[str, Any]"


class Caller(Protocol):
    """What nouns need of a client."""

    async def call(
        self, method: str, path: str, /, *, body: Any = None, query: Mapping[str, Any] | None = None, **names: str
    ) -> Any:
        """Make a request."""
        ...

    async def request(
        self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None, accept: str = ""
    ) -> Any:
        """Make a request, and give the answer as it is."""
        ...

    def pages(self, path: str, query: Mapping[str, Any]) -> AsyncGenerator[Row]:
        """Give everything in a list."""
        ...


class _Noun:
    def __init__(self, client: Caller) -> None:
        self._client = client


class Agents(_Noun):
    """Who answers."""

    async def create(self, name: str, **config: Any) -> Row:
        """Make an agent of its configuration's fields."""
        return await self._client.call("POST", "/v1/agents", body={"name": name, "config": config})

    def list(self, **filters: Any) -> AsyncGenerator[Row]:
        """Give agents; filters ``search``, ``status``, ``sortBy``, ``sortOrder``."""
        return self._client.pages("/v1/agents", filters)

    async def get(self, agent_id: str) -> Row:
        """Read one."""
        return await self._client.call("GET", "/v1/agents/{id}", id=agent_id)

    async def change(self, agent_id: str, *, name: str | None = None, status: str | None = None, **config: Any) -> Row:
        """Merge into one, as a new version."""
        body: Row = {"name": name} if name is not None else {}
        body |= {"status": status} if status is not None else {}
        body |= {"config": config} if config else {}
        return await self._client.call("PATCH", "/v1/agents/{id}", id=agent_id, body=body)

    async def delete(self, agent_id: str) -> None:
        """Remove one that has no live calls."""
        await self._client.call("DELETE", "/v1/agents/{id}", id=agent_id)

    def versions(self, agent_id: str, **query: Any) -> AsyncGenerator[Row]:
        """Give what it was before."""
        return self._client.pages(f"/v1/agents/{agent_id}/versions", query)

    async def rollback(self, agent_id: str, version: int) -> Row:
        """Make an older version the newest."""
        return await self._client.call("POST", "/v1/agents/{id}/rollback", id=agent_id, body={"version": version})


class Calls(_Noun):
    """Conversations, live and past."""

    async def create(self, agent_id: str, **call: Any) -> Row:
        """Make a call: ``to``, ``from``, ``direction``, ``metadata``, ``variables``, ``recording`` and so on."""
        return await self._client.call("POST", "/v1/calls", body={"agentId": agent_id, **call})

    def list(self, **filters: Any) -> AsyncGenerator[Row]:
        """Give calls; filters ``status``, ``agentId``, ``campaignId``, ``from``, ``to``, ``search``, ``direction``."""
        return self._client.pages("/v1/calls", filters)

    async def get(self, call_id: str) -> Row:
        """Read one, with its costs, summary and metrics."""
        return await self._client.call("GET", "/v1/calls/{id}", id=call_id)

    async def set_status(self, call_id: str, status: str, metadata: Body | None = None) -> Row:
        """Move it to another state of the table; a terminal one ends it."""
        body = {"status": status, **({"metadata": dict(metadata)} if metadata is not None else {})}
        return await self._client.call("PATCH", "/v1/calls/{id}/status", id=call_id, body=body)

    async def timeline(self, call_id: str, **query: Any) -> Row:
        """Give ``{callId, timeline, next}``; ``after``, ``before``, ``count``, ``kind``."""
        return await self._client.call("GET", "/v1/calls/{id}/timeline", id=call_id, query=query)

    async def transcript(self, call_id: str) -> Row:
        """Give who said what, and when."""
        return await self._client.call("GET", "/v1/calls/{id}/transcript", id=call_id)

    async def artifacts(self, call_id: str) -> Row:
        """Give links to what it left, which expire."""
        return await self._client.call("GET", "/v1/calls/{id}/artifacts", id=call_id)

    async def recording(self, call_id: str) -> bytes:
        """Give its recording, a WAV."""
        answer = await self._client.request("GET", f"/v1/calls/{call_id}/recording", accept="audio/wav")
        return answer.content

    async def summarize(self, call_id: str, summary: Body) -> Row:
        """Keep a summary made elsewhere, and publish it."""
        return await self._client.call("POST", "/v1/calls/{id}/summary", id=call_id, body=dict(summary))


class Realtime(_Noun):
    """Acting on live calls, wherever they run; `ApiError` ``call_not_live`` where they do not."""

    async def end(self, call_id: str, **body: Any) -> Row:
        """Hang up."""
        return await self._client.call("POST", "/v1/realtime/{callId}/end", callId=call_id, body=body)

    async def transfer(self, call_id: str, to: str, mode: str = "blind") -> Row:
        """Hand the caller over."""
        body = {"to": to, "mode": mode}
        return await self._client.call("POST", "/v1/realtime/{callId}/transfer", callId=call_id, body=body)

    async def say(self, call_id: str, text: str) -> Row:
        """Have the agent say a sentence."""
        return await self._client.call("POST", "/v1/realtime/{callId}/say", callId=call_id, body={"text": text})

    async def whisper(self, call_id: str, text: str) -> Row:
        """Give the agent an instruction that the caller does not hear."""
        return await self._client.call("POST", "/v1/realtime/{callId}/whisper", callId=call_id, body={"text": text})

    async def send_digits(self, call_id: str, digits: str) -> Row:
        """Send keys to the far end."""
        return await self._client.call("POST", "/v1/realtime/{callId}/dtmf", callId=call_id, body={"digits": digits})

    async def hold(self, call_id: str, **body: Any) -> Row:
        """Put the caller on hold, or take them back."""
        return await self._client.call("POST", "/v1/realtime/{callId}/hold", callId=call_id, body=body)

    async def recording(self, call_id: str, **body: Any) -> Row:
        """Pause or resume the recording."""
        return await self._client.call("POST", "/v1/realtime/{callId}/recording", callId=call_id, body=body)

    async def connections(self) -> Row:
        """Give the sockets that are open."""
        return await self._client.call("GET", "/v1/realtime/connections")

    async def stats(self, call_id: str) -> Row:
        """Give how a call is going."""
        return await self._client.call("GET", "/v1/realtime/{callId}/stats", callId=call_id)

    async def token(self, agent_id: str, **body: Any) -> Row:
        """Make a short-lived token for a browser: ``{token, callId, url, expiresAt}``."""
        return await self._client.call("POST", "/v1/realtime/tokens", body={"agentId": agent_id, **body})


class Webhooks(_Noun):
    """Where events go."""

    async def create(self, url: str, events: Iterable[str], **more: Any) -> Row:
        """Make an endpoint; its secret is shown this once."""
        return await self._client.call("POST", "/v1/webhooks", body={"url": url, "events": [*events], **more})

    def list(self, **query: Any) -> AsyncGenerator[Row]:
        """Give endpoints."""
        return self._client.pages("/v1/webhooks", query)

    async def get(self, webhook_id: str) -> Row:
        """Read one."""
        return await self._client.call("GET", "/v1/webhooks/{id}", id=webhook_id)

    async def change(self, webhook_id: str, **body: Any) -> Row:
        """Change one; ``status="active"`` enables it again."""
        return await self._client.call("PATCH", "/v1/webhooks/{id}", id=webhook_id, body=body)

    async def delete(self, webhook_id: str) -> None:
        """Remove one."""
        await self._client.call("DELETE", "/v1/webhooks/{id}", id=webhook_id)

    async def rotate(self, webhook_id: str) -> Row:
        """Make a new secret; the old one signs too for a day."""
        return await self._client.call("POST", "/v1/webhooks/{id}/rotate", id=webhook_id)

    async def test(self, webhook_id: str, **body: Any) -> Row:
        """Have a sample sent."""
        return await self._client.call("POST", "/v1/webhooks/{id}/test", id=webhook_id, body=body)

    def deliveries(self, webhook_id: str, **query: Any) -> AsyncGenerator[Row]:
        """Give what was sent to one."""
        return self._client.pages(f"/v1/webhooks/{webhook_id}/deliveries", query)

    async def delivery(self, delivery_id: str) -> Row:
        """Read a delivery and its attempts."""
        return await self._client.call("GET", "/v1/deliveries/{id}", id=delivery_id)

    async def retry(self, delivery_id: str) -> Row:
        """Send one again."""
        return await self._client.call("POST", "/v1/deliveries/{id}/retry", id=delivery_id)

    async def recover(self, webhook_id: str, since: str) -> Row:
        """Send again what failed since then."""
        return await self._client.call("POST", "/v1/webhooks/{id}/recover", id=webhook_id, body={"since": since})

    async def replay_missing(self, webhook_id: str, **body: Any) -> Row:
        """Send what was never sent to it."""
        return await self._client.call("POST", "/v1/webhooks/{id}/replay-missing", id=webhook_id, body=body)

    def dead(self, **query: Any) -> AsyncGenerator[Row]:
        """Give dead letters."""
        return self._client.pages("/v1/webhooks/dead", query)

    async def stats(self) -> Row:
        """Give how deliveries go."""
        return await self._client.call("GET", "/v1/webhooks/stats")

    async def events(self) -> Row:
        """Give the catalogue of events."""
        return await self._client.call("GET", "/v1/webhooks/events")


class Keys(_Noun):
    """API keys of a tenant; for its admin."""

    async def create(self, name: str, role: str = "dev") -> Row:
        """Make a key, which is shown this once."""
        return await self._client.call("POST", "/v1/keys", body={"name": name, "role": role})

    def list(self, **query: Any) -> AsyncGenerator[Row]:
        """Give keys."""
        return self._client.pages("/v1/keys", query)

    async def revoke(self, key_id: str) -> None:
        """Take one away: it opens nothing a second later, and its sockets close."""
        await self._client.call("DELETE", "/v1/keys/{id}", id=key_id)


class Tenants(_Noun):
    """Tenants of an installation; for its operator, but for one's own usage."""

    async def create(self, name: str, **more: Any) -> Row:
        """Make one."""
        return await self._client.call("POST", "/v1/tenants", body={"name": name, **more})

    def list(self, **query: Any) -> AsyncGenerator[Row]:
        """Give tenants."""
        return self._client.pages("/v1/tenants", query)

    async def change(self, tenant_id: str, **body: Any) -> Row:
        """Change its limits, origins, hosts."""
        return await self._client.call("PATCH", "/v1/tenants/{id}", id=tenant_id, body=body)

    async def usage(self, tenant_id: str, period: str = "24h") -> Row:
        """Give what it used and spent."""
        return await self._client.call("GET", "/v1/tenants/{id}/usage", id=tenant_id, query={"period": period})


class Tools(_Noun):
    """HTTP tools that agents may call."""

    async def create(self, **tool: Any) -> Row:
        """Make one."""
        return await self._client.call("POST", "/v1/tools", body=tool)

    def list(self, **query: Any) -> AsyncGenerator[Row]:
        """Give tools."""
        return self._client.pages("/v1/tools", query)

    async def delete(self, name: str) -> None:
        """Remove one."""
        await self._client.call("DELETE", "/v1/tools/{name}", name=name)

    async def validate(self, **tool: Any) -> Row:
        """Tell what is wrong with one."""
        return await self._client.call("POST", "/v1/tools/validate", body=tool)

    async def invoke(self, name: str, args: Body) -> Row:
        """Call one."""
        return await self._client.call("POST", "/v1/tools/{name}/invoke", name=name, body={"args": dict(args)})


class Secrets(_Noun):
    """Values for tools, which are never shown again."""

    async def list(self) -> Row:
        """Give their names."""
        return await self._client.call("GET", "/v1/secrets")

    async def put(self, name: str, value: str) -> None:
        """Keep one."""
        await self._client.call("PUT", "/v1/secrets/{name}", name=name, body={"value": value})

    async def delete(self, name: str) -> None:
        """Forget one."""
        await self._client.call("DELETE", "/v1/secrets/{name}", name=name)


class Telephony(_Noun):
    """Capacity."""

    async def limits(self) -> Row:
        """Give what is held and what may be, at each level."""
        return await self._client.call("GET", "/telephony/limits")

    async def active(self) -> Row:
        """Give the calls that hold a slot."""
        return await self._client.call("GET", "/telephony/calls/active")

    async def stuck(self) -> Row:
        """Give calls whose slot, owner and row disagree."""
        return await self._client.call("GET", "/telephony/calls/stuck")
