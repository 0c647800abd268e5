"""Tools over real sockets: one that hangs, lies, sends ten megabytes, or is somewhere else, is a sentence."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
import trio

from invorto.model.agent import ToolDefinition
from invorto.outgoing.addresses import AddressRules, parse_networks
from invorto.tools.requests import ToolFailed
from invorto.tools.runner import Access, Outcome, ToolRunner, open_tools
from tests.vendors.web import Exchange, open_web

HOME = AddressRules(allow_http=True, ports=None, subnets=parse_networks(["127.0.0.0/8"]))


@attrs.define
class Clinic:
    """A service that behaves as its *moods* say, one a request, the last for ever."""

    moods: list[str] = attrs.field(factory=lambda: ["well"])
    seen: list[Exchange] = attrs.field(factory=list)
    url: str = ""

    async def serve(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        match self.moods.pop(0) if len(self.moods) > 1 else self.moods[0]:
            case "hang":
                await trio.sleep_forever()
            case "huge":
                await exchange.begin()
                for _ in range(160):
                    await exchange.send(b'"' + b"x" * 65_536)
            case "html":
                await exchange.begin(200, "text/html")
                await exchange.send(b"<html>hello</html>")
                await exchange.end()
            case "moved":
                await exchange.answer(302, {}, location=f"{self.url}/elsewhere")
            case "cut":
                await exchange.begin()
            case "deep":
                await exchange.answer(200, b"[" * 30_000 + b"]" * 30_000)
            case "down":
                await exchange.answer(503, {"message": "down"})
            case "refuses":
                await exchange.answer(422, {"message": "no such day"})
            case "lies":
                await exchange.answer(200, {"booked": "yes"})
            case _:
                await exchange.answer(200, {"booked": True})


@asynccontextmanager
async def open_clinic(*moods: str) -> AsyncGenerator[tuple[Clinic, ToolRunner]]:
    clinic = Clinic(list(moods) or ["well"])
    async with open_web(clinic.serve) as url, open_tools(HOME) as runner:
        clinic.url = url
        yield clinic, runner


def booking(url: str, **more: Any) -> ToolDefinition:
    given: dict[str, Any] = {
        "name": "book", "url": f"{url}/book", "timeout_ms": 300, "headers": {"X-Key": "${secrets.key}"},
        "input_schema": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
        "output_schema": {"type": "object", "properties": {"booked": {"type": "boolean"}}},
    }  # fmt: skip
    return ToolDefinition(**{**given, **more})


ACCESS = Access(tenant_id="t_1", hosts=["127.0.0.1"], secrets={"key": "hidden"})


async def test_a_tool_answers() -> None:
    """Arguments, the secret and the key of the turn reach it, and its JSON comes back."""
    async with open_clinic() as (clinic, runner):
        outcome = await runner.run(booking(clinic.url), {"day": "Monday"}, ACCESS, key="c_1-2")
    assert outcome == Outcome(b'{"booked":true}', 200)
    (asked,) = clinic.seen
    assert (asked.method, asked.path, asked.json) == ("POST", "/book", {"day": "Monday"})
    assert (asked.headers["x-key"], asked.headers["idempotency-key"]) == ("hidden", "c_1-2")


@pytest.mark.parametrize(
    ("mood", "says", "asked"),
    [
        ("hang", r"did not answer within 0\.3 s", 2),
        ("huge", "longer than 64 KiB", 1),
        ("html", "not JSON but text/html", 1),
        ("moved", "redirects are not followed", 1),
        ("cut", "cannot be reached", 2),
        ("deep", "nested|not JSON", 1),
        ("down", "it answered 503: down", 2),
        ("refuses", "it answered 422: no such day", 1),
        ("lies", "not what it promises", 1),
    ],
)
async def test_a_tool_that_misbehaves(mood: str, says: str, asked: int) -> None:
    """Each misbehaviour is a sentence for the model, soon; what may pass is tried once more; no secret is told."""
    async with open_clinic(mood) as (clinic, runner):
        with trio.fail_after(5), pytest.raises(ToolFailed, match=says) as failed:
            await runner.run(booking(clinic.url), {"day": "Monday"}, ACCESS)
        assert "hidden" not in str(failed.value)
    assert len(clinic.seen) == asked


async def test_a_second_try_may_do() -> None:
    """A tool that was down for a moment, asked again with the same key, has answered."""
    async with open_clinic("down", "well") as (clinic, runner):
        outcome = await runner.run(booking(clinic.url), {"day": "Monday"}, ACCESS, key="k")
    assert outcome.status == 200
    assert [exchange.headers["idempotency-key"] for exchange in clinic.seen] == ["k", "k"]


@pytest.mark.parametrize(
    ("args", "access", "url", "says"),
    [
        ({}, ACCESS, None, "'day' is a required property"),
        ({"day": 7}, ACCESS, None, r"\$\.day"),
        ({"day": "x"}, Access(tenant_id="t_1"), None, "toolHosts"),
        ({"day": "x"}, attrs.evolve(ACCESS, secrets={}), None, "a secret is missing"),
        ({"day": "x"}, attrs.evolve(ACCESS, hosts=["10.0.0.1"]), "http://10.0.0.1", "not a public address"),
    ],
)
async def test_what_is_not_asked(args: dict[str, Any], access: Access, url: str | None, says: str) -> None:
    """Wrong arguments, a host that is not the tenant's, an address that is not public: nothing is sent."""
    async with open_clinic() as (clinic, runner):
        with pytest.raises(ToolFailed, match=says):
            await runner.run(booking(url or clinic.url), args, access)
    assert clinic.seen == []


async def test_a_name_that_leads_inside_is_not_followed() -> None:
    """A host of the list whose name gives a private address is not connected to."""
    async with open_tools(AddressRules(allow_http=True, ports=None)) as runner, open_web(Clinic().serve) as url:
        port = urlsplit(url).port
        with pytest.raises(ToolFailed, match="may not be called"):
            await runner.run(
                booking(f"http://localhost:{port}"), {"day": "x"}, attrs.evolve(ACCESS, hosts=["localhost"])
            )


async def test_a_tool_that_keeps_failing_is_left_alone() -> None:
    """After three failures it is not asked for a while; a refusal is no failure, and another tenant's is another's."""
    async with open_clinic("down") as (clinic, runner):
        for _ in range(3):
            with pytest.raises(ToolFailed, match="503"):
                await runner.run(booking(clinic.url), {"day": "x"}, ACCESS)
        with pytest.raises(ToolFailed, match="left alone"):
            await runner.run(booking(clinic.url), {"day": "x"}, ACCESS)
        assert len(clinic.seen) == 6
        with pytest.raises(ToolFailed, match="503"):
            await runner.run(booking(clinic.url), {"day": "x"}, attrs.evolve(ACCESS, tenant_id="t_2"))
    async with open_clinic("refuses") as (clinic, runner):
        for _ in range(5):
            with pytest.raises(ToolFailed, match="422"):
                await runner.run(booking(clinic.url), {"day": "x"}, ACCESS)


@pytest.mark.parametrize("step", range(1, 12, 2))
async def test_cancelled_anywhere_nothing_is_left(step: int) -> None:
    """A call that ends while its tool runs leaves no connection: the guard of the tests sees to it."""
    async with open_clinic("well") as (clinic, runner), trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                await runner.run(booking(clinic.url), {"day": "x"}, ACCESS)

        nursery.start_soon(run)
        for _ in range(step):
            await trio.lowlevel.checkpoint()
        scope.cancel()
