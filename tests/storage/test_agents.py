"""Agents keep what their owners wrote, and every version of it."""

from __future__ import annotations

import pytest
import trio

from invorto.errors import Conflict, Invalid, NotFound
from invorto.storage import agents, tenants
from invorto.storage.agents import merge
from invorto.storage.postgres import Database
from tests.storage.nouns import an_agent

DEFAULT = tenants.DEFAULT_TENANT


async def test_agent_is_found_by_id_and_by_name(database: Database) -> None:
    """An agent that was made is read by its id, and by its name within its tenant."""
    agent = await agents.create(database, DEFAULT, name="Desk", document={"prompt": "x"}, status="draft")
    assert (agent.version, agent.status, agent.document) == (1, "draft", {"prompt": "x"})
    assert agent.id.startswith("a_")
    assert await agents.get(database, DEFAULT, agent.id) == agent
    assert await agents.get(database, DEFAULT, "Desk") == agent
    for wrong in ("desk", "", "a_none", "Desk%"):
        with pytest.raises(NotFound):
            await agents.get(database, DEFAULT, wrong)


async def test_id_goes_before_a_name_that_looks_like_it(database: Database) -> None:
    """An agent named like another's id does not stand in front of it."""
    agent = await an_agent(database)
    await an_agent(database, name=agent.id)
    assert await agents.get(database, DEFAULT, agent.id) == agent


async def test_name_is_unique_within_the_tenant(database: Database) -> None:
    """Two agents of one tenant cannot share a name; those of two tenants can."""
    other = await tenants.create(database, "Other")
    first, second = await an_agent(database), await an_agent(database, name="Shop")
    await an_agent(database, other.id)
    with pytest.raises(Conflict, match="'Desk'"):
        await an_agent(database)
    with pytest.raises(Conflict, match="'Desk'"):
        await agents.change(database, DEFAULT, second.id, name="Desk")
    assert (await agents.change(database, DEFAULT, first.id, name="Desk")).name == "Desk"
    with pytest.raises(NotFound):
        await an_agent(database, "t_none")


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"a": 2}, {"a": 2, "b": {"c": 2, "d": 3}}),
        ({"a": None}, {"b": {"c": 2, "d": 3}}),
        ({"b": {"c": None, "e": {"f": None, "g": 1}}}, {"a": 1, "b": {"d": 3, "e": {"g": 1}}}),
        ({"b": [1]}, {"a": 1, "b": [1]}),
        ({"b": 5}, {"a": 1, "b": 5}),
        ({"a": {"x": 1}}, {"a": {"x": 1}, "b": {"c": 2, "d": 3}}),
        ({"greeting": None}, {"a": 1, "b": {"c": 2, "d": 3}, "greeting": None}),
    ],
    ids=str,
)
def test_documents_merge(change: dict[str, object], result: dict[str, object]) -> None:
    """A change names only what changes: objects merge, null removes, and a null greeting lets the caller begin."""
    before = {"a": 1, "b": {"c": 2, "d": 3}}
    assert merge(before, change) == result
    assert before == {"a": 1, "b": {"c": 2, "d": 3}}


async def test_change_of_the_document_is_a_new_version(database: Database) -> None:
    """Each change of the configuration is kept; a new name or state, or a change of nothing, makes no version."""
    agent = await an_agent(database)
    changed = await agents.change(database, DEFAULT, agent.id, document={"locale": "hi-IN"})
    assert (changed.version, changed.document) == (2, {"prompt": "You are kind.", "locale": "hi-IN"})
    assert changed.updated_at > agent.updated_at
    for same in ({"locale": "hi-IN"}, {}):
        assert (await agents.change(database, DEFAULT, agent.id, document=same)).version == 2
    assert (await agents.change(database, DEFAULT, agent.id, name="New", status="inactive")).version == 2
    last = await agents.get(database, DEFAULT, "New")
    assert (last.status, last.created_at) == ("inactive", agent.created_at)
    kept, _ = await agents.versions(database, DEFAULT, agent.id)
    assert [(one.version, one.document) for one in kept] == [(2, changed.document), (1, agent.document)]
    for wrong in ("a_none", "New"):
        with pytest.raises(NotFound):
            await agents.change(database, DEFAULT, wrong, name="x")


async def test_change_that_breaks_a_rule_leaves_all_as_it_was(database: Database) -> None:
    """The merged document is checked before anything is kept, also when other things change with it."""
    agent = await an_agent(database)
    seen: list[object] = []

    def check(document: object) -> None:
        seen.append(document)
        raise Invalid("no")

    with pytest.raises(Invalid):
        await agents.change(database, DEFAULT, agent.id, name="New", document={"locale": 5}, check=check)
    assert seen == [{"prompt": "You are kind.", "locale": 5}]
    assert await agents.get(database, DEFAULT, agent.id) == agent
    assert (await agents.versions(database, DEFAULT, agent.id))[1] == 1


async def test_changes_at_once_are_all_kept(database: Database) -> None:
    """Two people who change different fields at the same moment both get their way, one version after the other."""
    agent = await an_agent(database)
    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(
                lambda n=number: agents.change(database, DEFAULT, agent.id, document={"metadata": {f"k{n}": n}})
            )
    last = await agents.get(database, DEFAULT, agent.id)
    assert last.version == 7
    assert last.document["metadata"] == {f"k{n}": n for n in range(6)}
    kept, total = await agents.versions(database, DEFAULT, agent.id)
    assert ([one.version for one in kept], total) == ([7, 6, 5, 4, 3, 2, 1], 7)


async def test_agents_are_listed(database: Database) -> None:
    """Search, filter, order and pages find agents, and count them all; names mean themselves."""
    for name, status in (("Alpha", "active"), ("beta_1", "draft"), ("Gamma 100%", "active"), ("betaX1", "inactive")):
        await agents.create(database, DEFAULT, name=name, document={}, status=status)  # pyright: ignore[reportArgumentType]

    async def names(**asked: object) -> list[str]:
        found, total = await agents.listing(database, DEFAULT, **asked)  # pyright: ignore[reportArgumentType]
        assert total == len(found)
        return [agent.name for agent in found]

    assert await names() == ["betaX1", "Gamma 100%", "beta_1", "Alpha"]
    assert await names(sort_by="name", sort_order="asc") == ["Alpha", "Gamma 100%", "betaX1", "beta_1"]
    assert await names(status="active", sort_order="asc") == ["Alpha", "Gamma 100%"]
    assert await names(search="BETA_1") == ["beta_1"]
    assert await names(search="100%") == ["Gamma 100%"]
    assert await names(search="\\") == []
    page, total = await agents.listing(database, DEFAULT, page=2, limit=3)
    assert ([agent.name for agent in page], total) == (["Alpha"], 4)
    with pytest.raises(Invalid):
        await agents.listing(database, DEFAULT, sort_by="document")
