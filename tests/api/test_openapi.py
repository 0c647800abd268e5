"""The document that the routes write about themselves, and the page that shows it."""

from __future__ import annotations

import gzip
import re
from typing import Any

import attrs
import pytest
from quart_trio import QuartTrio

from invorto.api.auth import Caller
from invorto.api.openapi import declared, document
from invorto.api.routing import Routes, declare
from invorto.api.schema import Schemas
from invorto.model import rules
from invorto.realtime import asyncapi
from invorto.realtime.protocol import CLIENT_KINDS
from tests.api.world import World


async def test_no_route_escapes(world: World) -> None:
    """Every route of the application, each method of it, is in the document under its own name."""
    found = (await world.ask("GET", "/v1/openapi.json", key=None)).json
    said = {(method, path) for path, methods in found["paths"].items() for method in methods}
    there = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", lambda m: "{" + _camel(m[1]) + "}", rule.rule))
        for rule, method, operation in declared(world.app)
        if operation is not None
    }
    assert said == there
    assert len(list(declared(world.app))) == len(said)
    names = [one["operationId"] for methods in found["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))
    assert all(one["summary"] for methods in found["paths"].values() for one in methods.values())


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


async def test_an_undeclared_route_is_refused() -> None:
    """A route that was put into the application past `Routes` makes the document fail, and with it the tests."""
    app = QuartTrio("x")

    @app.get("/secret")
    async def secret() -> str:
        return ""

    with pytest.raises(TypeError, match=r"GET /(static|secret)"):
        document(app)


async def test_references_lead_somewhere(world: World) -> None:
    """Every schema that is named is there, and every refusal has the one shape."""
    found = (await world.ask("GET", "/v1/openapi.json", key=None)).json
    schemas = found["components"]["schemas"]
    for name in _references(found):
        assert name in schemas
    for methods in found["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ProblemAnswer"}


def _references(value: Any) -> set[str]:
    match value:
        case dict():
            here = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
            return here.union(*map(_references, value.values()))
        case list():
            return set[str]().union(*map(_references, value))
        case _:
            return set()


@attrs.frozen(kw_only=True)
class Wish:
    """What somebody wants."""

    name: str = attrs.field(validator=rules.text(20, least=1))
    """How it is called."""
    many: int = attrs.field(default=1, validator=rules.between(1, 5))
    words: tuple[str, ...] = attrs.field(default=(), validator=rules.every(rules.count(3), rules.text(7)))
    note: str | None = None


def test_rules_are_in_the_schema() -> None:
    """What validates is what is documented: bounds, lengths, counts, defaults, unknown names."""
    schemas = Schemas()
    assert schemas.of(Wish, "request") == {"$ref": "#/components/schemas/Wish"}
    assert schemas.components["Wish"] == {
        "type": "object",
        "description": "What somebody wants.",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {
                "type": "string", "minLength": 1, "maxLength": 20, "pattern": r"\S", "description": "How it is called."
            },
            "many": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
            "words": {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 7}},
            "note": {"type": ["string", "null"]},
        },
    }  # fmt: skip
    assert schemas.of(Wish, "answer") == {"$ref": "#/components/schemas/WishAnswer"}
    assert schemas.components["WishAnswer"]["required"] == ["name", "many", "words", "note"]


async def test_a_view_reads_what_its_signature_says(world: World) -> None:
    """Body, query, path and caller come by name; what is returned is the answer, with its place where it was made."""
    routes = Routes("wishes", world.gate, "/v1/wishes")

    @attrs.frozen(kw_only=True)
    class Granted:
        id: str
        of: str

    async def wish(caller: Caller, body: Wish, query: Wish, shelf: str) -> Any:
        return Granted(id=f"{shelf}-{body.name}-{query.many}", of=caller.tenant_id)

    async def forget() -> None: ...

    routes.post("/<shelf>", needs="dev", status=201)(wish)
    routes.delete("", needs=None)(forget)
    app = QuartTrio("x", static_folder=None)
    app.register_blueprint(routes)
    client: Any = app.test_client()
    headers = {"Authorization": f"Bearer {world.keys['dev']}"}
    made = await client.post("/v1/wishes/a?name=q&many=3", json={"name": "b"}, headers=headers)
    assert (made.status_code, await made.get_json()) == (201, {"id": "a-b-3", "of": "t_default"})
    assert made.headers["Location"] == "/v1/wishes/a/a-b-3"
    gone = await client.delete("/v1/wishes")
    assert (gone.status_code, await gone.get_data()) == (204, b"")
    operation = document(app)["paths"]["/v1/wishes/{shelf}"]["post"]
    assert set(operation["responses"]) >= {"201", "400", "401", "403", "404", "413", "415", "422", "429", "500", "503"}
    assert operation["requestBody"]["required"]


def test_mistakes_in_declaring_are_told() -> None:
    """A caller on an open route, and a body on a route that reads, are refused when the application is made."""

    async def knows(caller: Caller) -> None: ...

    async def reads(body: Wish) -> None: ...

    with pytest.raises(TypeError, match="needs a role"):
        declare(knows, "x", "GET", None, {})
    with pytest.raises(TypeError, match="no body"):
        declare(reads, "x", "GET", "dev", {})


async def test_the_page_needs_nobody_else(world: World) -> None:
    """The page and all its parts come from this server, packed where the browser takes that, under a strict policy."""
    page = await world.ask("GET", "/docs", key=None)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    parts = re.findall(rb'(?:src|href)="([^"]+)"', page.data)
    assert len(parts) == 4
    for part in parts:
        if part == b"data:,":
            continue
        assert part.startswith(b"/docs/")
        whole = await world.ask("GET", part.decode(), key=None)
        assert whole.status == 200
        assert not part.endswith(b"swagger-ui.js") or len(whole.data) > 1_000_000
        packed = await world.ask("GET", part.decode(), key=None, headers={"Accept-Encoding": "gzip, br"})
        assert packed.headers.get("Content-Encoding") in {"gzip", None}
        if packed.headers.get("Content-Encoding"):
            assert gzip.decompress(packed.data) == whole.data
    for stranger in ("/docs/nothing.js", "/docs/..%2Fapp.py", "/docs/NOTICE.txt"):
        assert (await world.ask("GET", stranger, key=None)).status == 404


async def test_the_document_is_asked_for_again_cheaply(world: World) -> None:
    """Whoever has the document is told that it has not changed."""
    first = await world.ask("GET", "/v1/openapi.json", key=None)
    again = await world.ask("GET", "/v1/openapi.json", key=None, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.data) == (304, b"")


async def test_the_sockets_document_is_served(world: World) -> None:
    """The document and a page of it are there for everybody."""
    found = await world.ask("GET", "/v1/asyncapi.json", key=None)
    assert found.json == asyncapi.document()
    page = await world.ask("GET", "/docs/socket", key=None)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    for code, reason, _ in asyncapi.CLOSES:
        assert str(code).encode() in page.data
        assert reason.encode() in page.data
    for kind in CLIENT_KINDS:
        assert f"<code>{kind}</code>".encode() in page.data
    assert b"<script" not in page.data
