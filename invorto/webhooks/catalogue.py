"""The catalogue: every type of event with its JSON Schemas by version, and a sample of each, read from the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import attrs

from invorto.errors import NotFound
from invorto.model.facts import EVENT_TYPES, EventType

type Schema = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Entry:
    """A type of event as it is published."""

    name: str
    kind: EventType
    schemas: Mapping[int, Schema]
    """JSON Schemas of the whole body by version: none that was ever sent is taken away."""

    @property
    def title(self) -> str:
        """What it tells, in a few words."""
        return str(self.schemas[self.kind.version]["title"])

    @property
    def description(self) -> str:
        """When it is sent, in a sentence or two."""
        return str(self.schemas[self.kind.version]["description"])

    @property
    def sample(self) -> Mapping[str, Any]:
        """A whole body of the version that is written now."""
        return self.schemas[self.kind.version]["examples"][0]

    def schema(self, version: int | None = None) -> Schema:
        """Give the schema of a *version*, the newest without one; `NotFound`."""
        found = self.schemas.get(self.kind.version if version is None else version)
        if found is None:
            raise NotFound(f"{self.name} has no version {version}")
        return found


@cache
def catalogue() -> Mapping[str, Entry]:
    """Read the catalogue, once; in the order of a call's life."""
    schemas: dict[str, dict[int, Schema]] = {}
    for file in files(__package__).joinpath("schemas").iterdir():
        name, version, _ = file.name.rsplit(".", 2)
        schemas.setdefault(name, {})[int(version)] = json.loads(file.read_text("utf-8"))
    return {
        name: Entry(name=name, kind=kind, schemas=dict(sorted(schemas[name].items())))
        for name, kind in EVENT_TYPES.items()
    }


def sample_data(name: str) -> dict[str, Any]:
    """Give the data of a type's sample, marked as one, for an event that has not happened; `NotFound`."""
    return {**entry(name).sample["data"], "sample": True}


def entry(name: str) -> Entry:
    """Give the entry of a type; `NotFound`."""
    found = catalogue().get(name)
    if found is None:
        raise NotFound(f"there is no event {name}: {', '.join(catalogue())}")
    return found
