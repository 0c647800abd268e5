"""Keys open their tenant and nothing else, and cannot be read back."""

from __future__ import annotations

import pytest

from invorto.errors import Conflict, NotFound
from invorto.storage import keys, tenants
from invorto.storage.postgres import Database

DEFAULT = tenants.DEFAULT_TENANT


async def test_key_is_found_and_not_kept(database: Database) -> None:
    """A key is recognised by whoever brings it, and stands nowhere in the database."""
    record, key = await keys.create(database, DEFAULT, "dev", "laptop")
    assert key.startswith("inv_live_")
    assert await keys.find(database, key) == record
    assert (record.role, record.name, record.revoked_at) == ("dev", "laptop", None)
    async with database._system() as work:
        assert key not in str(await work.fetchval("SELECT keys::text FROM keys"))


@pytest.mark.parametrize(
    "wrong",
    ["", "inv_live_", "inv_live_" + "x" * 43, "Bearer inv_live_abcdefgh", "inv_live_abcdefgh\0", "\ud800", "x" * 10**6,
     "inv_live_abcdefgh\n", "inv_live_' OR true --"],
    ids=lambda text: ascii(text[:24]),
)  # fmt: skip
async def test_anything_else_is_nobody(database: Database, wrong: str) -> None:
    """What is not a key, or not one of ours, is nobody, and no error."""
    await keys.create(database, DEFAULT, "dev", "laptop")
    assert await keys.find(database, wrong) is None


async def test_revoked_key_opens_nothing(database: Database) -> None:
    """A key that was revoked is nobody from then on; its record stays; revoking again changes nothing."""
    record, key = await keys.create(database, DEFAULT, "dev", "laptop")
    other, other_key = await keys.create(database, DEFAULT, "analyst", "report")
    revoked = await keys.revoke(database, DEFAULT, record.id)
    assert revoked.revoked_at is not None
    assert await keys.find(database, key) is None
    assert await keys.find(database, other_key) == other
    assert await keys.revoke(database, DEFAULT, record.id) == revoked
    assert await keys.listing(database, DEFAULT) == [other, revoked]


async def test_keys_belong_to_their_tenant(database: Database) -> None:
    """One tenant neither sees nor revokes another's keys, nor the operators'; a key of no tenant cannot be made."""
    tenant, first = await tenants.create_with_key(database, "Other")
    record, key = await keys.create(database, DEFAULT, "admin", "mine")
    operator, operator_key = await keys.create(database, DEFAULT, "operator", "root")
    found = await keys.find(database, first)
    assert found is not None
    assert (found.tenant_id, found.role) == (tenant.id, "admin")
    assert await keys.listing(database, tenant.id) == [found]
    assert await keys.listing(database, DEFAULT) == [record]
    for tenant_id, key_id in ((tenant.id, record.id), (DEFAULT, operator.id), (DEFAULT, "k_none")):
        with pytest.raises(NotFound):
            await keys.revoke(database, tenant_id, key_id)
    assert await keys.find(database, key) == record
    assert await keys.find(database, operator_key) == operator
    with pytest.raises(NotFound):
        await keys.create(database, "t_none", "dev", "x")


async def test_given_key_is_kept(database: Database) -> None:
    """A key that was chosen beforehand, as `invorto dev` does, can be kept."""
    record, key = await keys.create(database, DEFAULT, "dev", "demo", key="inv_live_chosen_before")
    assert key == "inv_live_chosen_before"
    assert await keys.find(database, key) == record


def test_keys_cannot_be_guessed() -> None:
    """Keys hold 256 random bits, and letters that may stand in headers and subprotocols."""
    made = {keys.new_key() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(key) == len("inv_live_") + 43 and key.replace("-", "_").isidentifier() for key in made)
    assert len(keys.digest("x")) == 32


async def test_tenants_are_made_and_read(database: Database) -> None:
    """Every installation has a default tenant; others are made with an id of ours or of their own, once."""
    default = await tenants.get(database)
    made = await tenants.create(database, "Other", settings={"dailyCapInr": 50})
    named = await tenants.create(database, "Named", id="t_named")
    assert default.id == DEFAULT
    assert await tenants.get(database, made.id) == made
    assert made.settings == {"dailyCapInr": 50}
    assert {tenant.id for tenant in await tenants.everyone(database)} == {default.id, made.id, named.id}
    with pytest.raises(Conflict):
        await tenants.create(database, "Again", id="t_named")
    with pytest.raises(NotFound):
        await tenants.get(database, "t_none")
