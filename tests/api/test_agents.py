"""Agents over REST: written, read, changed, listed, and refused in words."""

from __future__ import annotations

from typing import Any

import trio

from invorto.storage import agents
from invorto.storage.tenants import DEFAULT_TENANT
from tests.api.world import World


async def test_create_and_read(world: World) -> None:
    """An agent that was made can be read, with what its owner wrote and nothing else."""
    made = await world.ask("POST", "/v1/agents", {"name": " Desk ", "config": {"prompt": "You are a desk."}})
    assert made.status == 201
    agent = made.json
    assert made.headers["Location"] == f"/v1/agents/{agent['id']}"
    assert agent["id"].startswith("a_")
    assert (agent["name"], agent["status"], agent["version"]) == ("Desk", "active", 1)
    assert agent["config"] == {"prompt": "You are a desk."}
    assert agent["createdAt"].endswith("Z")
    assert (await world.ask("GET", f"/v1/agents/{agent['id']}", key="analyst")).json == agent


async def test_only_a_name(world: World) -> None:
    """A name is enough."""
    made = await world.ask("POST", "/v1/agents", {"name": "Desk"})
    assert (made.status, made.json["config"]) == (201, {})


async def test_change_merges(world: World) -> None:
    """A PATCH changes what it names and makes a new version; without a change there is none."""
    agent_id = await world.agent(config={"llm": {"model": "a", "maxTokens": 5}, "tools": ["book"]})
    changed = await world.ask("PATCH", f"/v1/agents/{agent_id}", {"config": {"llm": {"model": "b"}}, "status": "draft"})
    assert changed.status == 200
    assert changed.json["config"] == {"llm": {"model": "b", "maxTokens": 5}, "tools": ["book"]}
    assert (changed.json["version"], changed.json["status"], changed.json["name"]) == (2, "draft", "Desk")
    same = await world.ask("PATCH", f"/v1/agents/{agent_id}", {"config": {"llm": {"model": "b"}}})
    assert (same.status, same.json["version"]) == (200, 2)
    assert (await world.ask("PATCH", f"/v1/agents/{agent_id}", {})).json["version"] == 2
    versions, _ = await agents.versions(world.database, DEFAULT_TENANT, agent_id)
    assert [one.document["llm"]["model"] for one in versions] == ["b", "a"]


async def test_null_goes_back(world: World) -> None:
    """Null takes a setting back to the default; a null greeting says that the caller speaks first."""
    agent_id = await world.agent(config={"locale": "hi-IN", "greeting": "Hi", "llm": {"maxTokens": 5}})
    change = {"locale": None, "greeting": None, "llm": {"maxTokens": None}}
    changed = await world.ask("PATCH", f"/v1/agents/{agent_id}", change)
    assert changed.json["config"] == {"greeting": None, "llm": {}}


async def test_what_is_one_value_is_replaced(world: World) -> None:
    """A schema is one value, replaced whole; a consent that was configured can be taken out."""
    config = {"summary": {"schema": {"a": 1, "b": 2}, "rubric": "text"}, "consent": {"prompt": "May we?"}}
    agent_id = await world.agent(config=config)
    changed = await world.ask("PATCH", f"/v1/agents/{agent_id}", {"summary": {"schema": {"c": 3}}, "consent": None})
    assert changed.json["config"] == {"summary": {"schema": {"c": 3}, "rubric": "text"}, "consent": None}


async def test_a_bad_change_changes_nothing(world: World) -> None:
    """What a PATCH would break together with what is there is refused, and the agent stays."""
    agent_id = await world.agent(config={"flow": {"slots": [{"name": "day"}], "intents": []}})
    bad = {"config": {"flow": {"intents": [{"name": "book", "slots": ["day", "hour"]}]}}}
    refused = await world.ask("PATCH", f"/v1/agents/{agent_id}", bad)
    assert refused.status == 422
    assert refused.faults == [("$.config.flow.intents[0].slots[1]", "there is no slot 'hour' in flow.slots")]
    assert (await world.ask("GET", f"/v1/agents/{agent_id}")).json["version"] == 1


BAD: list[tuple[Any, list[tuple[str, str]]]] = [
    ({}, [("$.name", "required field missing")]),
    ({"name": None}, [("$.name", "required field missing")]),
    ({"name": "  "}, [("$.name", "must not be empty")]),
    ({"name": 5}, [("$.name", "expected text or null")]),
    ({"name": "x" * 201}, [("$.name", "must be at most 200 bytes of text")]),
    ({"name": "a_" + "0" * 32}, [("$.name", "expected a name, not an agent's id")]),
    ({"name": "D", "status": "gone"}, [("$.status", "expected one of active, inactive, draft")]),
    ({"name": "D", "config": {"tts": {"speed": 2}}}, [("$.config.tts.speed", "unknown field")]),
    ({"name": "D", "tts": {"speed": 2}}, [("$.tts.speed", "unknown field")]),
    ({"name": "D", "temperature": 9}, [("$.temperature", "must be at most 2")]),
    ({"name": "D", "config": {"temperature": 9}}, [("$.config.temperature", "must be at most 2")]),
    ({"name": "D", "config": {}, "prompt": "x"}, [("$.prompt", "belongs inside config")]),
    ({"name": "D", "config": None}, [("$.config", "expected an object")]),
    ({"name": "D", "config": []}, [("$.config", "expected an object")]),
    ({"name": "D", "prompt": "a\0b"}, [("$.prompt", "text must not hold NUL characters")]),
    ({"name": "D\0"}, [("$.name", "text must not hold NUL characters")]),
    ({"name": "D", "metadata": {"n": 2**60}}, [("$.metadata.n", "number out of range")]),
    (
        {"name": "D", "llm": {"provider": "nobody"}},
        [("$.llm.provider", "there is no engine 'nobody' here, but local, scripted")],
    ),
    (
        {"status": "x", "config": {"locale": 5, "llm": {"maxTokens": 0}}},
        [
            ("$.name", "required field missing"),
            ("$.status", "expected one of active, inactive, draft"),
            ("$.config.locale", "expected text"),
            ("$.config.llm.maxTokens", "must be at least 1"),
        ],
    ),
    ([], [("$", "expected an object")]),
    ("text", [("$", "expected an object")]),
    (
        {"prompt": 5, "status": "x", "config": 7},
        [("$.prompt", "belongs inside config"), ("$.status", "expected one of active, inactive, draft")],
    ),
]  # fmt: skip


async def test_bad_agents(world: World) -> None:
    """What is wrong with an agent is told with its path, and nothing is kept of it."""
    for body, faults in BAD:
        refused = await world.ask("POST", "/v1/agents", body)
        assert (refused.status, refused.json["code"]) == (422, "validation_failed"), body
        assert set(faults) <= set(refused.faults), body
    assert (await world.ask("GET", "/v1/agents")).json["pagination"]["total"] == 0


async def test_wait_function_is_arithmetic(world: World) -> None:
    """A `waitFunction` is read when it is written, not in the first call."""
    refused = await world.ask("POST", "/v1/agents", {"name": "D", "endpointing": {"waitFunction": "import os"}})
    assert refused.status == 422
    assert refused.faults[0][0] == "$.endpointing.waitFunction"
    assert (
        await world.ask("POST", "/v1/agents", {"name": "D", "endpointing": {"waitFunction": "100 + x"}})
    ).status == 201


async def test_a_name_is_one_agents(world: World) -> None:
    """Two agents of one tenant cannot have the same name, however quickly they are made; two tenants' can."""
    statuses: list[int] = []

    async def make(key: str) -> None:
        statuses.append((await world.ask("POST", "/v1/agents", {"name": "Desk"}, key=key)).status)

    async with trio.open_nursery() as nursery:
        for key in ("dev", "dev", "dev", "other"):
            nursery.start_soon(make, key)
    assert sorted(statuses) == [201, 201, 409, 409]
    other = await world.agent(name="Other")
    refused = await world.ask("PATCH", f"/v1/agents/{other}", {"name": "Desk"})
    assert (refused.status, refused.json["code"]) == (409, "conflict")


async def test_changes_at_once_are_all_kept(world: World) -> None:
    """Two people who change different things at the same moment both get what they wanted."""
    agent_id = await world.agent()

    async def change(number: int) -> None:
        body = {"config": {"metadata": {str(number): number}}}
        assert (await world.ask("PATCH", f"/v1/agents/{agent_id}", body)).status == 200

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(change, number)
    agent = (await world.ask("GET", f"/v1/agents/{agent_id}")).json
    assert agent["config"]["metadata"] == {str(number): number for number in range(8)}
    assert agent["version"] == 9


async def test_another_tenants_agent_is_not_there(world: World) -> None:
    """Whoever asks for another tenant's agent learns nothing, not even that it exists."""
    agent_id = await world.agent()
    for method, path, body in (
        ("GET", f"/v1/agents/{agent_id}", None),
        ("PATCH", f"/v1/agents/{agent_id}", {"name": "Mine"}),
        ("PATCH", f"/v1/agents/{agent_id}", {"config": {"prompt": "Mine"}}),
    ):
        refused = await world.ask(method, path, body, key="other")
        assert (refused.status, refused.json["code"]) == (404, "not_found")
    assert (await world.ask("GET", "/v1/agents", key="other")).json["data"] == []
    assert (await world.ask("GET", f"/v1/agents/{agent_id}")).json["name"] == "Desk"


async def test_no_such_agent(world: World) -> None:
    """An id that is nobody's is 404, whatever it is made of; a name is no id."""
    await world.agent()
    for name in ("a_nobody", "Desk", "%00", "a%2Fb", "x" * 3000, "%F0%9F%99%82"):
        refused = await world.ask("GET", f"/v1/agents/{name}")
        assert (refused.status, refused.json["code"]) == (404, "not_found"), name


async def test_list(world: World) -> None:
    """The list has pages, searches, filters and sorts; every page says where the next is."""
    for number in range(5):
        await world.agent(name=f"Agent {number}", status="active" if number % 2 else "draft")
    first = (await world.ask("GET", "/v1/agents?limit=2&sortBy=name&sortOrder=asc")).json
    assert [agent["name"] for agent in first["data"]] == ["Agent 0", "Agent 1"]
    following = first["pagination"].pop("next")
    assert first["pagination"] == {"page": 1, "limit": 2, "total": 5, "pages": 3}
    names: list[str] = []
    while following:
        page = (await world.ask("GET", f"/v1/agents?sortBy=name&sortOrder=asc&cursor={following}")).json
        names += [agent["name"] for agent in page["data"]]
        following = page["pagination"]["next"]
    assert names == ["Agent 2", "Agent 3", "Agent 4"]
    drafts = (await world.ask("GET", "/v1/agents?status=draft&sortBy=name&sortOrder=DESC")).json
    assert [agent["name"] for agent in drafts["data"]] == ["Agent 4", "Agent 2", "Agent 0"]
    assert (await world.ask("GET", "/v1/agents?search=gent%203")).json["pagination"]["total"] == 1
    assert (await world.ask("GET", "/v1/agents?search=%25")).json["pagination"]["total"] == 0
    assert (await world.ask("GET", "/v1/agents?page=9")).json["data"] == []


QUERIES = [
    ("limit=101", "$.limit"), ("limit=0", "$.limit"), ("limit=-1", "$.limit"), ("limit=x", "$.limit"),
    ("limit=1.5", "$.limit"), ("page=0", "$.page"), ("page=99999999999999999999", "$.page"),
    ("page=1&page=2", "$.page"),
    ("sortBy=document", "$.sortBy"), ("sortBy=name;drop", "$.sortBy"), ("sortOrder=up", "$.sortOrder"),
    ("status=gone", "$.status"), ("search=%00", "$.search"), ("bogus=1", "$.bogus"), ("cursor=abc", "$.cursor"),
    ("cursor=%00", "$.cursor"), ("cursor=WzIsMiwieCJd", "$.cursor"), ("cursor=bnVsbA==", "$.cursor"),
    ("cursor=" + "W1tb" * 500, "$.cursor"), ("search=" + "x" * 201, "$.search"),
]  # fmt: skip


async def test_bad_queries(world: World) -> None:
    """A query that means nothing is told which part of it, instead of being half understood."""
    for query, path in QUERIES:
        refused = await world.ask("GET", f"/v1/agents?{query}")
        assert (refused.status, refused.json["code"]) == (422, "validation_failed"), query
        assert [fault[0] for fault in refused.faults] == [path], query


async def test_a_cursor_belongs_to_its_list(world: World) -> None:
    """A cursor with other filters would skip rows unseen: it is refused."""
    for number in range(3):
        await world.agent(name=str(number))
    cursor = (await world.ask("GET", "/v1/agents?limit=1")).json["pagination"]["next"]
    assert (await world.ask("GET", f"/v1/agents?status=active&cursor={cursor}")).status == 422
    assert (await world.ask("GET", f"/v1/agents?page=2&cursor={cursor}")).status == 422
    assert (await world.ask("GET", f"/v1/agents?cursor={cursor}")).json["pagination"]["page"] == 2


async def test_empty_parameters_count_as_absent(world: World) -> None:
    """A form that sends all its fields, empty ones too, gets the list."""
    await world.agent()
    assert (await world.ask("GET", "/v1/agents?page=&limit=&search=&status=&sortBy=&sortOrder=")).status == 200


async def test_tools_in_an_agent_are_looked_at(world: World) -> None:
    """A schema that is none, a built-in tool's name, a placeholder of nothing: each is told where it stands."""
    tools = [
        "weather",
        {"name": "a", "inputSchema": {"type": "text"}},
        {"name": "end_call"},
        {"name": "b", "url": "https://api.example.com/{day}", "inputSchema": {"properties": {}}},
        {"name": "c", "type": "mcp"},
    ]
    refused = await world.ask("POST", "/v1/agents", {"name": "Desk", "tools": tools})
    assert refused.status == 422
    assert [path for path, _ in refused.faults] == [
        "$.tools[1].inputSchema.type",
        "$.tools[2].name",
        "$.tools[3].url",
        "$.tools[4].url",
    ]
