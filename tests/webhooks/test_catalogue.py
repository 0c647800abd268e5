"""The catalogue: what is published is well formed, whole, and kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from invorto.errors import NotFound
from invorto.model.facts import EVENT_TYPES, make_fact
from invorto.model.ids import moment_of, new_id
from invorto.webhooks import catalogue
from invorto.webhooks.envelope import body
from tests.webhooks.judge import closed, faults

TYPES = (
    "call.started", "call.ringing", "call.answered", "stt.final", "agent.tool_call", "call.ended", "agent.summary",
    "call.recording.ready", "billing.usage.updated", "qa.flags", "campaign.started", "campaign.paused",
    "campaign.completed", "webhook.endpoint.disabled", "webhook.message.exhausted", "webhook.message.recovered",
    "webhook.test",
)  # fmt: skip


def test_every_type_is_there() -> None:
    """The catalogue has every type that the product promises, each with all versions up to the one written now."""
    assert set(catalogue.catalogue()) == set(TYPES) == set(EVENT_TYPES)
    for entry in catalogue.catalogue().values():
        assert list(entry.schemas) == list(range(1, entry.kind.version + 1))
    shipped = [file.name for file in files("invorto.webhooks").joinpath("schemas").iterdir()]
    assert len(shipped) == sum(len(entry.schemas) for entry in catalogue.catalogue().values())


@pytest.mark.parametrize("name", TYPES)
def test_schemas_are_well_formed(name: str) -> None:
    """Each schema is a JSON Schema, named for its type and version, says what it is, and its samples fit it."""
    entry = catalogue.entry(name)
    assert entry.sample == entry.schema()["examples"][0]
    assert (entry.title, entry.description) == (entry.schema()["title"], entry.schema()["description"])
    for version, schema in entry.schemas.items():
        Draft202012Validator.check_schema(schema)
        assert schema["$id"] == f"urn:invorto:event:{name}:{version}"
        assert schema["title"]
        assert schema["description"].endswith(".")
        assert schema["properties"]["type"] == {"const": name}
        data = schema["properties"]["data"]
        assert {"eventId", "schemaVersion", "tenantId", "callId", "seq"} <= set(data["required"])
        assert data["properties"]["schemaVersion"]["const"] == version
        about = EVENT_TYPES[name].about
        assert data["properties"]["callId"]["type"] == ("string" if about == "call" else "null")
        for sample in schema["examples"]:
            assert not faults(sample)
            assert not faults({**sample, "data": catalogue.sample_data(name)})


def test_each_type_belongs_to_one_transition() -> None:
    """No two types tell of the same change of the same thing: nobody hears one fact twice."""
    changes = [(kind.about, kind.transition, kind.written) for kind in EVENT_TYPES.values()]
    ends = [change for change in changes if change[0] == "call"]
    assert len(set(ends)) == len(ends)


def test_unknown_types_and_versions() -> None:
    """What is not in the catalogue is not found, and cannot be emitted."""
    with pytest.raises(NotFound, match="campaign"):
        catalogue.entry("call.end")
    with pytest.raises(NotFound, match="no version 7"):
        catalogue.entry("call.ended").schema(7)
    with pytest.raises(KeyError):
        make_fact("call.end", {})


def test_a_fault_is_found() -> None:
    """The judge of these tests sees what is missing, of a wrong type, and what no schema names."""
    sample = json.loads(json.dumps(catalogue.entry("call.ended").sample))
    del sample["data"]["duration"]
    sample["data"]["costInr"] = 1.27
    sample["data"]["epoch"] = 7
    assert len(faults(sample)) == 3
    assert closed({"type": "object"}) == {"type": "object"}


def test_a_body() -> None:
    """A row becomes the same bytes each time, named and timed; no field of its data hides that."""
    fact = make_fact("qa.flags", {"flags": ["toxicity"], "turn": 1, "ts": 2.5, "evidence": "x", "tenantId": "t_evil"})
    written = datetime(2030, 1, 2, 3, 4, 5, 678_000, UTC)
    made = [
        body(
            type_=fact.type, event_id=fact.event_id, tenant_id="t_1", call_id="c_1", seq=4, data=fact.data,
            written_at=written,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert made[0] == made[1]
    whole = json.loads(made[0])
    assert list(whole["data"])[:5] == ["eventId", "schemaVersion", "tenantId", "callId", "seq"]
    assert (whole["data"]["eventId"], whole["data"]["tenantId"], whole["data"]["seq"]) == (fact.event_id, "t_1", 4)
    happened = moment_of(fact.event_id)
    assert happened is not None
    assert whole["timestamp"] == happened.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert not faults(whole)


def test_when_an_id_was_made() -> None:
    """Our ids tell when they were made; of others nothing is believed, and the row's time stands in."""
    assert abs((datetime.now(UTC) - (moment_of(new_id("evt")) or datetime.min.replace(tzinfo=UTC))).total_seconds()) < 5
    assert moment_of("evt_1") is None
    whole = body(
        type_="webhook.test", event_id="evt_1", tenant_id="t_1", call_id=None, seq=None, data={"message": "x"},
        written_at=datetime(2030, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    assert json.loads(whole)["timestamp"] == "2030-01-02T00:00:00.000Z"
