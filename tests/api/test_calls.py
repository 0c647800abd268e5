"""Calls over REST: listed, read, with their words, their timeline and their sound."""

from __future__ import annotations

from datetime import timedelta

import trio

from invorto.model.agent import Agent
from invorto.model.call import Call, CallStatus, Direction
from invorto.model.ids import new_id
from invorto.storage import agents, ledger_rows
from invorto.storage.fakes import FakeRedis
from invorto.storage.tenants import DEFAULT_TENANT
from tests.api.world import World, event
from tests.storage.nouns import BEGAN, a_call, an_agent, finished


async def agent(world: World) -> Agent:
    """Give an agent of the default tenant, with a name of its own."""
    return await an_agent(world.database, name=new_id("m"))


async def over(world: World, call: Call, **fields: object) -> None:
    """End a call as the ledger does."""
    assert await ledger_rows.write(world.database, finished(call, **fields))


async def test_a_call_that_is_over(world: World) -> None:
    """One answer has all that is kept of a call, and says where the rest is."""
    call = await a_call(world.database, await agent(world), metadata={"order": 7}, from_="+911234")
    await over(world, call)
    told = (await world.ask("GET", f"/v1/calls/{call.id}", key="analyst")).json
    assert (told["id"], told["status"], told["endReason"], told["duration"]) == (call.id, "completed", "hangup", 61.5)
    assert (told["from"], told["metadata"], told["direction"]) == ("+911234", {"order": 7}, "web")
    assert told["costInr"] == "0.55"
    assert told["costs"][0] == {
        "kind": "stt", "provider": "local", "quantity": "1.025", "unit": "minutes", "inr": "0.4350",
    }  # fmt: skip
    assert told["summary"]["nextSteps"] == ["call back"]
    assert told["metrics"][1]["voiceToVoiceMs"] == 412.0
    assert told["agentConfig"] == {"prompt": "You are kind."}
    assert told["consent"] == {"asked": True, "given": True}
    assert told["startedAt"] == "2026-03-01T09:30:00.000Z"
    assert told["live"] is False
    assert told["recordingUrl"] == f"/v1/calls/{call.id}/recording"
    assert "epoch" not in told
    assert "nodeId" not in told


async def test_a_call_that_lives(world: World) -> None:
    """A call that goes on is told as such, with nothing that is not there yet."""
    call = await a_call(world.database, await agent(world))
    told = (await world.ask("GET", f"/v1/calls/{call.id}")).json
    assert (told["status"], told["costs"], told["summary"], told["recordingUrl"]) == ("created", [], None, None)
    assert (await world.ask("GET", f"/v1/calls/{call.id}/transcript")).json == {"callId": call.id, "transcript": []}
    assert (await world.ask("GET", f"/v1/calls/{call.id}/recording")).status == 404


async def test_transcript(world: World) -> None:
    """The transcript has who said what, when, and what was not heard."""
    call = await a_call(world.database, await agent(world))
    await over(world, call)
    said = (await world.ask("GET", f"/v1/calls/{call.id}/transcript")).json["transcript"]
    assert [(one["role"], one["text"]) for one in said] == [
        ("assistant", "Hello, how can I help?"), ("user", "Book “नमस्ते” 🙂"), ("assistant", "Sure, for"),
    ]  # fmt: skip
    assert (said[2]["interrupted"], said[2]["heardBy"], said[2]["unheard"]) == (True, "timed", "when?")


async def test_list_of_calls(world: World) -> None:
    """Calls are filtered, searched, sorted and paged."""
    desk = await agent(world)
    other = await agents.create(world.database, DEFAULT_TENANT, name="Other", document={})
    for number in range(4):
        await a_call(
            world.database, desk if number else other, id=f"call-{number}", created_at=BEGAN + timedelta(days=number),
            direction=Direction.OUTBOUND if number == 3 else Direction.WEB, to=f"+9198{number}",
        )  # fmt: skip
    await over(world, await a_call(world.database, desk, id="done"))

    async def ids(query: str) -> list[str]:
        listed = await world.ask("GET", f"/v1/calls?sortBy=createdAt&sortOrder=asc&{query}")
        assert listed.status == 200, listed.data
        return [call["id"] for call in listed.json["data"]]

    assert await ids("direction=outbound") == ["call-3"]
    assert await ids(f"agentId={other.id}") == ["call-0"]
    assert await ids("status=completed") == ["done"]
    assert await ids("search=%2B91982") == ["call-2"]
    assert await ids("from=2026-03-02&to=2026-03-03") == ["call-1", "call-2"]
    assert await ids("from=2026-03-02T15:00:00+05:30&to=2026-03-03T09:30:00Z") == ["call-1"]
    assert await ids("from=2026-03-04&limit=1") == ["call-3"]
    page = (await world.ask("GET", "/v1/calls?limit=2&page=2")).json["pagination"]
    assert (page["page"], page["limit"], page["total"], page["pages"]) == (2, 2, 5, 3)
    assert (await world.ask("GET", "/v1/calls", key="other")).json["data"] == []


FILTERS = [
    ("status=over", "$.status"), ("direction=up", "$.direction"), ("from=yesterday", "$.from"), ("to=5", "$.to"),
    ("from=9999-12-31T23:59:59-14:00", "$.from"), ("sortBy=cost", "$.sortBy"), ("agentId=" + "x" * 65, "$.agentId"),
    ("nodeId=n_1", "$.nodeId"), ("search=%00", "$.search"),
]  # fmt: skip


async def test_bad_filters(world: World) -> None:
    """A filter that means nothing is told, since a list that ignores it would be wrong."""
    for query, path in FILTERS:
        refused = await world.ask("GET", f"/v1/calls?{query}")
        assert (refused.status, [fault[0] for fault in refused.faults]) == (422, [path]), query


async def test_the_last_day_there_is(world: World) -> None:
    """A day at the end of time is a day like any other, not a crash."""
    assert (await world.ask("GET", "/v1/calls?to=9999-12-31")).status in {200, 422}
    assert (await world.ask("GET", "/v1/calls?from=0001-01-01")).status == 200


async def test_another_tenants_call_is_not_there(world: World) -> None:
    """Another tenant's call is 404 on every route, exactly like one that never was."""
    call = await a_call(world.database, await agent(world))
    await over(world, call)
    for rest in ("", "/timeline", "/transcript", "/recording"):
        refused = await world.ask("GET", f"/v1/calls/{call.id}{rest}", key="other")
        nobody = await world.ask("GET", f"/v1/calls/c_nobody{rest}", key="other")
        assert (refused.status, nobody.status) == (404, 404)
        assert refused.json["message"].replace(call.id, "") == nobody.json["message"].replace("c_nobody", "")


# -- timeline -------------------------------------------------------------------------------------


async def test_timeline_by_pages(world: World) -> None:
    """A live timeline is read in order, forwards and backwards over several pages, and `next` ends with it."""
    call = await a_call(world.database, await agent(world))
    await world.happen(call.id, *(event(number, text=str(number)) for number in range(7)))
    path = f"/v1/calls/{call.id}/timeline"
    first = (await world.ask("GET", path)).json
    assert first["callId"] == call.id
    assert first["timeline"][0] == {
        "id": "1772357400000-0", "kind": "stt.final", "payload": {"text": "0"}, "timestamp": 1772357400000,
    }  # fmt: skip
    seen, following = [len(first["timeline"])], first["next"]
    while following:
        page = (await world.ask("GET", f"{path}?after={following}")).json
        seen.append(len(page["timeline"]))
        following = page["next"]
    assert seen == [3, 3, 1]
    back = (await world.ask("GET", f"{path}?before=1772357400006-0&count=4")).json
    assert [one["payload"]["text"] for one in back["timeline"]] == ["2", "3", "4", "5"]
    rest = (await world.ask("GET", f"{path}?before={back['next']}&count=4")).json
    assert ([one["payload"]["text"] for one in rest["timeline"]], rest["next"]) == (["0", "1"], None)
    assert len((await world.ask("GET", f"{path}?count=100")).json["timeline"]) == 5
    full = (await world.ask("GET", f"{path}?after=1772357400003-0&count=3")).json
    assert (len(full["timeline"]), full["next"]) == (3, None)
    between = (await world.ask("GET", f"{path}?after=1772357400001-0&before=1772357400004-0")).json
    assert [one["payload"]["text"] for one in between["timeline"]] == ["2", "3"]


async def test_timeline_by_kind(world: World) -> None:
    """Only the kinds that are asked for come, by comma or by repeating."""
    call = await a_call(world.database, await agent(world))
    await world.happen(call.id, event(1, "call.started"), event(2), event(3, "tool.called"), event(4))
    path = f"/v1/calls/{call.id}/timeline"
    for query in ("kind=call.started,tool.called", "kind=call.started&kind=tool.called"):
        found = (await world.ask("GET", f"{path}?{query}")).json["timeline"]
        assert [one["kind"] for one in found] == ["call.started", "tool.called"]
    assert (await world.ask("GET", f"{path}?kind=nothing")).json["timeline"] == []


async def test_an_empty_timeline(world: World) -> None:
    """A call of which nothing was told yet has an empty timeline."""
    call = await a_call(world.database, await agent(world))
    answered = await world.ask("GET", f"/v1/calls/{call.id}/timeline")
    assert answered.json == {"callId": call.id, "timeline": [], "next": None}


CURSORS = [
    ("after=x", "$.after"), ("before=1-", "$.before"), ("after=%00", "$.after"), ("after=-1-0", "$.after"),
    (f"after={2**64}-0", "$.after"), ("after=5-0&before=4-0", "$.before"), ("count=0", "$.count"),
    ("count=-5", "$.count"), ("count=x", "$.count"), ("count=1.5", "$.count"), ("after=1-0&after=2-0", "$.after"),
    ("kind=" + "x" * 65, "$.kind"), ("kind=%00", "$.kind[0]"), ("limit=5", "$.limit"),
]  # fmt: skip


async def test_bad_cursors(world: World) -> None:
    """A cursor that is none is told, whether the call lives or is over."""
    live, done = await a_call(world.database, await agent(world)), await a_call(world.database, await agent(world))
    await over(world, done)
    for call in (live, done):
        for query, path in CURSORS:
            refused = await world.ask("GET", f"/v1/calls/{call.id}/timeline?{query}")
            assert (refused.status, [fault[0] for fault in refused.faults]) == (422, [path]), query


async def test_a_timeline_outlives_redis(world: World) -> None:
    """When Redis has let go of a finished call, the same pages come from PostgreSQL."""
    call = await a_call(world.database, await agent(world))
    path = f"/v1/calls/{call.id}/timeline"
    whole = finished(call).timeline
    await world.happen(call.id, *whole)
    await over(world, call)
    queries = ("", "?count=1", "?after=1772357400000-0", "?before=1772357461500-0&count=1", "?kind=stt.final",
               f"?after={2**64 - 1}-0", f"?before={2**64 - 1}-{2**64 - 1}&count=1")  # fmt: skip
    before = [(await world.ask("GET", path + query)).json for query in queries]
    assert len(before[0]["timeline"]) == 3
    await world.redis.call("DEL", f"events:{call.id}")
    assert [(await world.ask("GET", path + query)).json for query in queries] == before


async def test_redis_away(shaky: World) -> None:
    """While Redis is away a live timeline is 503, a finished one comes from PostgreSQL, all else works."""
    assert isinstance(shaky.redis, FakeRedis)
    live = await a_call(shaky.database, desk := await agent(shaky))
    done = await a_call(shaky.database, desk)
    await over(shaky, done)
    shaky.redis.away = True
    refused = await shaky.ask("GET", f"/v1/calls/{live.id}/timeline")
    assert (refused.status, refused.json["code"]) == (503, "store_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert len((await shaky.ask("GET", f"/v1/calls/{done.id}/timeline")).json["timeline"]) == 3
    assert (await shaky.ask("GET", f"/v1/calls/{live.id}")).status == 200
    assert (await shaky.ask("POST", "/v1/agents", {"name": "Other"})).status == 201
    shaky.redis.away = False
    assert (await shaky.ask("GET", f"/v1/calls/{live.id}/timeline")).status == 200


# -- recording ------------------------------------------------------------------------------------

SOUND = bytes(range(256)) * 1000


async def recorded(world: World, kept: str = "2026/03/x.wav") -> str:
    """Give a finished call with a recording; its path."""
    call = await a_call(world.database, await agent(world))
    await over(world, call, recording=kept)
    file = trio.Path(world.deps.recordings, "2026/03/x.wav")
    await file.parent.mkdir(parents=True, exist_ok=True)
    await file.write_bytes(SOUND)
    return f"/v1/calls/{call.id}/recording"


async def test_recording(world: World) -> None:
    """A recording comes whole, with its type, its length and a name to save it under."""
    path = await recorded(world)
    answered = await world.ask("GET", path, key="analyst")
    assert (answered.status, answered.data) == (200, SOUND)
    assert answered.headers["Content-Type"] == "audio/wav"
    assert answered.headers["Content-Length"] == str(len(SOUND))
    assert answered.headers["Content-Disposition"].endswith('.wav"')
    assert (await world.ask("HEAD", path)).data == b""


RANGES = [
    ("bytes=0-9", 206, SOUND[:10]), ("bytes=100-", 206, SOUND[100:]), ("bytes=-7", 206, SOUND[-7:]),
    ("bytes=255999-999999", 206, SOUND[-1:]), ("bytes=-999999", 206, SOUND), ("bytes=256000-", 416, None),
    ("bytes=0-0", 206, SOUND[:1]), ("bytes=0-1,5-6", 200, SOUND), ("lines=0-5", 200, SOUND), ("bytes=9-0", 200, SOUND),
    ("bytes=x", 200, SOUND), ("", 200, SOUND), ("bytes=" + "9" * 30 + "-", 416, None),
]  # fmt: skip


async def test_ranges(world: World) -> None:
    """A player may ask for any part of a recording, and jump."""
    path = await recorded(world)
    for asked, status, data in RANGES:
        answered = await world.ask("GET", path, headers={"Range": asked})
        assert answered.status == status, asked
        if data is None:
            assert answered.json["code"] == "range_not_satisfiable"
            continue
        assert answered.data == data, asked
        assert ("Content-Range" in answered.headers) is (status == 206)


async def test_only_recordings_are_recordings(world: World) -> None:
    """Whatever a row says, nothing outside the recordings' folder is given out; what is gone is 404."""
    for kept in ("../../etc/passwd", "/etc/passwd", "2026/../../x.wav", "file:///etc/passwd", "gone.wav", "", "."):
        refused = await world.ask("GET", await recorded(world, kept))
        assert (refused.status, refused.json["code"]) == (404, "not_found"), kept
        assert b"passwd" not in refused.data


async def test_a_recording_elsewhere(world: World) -> None:
    """A recording in a bucket is not read from here, and the answer says so."""
    refused = await world.ask("GET", await recorded(world, "s3://bucket/x.wav"))
    assert (refused.status, refused.json["code"]) == (409, "not_supported")


async def test_statuses_are_the_tables(world: World) -> None:
    """Every state of the table of calls is a filter."""
    for status in CallStatus:
        assert (await world.ask("GET", f"/v1/calls?status={status}")).status == 200
