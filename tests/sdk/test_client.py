"""The SDK's REST client against the real server, and against one that fails."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import trio
from trio.testing import MockClock

from invorto_sdk import routes
from invorto_sdk.client import ATTEMPTS, Client, open_client
from invorto_sdk.errors import ApiError, Unreachable
from tests.journeys.house import Server, open_server, settings
from tests.sdk.backends import BACKENDS, on

KEY = "inv_live_secret"


@pytest.fixture
async def server(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    """Run a server of the test's own."""
    async with open_server(settings(postgres_url, redis_url, tmp_path)) as opened:
        yield opened


@pytest.mark.parametrize("backend", BACKENDS)
async def test_agents_are_made_read_listed_and_changed(server: Server, backend: str) -> None:
    """What a developer does first, on either library; a list is all of its pages."""

    async def work() -> None:
        async with open_client(server.key, server.url, environ={}) as client:
            made = [await client.agents.create(f"agent {number:02}", prompt="Be brief.") for number in range(25)]
            assert (await client.agents.get(made[3]["id"]))["config"] == {"prompt": "Be brief."}
            changed = await client.agents.change(made[3]["id"], name="another", greeting="Hi.")
            assert (changed["version"], changed["name"]) == (2, "another")
            names = [row["name"] async for row in client.agents.list(search="agent", sortBy="name", sortOrder="asc")]
            assert names == sorted(each["name"] for each in made if each["id"] != made[3]["id"])

    await on(backend, work)


async def test_refusals_say_what_is_wrong(server: Server) -> None:
    """Each fault has its path, an unknown id its status, a bad key its code; the key is in no text."""
    async with open_client(server.key, server.url, environ={}) as client:
        with pytest.raises(ApiError, match=r"\$\.config\.wrong") as refused:
            await client.agents.create("x", wrong=1)
        assert (refused.value.status, refused.value.code) == (422, "validation_failed")
        assert refused.value.details
        assert refused.value.request_id
        with pytest.raises(ApiError) as missing:
            await client.calls.get("../../health")
        assert missing.value.status == 404
        assert server.key not in repr(client)
    async with open_client("inv_live_wrong_key", server.url, environ={}) as client:
        with pytest.raises(ApiError) as unknown:
            await client.calls.list().__anext__()
        assert (unknown.value.status, unknown.value.code) == (401, "invalid_api_key")


async def test_a_client_needs_a_key() -> None:
    """Without one it says so at once; the environment's serves."""
    with pytest.raises(ValueError, match="INVORTO_API_KEY"):
        async with open_client(environ={}):
            pass
    async with open_client(environ={"INVORTO_API_KEY": KEY, "API_BASE_URL": "https://x.example"}) as client:
        assert client.base_url == "https://x.example"


# -- a server that fails --------------------------------------------------------------------------


class Failing(httpx2.AsyncBaseTransport):
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers, self.asked = [*answers], list[httpx2.Request]()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer."""
        await anyio.lowlevel.checkpoint()
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(status: int, body: Any = None, **headers: str) -> httpx2.Response:
    """Make an answer."""
    return httpx2.Response(status, content=b"" if body is None else json.dumps(body).encode(), headers=headers)


async def failing(transport: Failing, work: Callable[[Client], Any]) -> Any:
    """Do something at a server that fails."""
    async with open_client(KEY, "https://x.example", environ={}, transport=transport) as client:
        return await work(client)


async def test_it_tries_again_when_asked_to(autojump_clock: MockClock) -> None:
    """429 and 503 are waited out for as long as the server says, with the same idempotency key."""
    transport = Failing(
        answer(429, {}, **{"Retry-After": "7"}), answer(503, {}, **{"Retry-After": "2"}), answer(201, {})
    )
    began = trio.current_time()
    assert await failing(transport, lambda client: client.agents.create("x")) == {}
    assert trio.current_time() - began == pytest.approx(9.0)
    assert len({request.headers["Idempotency-Key"] for request in transport.asked}) == 1


async def test_it_does_not_wait_for_ever(autojump_clock: MockClock) -> None:
    """A server that asks for a day gets half a minute, and after four refusals the caller is told."""
    later = {"Retry-After": "86400"}
    transport = Failing(*(answer(503, {"code": "draining", "message": "later"}, **later) for _ in range(ATTEMPTS)))
    began = trio.current_time()
    with pytest.raises(ApiError, match="503 draining: later") as refused:
        await failing(transport, lambda client: client.agents.get("a_1"))
    assert trio.current_time() - began == pytest.approx(90.0)
    assert refused.value.retry_after == 86400


async def test_a_lost_answer_is_asked_for_again_where_that_is_safe(autojump_clock: MockClock) -> None:
    """Reading and what has an idempotency key is repeated; a change, which may have happened, is not."""
    lost = httpx2.ReadError("gone")
    assert await failing(Failing(lost, lost, answer(200, {"id": "a_1"})), lambda c: c.agents.get("a_1")) == {
        "id": "a_1"
    }
    transport = Failing(lost, answer(200, {}))
    with pytest.raises(Unreachable, match="does not answer"):
        await failing(transport, lambda client: client.agents.change("a_1", name="x"))
    assert len(transport.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"details": [7, {"path": "$"}]}'])
async def test_a_strange_refusal_is_still_a_refusal(body: bytes) -> None:
    """A proxy's page instead of our problem keeps its status."""
    transport = Failing(httpx2.Response(418, content=body))
    with pytest.raises(ApiError) as refused:
        await failing(transport, lambda client: client.agents.get("a_1"))
    assert refused.value.status == 418


# -- all of the API -------------------------------------------------------------------------------


def asked() -> set[tuple[str, str]]:
    """List method and path of every route that the SDK's source names, places without their names."""
    found = set[tuple[str, str]]()
    for node in ast.walk(ast.parse(Path(routes.__file__).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = [_text(each) for each in node.args[:2]]
            if node.func.attr in {"call", "request"}:
                found.add((texts[0], texts[1]))
            elif node.func.attr == "pages":
                found.add(("GET", texts[0]))
    return {(method, _bare(path)) for method, path in found}


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _bare(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


async def test_every_route_it_asks_for_is_there(server: Server) -> None:
    """The SDK names no route that the API's own document does not have."""
    async with open_client(server.key, server.url, environ={}) as client:
        document = await client.call("GET", "/v1/openapi.json")
    there = {(method.upper(), _bare(path)) for path, methods in document["paths"].items() for method in methods}
    assert len(asked()) > 40
    assert asked() - there == set()
