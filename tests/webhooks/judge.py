"""Judges bodies of webhooks by the published schemas, closed: what the schema does not name is a fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from invorto.storage.postgres import Database
from invorto.webhooks import catalogue
from invorto.webhooks.envelope import body


def closed(schema: Any) -> Any:
    """Forbid in every object of a schema what it does not name; where it names nothing it is free."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {name: closed(value) for name, value in schema.items() if name != "examples"}
    if isinstance(made.get("properties"), dict) and "type" in made:
        made["additionalProperties"] = False
    return made


def faults(whole: Mapping[str, Any]) -> list[str]:
    """List what is wrong with a body, by the schema of the version that it says it is of."""
    schema = catalogue.entry(whole["type"]).schema(whole["data"]["schemaVersion"])
    judge = Draft202012Validator(closed(schema), format_checker=FormatChecker())
    return [f"{whole['type']} {error.json_path}: {error.message}" for error in judge.iter_errors(whole)]


async def bodies(database: Database, tenant_id: str, call_id: str | None = None) -> list[dict[str, Any]]:
    """Give the bodies of what stands in the outbox, in their order."""
    async with database.tenant(tenant_id) as work:
        rows = await work.fetch(
            "SELECT * FROM outbox WHERE $1::text IS NULL OR call_id = $1 ORDER BY seq, position", call_id
        )
    return [
        json.loads(
            body(
                type_=row["type"], event_id=row["event_id"], tenant_id=row["tenant_id"], call_id=row["call_id"],
                seq=row["seq"], data=row["data"], written_at=row["created_at"],
            )
        )
        for row in rows
    ]  # fmt: skip
