"""Routes of the catalogue: what webhooks may say, with a JSON Schema for each version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from quart import Response
from quart_trio.wrappers import TrioResponse

from invorto.api.auth import Gate
from invorto.api.deps import ApiDeps
from invorto.api.routing import Routes
from invorto.errors import NotFound
from invorto.model.facts import About
from invorto.storage.json_text import json_text
from invorto.webhooks import catalogue
from invorto.webhooks.catalogue import Entry

_HERE = "/v1/webhooks/events"
_SCHEMA = "application/schema+json"


@attrs.frozen(kw_only=True)
class SchemaVersion:
    """Where a schema is."""

    version: int
    schema_url: str


@attrs.frozen(kw_only=True)
class EventEntry:
    """A type of event."""

    type: str
    title: str
    description: str
    about: About
    """What it tells of; a call's events carry its id and are numbered."""
    transition: str
    """The one change that makes it."""
    version: int
    """The schema's that is written now."""
    versions: tuple[SchemaVersion, ...]
    """All that were ever sent."""
    sample: Mapping[str, Any]
    """A whole body."""


@attrs.frozen(kw_only=True)
class EventEntries:
    """The catalogue."""

    data: tuple[EventEntry, ...]


def shown(entry: Entry) -> EventEntry:
    """Make what is answered of one type."""
    return EventEntry(
        type=entry.name,
        title=entry.title,
        description=entry.description,
        about=entry.kind.about,
        transition=entry.kind.transition.replace("`", ""),
        version=entry.kind.version,
        versions=tuple(
            SchemaVersion(version=version, schema_url=f"{_HERE}/{entry.name}/{version}") for version in entry.schemas
        ),
        sample=entry.sample,
    )


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:  # noqa: ARG001 - all nouns' are made so
    """Make the routes."""
    routes = Routes("events", gate, _HERE)

    @routes.get("", needs="analyst")
    async def list_events() -> EventEntries:
        """List every type of event that webhooks may be sent."""
        return EventEntries(data=tuple(map(shown, catalogue.catalogue().values())))

    @routes.get("/<name>", needs="analyst", errors=["not_found"])
    async def read_event(name: str) -> EventEntry:
        """Give one type of event."""
        return shown(catalogue.entry(name))

    @routes.get("/<name>/<version>", needs="analyst", gives=Mapping[str, Any], kinds=[_SCHEMA], errors=["not_found"])
    async def read_event_schema(name: str, version: str) -> Response:
        """Give the JSON Schema of the whole body of one version."""
        if not version.isascii() or not version.isdigit() or len(version) > 9:
            raise NotFound(f"{name} has no version {version}")
        schema = catalogue.entry(name).schema(int(version))
        return TrioResponse(json_text(schema), 200, {"Content-Type": _SCHEMA})

    return routes
