"""Whatever is sent, the answer is an error in the one shape, in words, with nothing of the inside."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from quart import Response
from werkzeug.exceptions import HTTPException

from invorto.api import app as app_module
from invorto.api.problems import problem_of
from invorto.errors import (
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    LimitReached,
    NotFound,
    NotSupported,
    PeerError,
    ProviderFailed,
    StoreUnavailable,
    Unauthorized,
    Unavailable,
)  # fmt: skip
from tests.api.world import World

BODIES: list[tuple[bytes, int, str]] = [
    (b"{", 400, "not JSON"),
    (b"", 422, "required field missing"),
    (b"null", 422, "expected an object"),
    (b"\x00", 400, "not JSON"),
    (b'{"name": "\x00"}', 400, "not JSON"),
    (b'{"name": "\xff"}', 400, "not UTF-8"),
    ('{"name": "é"}'.encode("utf-16"), 400, "not UTF-8"),
    (b"\xef\xbb\xbf{}", 400, "not JSON"),
    (b'{"name": NaN}', 400, "NaN is no number"),
    (b'{"temperature": 1e999, "name": "D"}', 422, "number out of range"),
    (b'{"maxTokens": ' + b"9" * 400 + b', "name": "D"}', 422, "number out of range"),
    (b'{"maxTokens": ' + b"9" * 5000 + b"}", 400, "too long"),
    (b'{"name": "a", "name": "b"}', 400, '"name" twice'),
    (b'{"name": "\\ud800"}', 422, "lone surrogates"),
    (b'{"name": "D", "metadata": ' + b'{"a":' * 40 + b"1" + b"}" * 41, 422, "nested too deeply"),
    (b"[" * 200_000, 400, "nested too deeply"),
    (b'{"a":' * 200_000, 400, "nested too deeply"),
    (b'{"name": "D"} {}', 400, "not JSON"),
    (b"'name'", 400, "not JSON"),
]


async def test_bad_bodies(world: World) -> None:
    """A body that cannot be read is 400, one that breaks rules is 422, and both say what is wrong."""
    for body, status, words in BODIES:
        refused = await world.ask("POST", "/v1/agents", body)
        assert refused.status == status, body[:80]
        assert refused.json["code"] == {400: "bad_request", 422: "validation_failed"}[status]
        assert words in refused.json["message"], body[:80]
    assert (await world.ask("GET", "/v1/agents")).json["pagination"]["total"] == 0


async def test_large_bodies(world: World) -> None:
    """A body over 1 MiB is 413, whether it says so beforehand or not; one just below is read."""
    large = b'{"name": "' + b"x" * 2 * 1024 * 1024 + b'"}'
    for headers in ({}, {"Transfer-Encoding": "chunked", "Content-Length": ""}):
        refused = await world.ask("POST", "/v1/agents", large, headers=headers)
        assert (refused.status, refused.json["code"]) == (413, "payload_too_large")
    fits = b'{"name": "D"}' + b" " * (1024 * 1024 - 13)
    assert (await world.ask("POST", "/v1/agents", fits)).status == 201


KINDS = [
    ({"Content-Type": "text/plain"}, 415),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ({"Content-Type": ""}, 415),
    ({"Content-Type": "application/json; charset=latin-1"}, 415),
    ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    ({"Content-Type": "application/json; charset=UTF-8"}, 201),
    ({"Content-Type": "application/vnd.api+json"}, 201),
]


async def test_kinds_of_body(world: World) -> None:
    """JSON in UTF-8 is read; everything else is told what to send."""
    for number, (headers, status) in enumerate(KINDS):
        answered = await world.ask("POST", "/v1/agents", b'{"name": "D%d"}' % number, headers=headers)
        assert answered.status == status, headers
        assert status == 201 or answered.json["code"] == "unsupported_media_type"


async def test_routes_and_methods(world: World) -> None:
    """A route that is not there is 404, a method that it does not have is 405 and says which it has."""
    missing = await world.ask("GET", "/v1/nothing")
    assert (missing.status, missing.json["code"]) == (404, "not_found")
    wrong = await world.ask("DELETE", "/v1/agents")
    assert (wrong.status, wrong.json["code"]) == (405, "method_not_allowed")
    assert "POST" in wrong.headers["Allow"]
    assert (await world.ask("BREW", "/v1/agents")).status == 405
    assert (await world.ask("GET", "/v1/agents/")).status == 200
    assert (await world.ask("HEAD", "/v1/agents")).data == b""


async def test_urls_are_utf8(world: World) -> None:
    """A URL that is no text is 400, and not half of one."""
    for url in ("/v1/agents?search=%ff", "/v1/agents?%c3%28=1"):
        refused = await world.ask("GET", url)
        assert (refused.status, refused.json["code"]) == (400, "bad_request"), url


async def test_a_mistake_of_ours_tells_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is 500 with a request id that the log has, and without a word about itself; the next request is served."""

    async def broken(*_: Any, **__: Any) -> Response:
        raise RuntimeError("secret inside: postgres://user:pw@host")

    monkeypatch.setattr("invorto.storage.agents.listing", broken)
    refused = await world.ask("GET", "/v1/agents", headers={"X-Request-Id": "abc-1"})
    assert (refused.status, refused.json["code"], refused.json["requestId"]) == (500, "internal_error", "abc-1")
    assert b"secret" not in refused.data
    assert b"Traceback" not in refused.data
    monkeypatch.undo()
    assert (await world.ask("GET", "/v1/agents")).status == 200


async def test_bugs_in_groups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that a nursery has wrapped are told like any other."""

    async def broken(*_: Any, **__: Any) -> Response:
        raise ExceptionGroup("nursery", [NotFound("no such thing")])

    monkeypatch.setattr("invorto.storage.agents.listing", broken)
    assert (await world.ask("GET", "/v1/agents")).status == 404


async def test_a_slow_store_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that hangs is answered 503 with Retry-After within its patience."""

    async def hang(*_: Any, **__: Any) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr("invorto.storage.agents.listing", hang)
    monkeypatch.setattr(app_module, "PATIENCE", 0.2)
    with trio.fail_after(3):
        refused = await world.ask("GET", "/v1/agents")
    assert (refused.status, refused.json["code"]) == (503, "store_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1


async def test_request_ids(world: World) -> None:
    """Each answer names its request: by the client's name where that is harmless, else by ours."""
    assert (await world.ask("GET", "/v1/agents", headers={"X-Request-Id": "abc"})).headers["X-Request-Id"] == "abc"
    for strange in ("a b", "x" * 65, "ü", ""):
        given = (await world.ask("GET", "/v1/agents", headers={"X-Request-Id": strange})).headers["X-Request-Id"]
        assert len(given) == 32


FAMILIES: list[tuple[BaseException, int, str, bool]] = [
    (Invalid("bad", [Fault("$.a", "b")]), 422, "validation_failed", False),
    (Invalid("bad"), 422, "validation_failed", False),
    (Unauthorized("who"), 401, "invalid_api_key", False),
    (Forbidden("no"), 403, "forbidden", False),
    (NotFound("none"), 404, "not_found", False),
    (Conflict("busy", "agent_in_use"), 409, "agent_in_use", False),
    (NotSupported("cannot"), 409, "not_supported", False),
    (LimitReached("node", 5, 5, 1.2), 429, "concurrency_limit", True),
    (LimitReached("rate", 5, 5), 429, "rate_limit_exceeded", True),
    (LimitReached("usage_cap", 5, 5), 429, "usage_cap_exceeded", True),
    (StoreUnavailable("user@host refused"), 503, "store_unavailable", True),
    (Unavailable("going", "draining"), 503, "draining", True),
    (ProviderFailed("x", "llm", "key sk-1 refused"), 503, "provider_unavailable", True),
    (PeerError(4000, "odd"), 400, "bad_request", False),
    (trio.TooSlowError(), 503, "store_unavailable", True),
    (KeyError("x"), 500, "internal_error", False),
    (HTTPException(), 500, "internal_error", False),
]


@pytest.mark.parametrize(("error", "status", "code", "later"), FAMILIES, ids=[str(n) for n in range(len(FAMILIES))])
def test_every_family_has_an_answer(error: BaseException, status: int, code: str, later: bool) -> None:
    """What a client should do about an error can be read off its status and its code."""
    problem = problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert ("Retry-After" in problem.headers) is later
    assert "sk-1" not in problem.message
    assert "user@host" not in problem.message
