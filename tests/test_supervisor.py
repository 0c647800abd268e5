"""The tree in the test's own process: the order of starting and stopping, signals, and services that fail."""

from __future__ import annotations

import os
import signal
import socket as stdlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from invorto import config
from invorto.errors import InvortoError, StartFailed, UsageError, first_of
from invorto.observability.logs import set_up_logs
from invorto.realtime.book import StoredBook
from invorto.realtime.live import LiveCalls
from invorto.resources import Resources
from invorto.storage import agents, calls, keys
from invorto.storage.postgres import Database
from invorto.supervisor import Stop, serve
from tests.journeys.house import BINARY, Reach, open_client, settings
from tests.journeys.processes import QUIET, rest

type Environ = Callable[..., dict[str, str]]


@pytest.fixture
def environ(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[Environ]:
    """Give the settings of a server on stores of this test's own, which sets up logs for the process."""
    yield partial(settings, postgres_url, redis_url, tmp_path, SCRIPTED_ENGINE='{"replies": ["Yes."]}')
    set_up_logs("info", "json")  # as they were


@attrs.define
class House:
    """A house that serves in this process, and how it ended."""

    resources: Resources
    stop: Stop
    at: Reach
    over: trio.Event
    code: int | None = None
    error: BaseException | None = None

    async def ended(self, seconds: float = 10) -> int | None:
        """Wait for the end; gives the exit code, or raises what was raised."""
        with trio.fail_after(seconds):
            await self.over.wait()
        if self.error is not None:
            raise self.error
        return self.code


@asynccontextmanager
async def serving(environ: Mapping[str, str]) -> AsyncGenerator[House]:
    """Serve as the command line does, signals and all; stopped at once when the block is left."""
    houses: list[House] = []
    over, begun = trio.Event(), trio.Event()

    async def ready(resources: Resources, addresses: list[tuple[str, int]], stop: Stop) -> None:
        _, key = await keys.create(resources.database, "t_default", "admin", "test")
        agent = await agents.create(resources.database, "t_default", name="desk", document=QUIET)
        at = Reach(port=addresses[0][1], key=key, agent_id=agent.id)
        houses.append(House(resources, stop, at, over))
        begun.set()

    async def body() -> None:
        code, error = None, None
        try:
            code = await serve(config.load(environ), frozenset({"api", "realtime"}), ready=ready)
        except Exception as raised:  # noqa: BLE001 - the test looks at it
            error = first_of(raised)
        for house in houses:
            house.code, house.error = code, error
        over.set()
        if not houses:
            begun.set()
            raise error or AssertionError(f"it ended with {code} before it served")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(body)
        with trio.fail_after(20):
            await begun.wait()
        if houses:
            yield houses[0]
            for _ in range(3):
                houses[0].stop.ask()


def tell(number: signal.Signals) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)


class Diary:
    """Services that do nothing but write down when."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.fails: dict[str, Callable[[], Awaitable[None]]] = {}
        self.early: dict[str, Exception] = {}

    def services(self, resources: Resources) -> dict[str, Any]:
        """Name two, and what a house needs besides."""
        return {
            "first": partial(self.run, "first"),
            "second": partial(self.run, "second"),
            "vad": resources.engines.vad.run,
        }

    async def run(self, name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, slowly."""
        await trio.sleep(0.01)
        if name in self.early:
            raise self.early[name]
        self.lines.append(f"{name} starts")
        task_status.started()
        try:
            await self.fails.get(name, trio.sleep_forever)()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            self.lines.append(f"{name} ends")


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    """Give a diary, kept by the services of the house."""
    kept = Diary()

    def services(resources: Resources) -> dict[str, Any]:
        return kept.services(resources)

    monkeypatch.setattr(Resources, "services", services)
    return kept


async def test_the_back_starts_first_and_stops_last(environ: Environ, diary: Diary) -> None:
    """Services start one after the other, then the door; a stop goes the other way, and the exit code is 0."""
    async with serving(environ()) as house:
        assert diary.lines == ["first starts", "second starts"]
        async with open_client(house.at, "c-1", start=BINARY) as client:
            await client.until("connected")
            tell(signal.SIGTERM)
            await client.send(t="end")
            assert (await client.until_closed())[0] == 1000
            assert "first ends" not in diary.lines
        assert await house.ended() == 0
    assert diary.lines == ["first starts", "second starts", "second ends", "first ends"]


@pytest.mark.parametrize("how", ["raises", "is away", "returns"])
async def test_a_service_that_ends_stops_the_house_in_order(environ: Environ, diary: Diary, how: str) -> None:
    """A service that fails while calls go on: they hear goodbye, the rest stops in order, the exit code is 1."""
    broken = trio.Event()

    async def fail() -> None:
        await broken.wait()
        if how == "raises":
            raise ZeroDivisionError
        if how == "is away":
            raise InvortoError("it is away")

    diary.fails["second"] = fail
    async with serving(environ(DRAIN_TIMEOUT="0.2")) as house:
        async with open_client(house.at, "c-1", start=BINARY) as client:
            await client.until("connected")
            broken.set()
            assert (await client.until("end"))["reason"] == "drained"
        with pytest.raises(StartFailed, match="second failed"):
            await house.ended()
    assert diary.lines[-1] == "first ends"


@pytest.mark.parametrize("error", [ZeroDivisionError(), InvortoError("it is away")], ids=["bug", "expected"])
async def test_a_service_that_does_not_start(environ: Environ, diary: Diary, error: Exception) -> None:
    """What keeps a service from starting keeps the house from serving, in a sentence; what had started ends."""
    diary.early["second"] = error
    said = "second does not start" if isinstance(error, ZeroDivisionError) else "it is away"
    with pytest.RaisesGroup(pytest.RaisesExc(InvortoError, match=said), flatten_subgroups=True):
        async with serving(environ()):
            raise AssertionError("it serves")
    assert diary.lines == ["first starts", "first ends"]


async def test_first_signal_waits_second_says_goodbye(environ: Environ) -> None:
    """With a live call SIGTERM waits, SIGINT then has it say goodbye; the goodbye is heard, the exit code is 0."""
    async with serving(environ(DRAIN_TIMEOUT="60")) as house, open_client(house.at, "c-1", start=BINARY) as client:
        await client.until("connected")
        await client.send(t="text", text="a table please")
        await client.until("tts.done")
        tell(signal.SIGTERM)
        await house.stop.asked.wait()
        await trio.sleep(0.3)
        assert house.resources.live.held == 1
        assert (await rest(house.at, "/health/ready")).body["code"] == "draining"
        heard = len(client.audio)
        began = trio.current_time()
        tell(signal.SIGINT)
        assert (await client.until("tts.done", 2))["heard"] == "Goodbye."
        assert (await client.until("end"))["reason"] == "drained"
        assert (await client.until_closed())[0] == 1000
        assert len(client.audio) > heard
        assert await house.ended() == 0
        assert trio.current_time() - began < 4


async def test_third_signal_cuts_the_goodbye(environ: Environ, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks a third time waits for no goodbye; what the call leaves is written all the same."""
    async with serving(environ(DRAIN_TIMEOUT="60")) as house, open_client(house.at, "c-1", start=BINARY) as client:
        await client.until("connected")
        monkeypatch.setattr(LiveCalls, "leave", lambda *_: None)  # a goodbye without end
        await client.send(t="text", text="a table please")
        await client.until("tts.done")
        began = trio.current_time()
        for _ in range(3):
            tell(signal.SIGTERM)
            await trio.sleep(0.1)
        assert (await client.until("end"))["reason"] == "drained"
        assert await house.ended() == 0
        assert trio.current_time() - began < 2


async def test_a_goodbye_without_end_is_cut(environ: Environ, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that does not leave when it is asked to keeps nobody: one signal is enough, and it is written down."""
    monkeypatch.setattr("invorto.supervisor.GOODBYE", 0.2)
    monkeypatch.setattr(LiveCalls, "leave", lambda *_: None)
    async with serving(environ(DRAIN_TIMEOUT="0.1")) as house, open_client(house.at, "c-1", start=BINARY) as client:
        await client.until("connected")
        tell(signal.SIGTERM)
        assert (await client.until("end"))["reason"] == "drained"
        assert await house.ended() == 0


async def test_a_call_in_the_middle_of_its_setup_is_not_lost(
    environ: Environ, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose row was just written when the house is cut is ended in the ledger: no row stays active for ever."""
    begin, reached = StoredBook.begin, trio.Event()

    async def slow(self: StoredBook, *args: Any, **more: Any) -> Any:
        call = await begin(self, *args, **more)
        reached.set()
        await trio.sleep(1)
        return call

    monkeypatch.setattr(StoredBook, "begin", slow)
    async with serving(environ()) as house:
        async with open_client(house.at, "c-1", start=BINARY) as client:
            await reached.wait()
            for _ in range(3):
                house.stop.ask()
            assert (await client.until_closed())[0] in {1000, 1001}
        assert await house.ended() == 0
    row = await calls.get(database, "t_default", "c-1")
    assert (row.status, row.end_reason) == ("completed", "drained")


@pytest.fixture
def terminal() -> Iterator[None]:
    """Take the signal of a closed terminal as a terminal's programs do, though the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_during_the_start_ends_it(environ: Environ, number: signal.Signals) -> None:
    """Whoever changes their mind while it starts gets their prompt back, and exit code 130."""

    async def prepare(_: object, loaded: config.Config) -> config.Config:
        tell(number)
        await trio.sleep(10)
        return loaded

    with trio.fail_after(5):
        assert await serve(config.load(environ()), prepare=prepare) == 130


async def test_a_second_server_is_told_that_the_port_is_taken(environ: Environ) -> None:
    """The port is looked at before anything else is opened."""

    async def prepare(_: object, loaded: config.Config) -> config.Config:
        raise AssertionError("it went on")

    async with serving(environ()) as house:
        told = f"port {house.at.port} on 127.0.0.1 is taken: stop what listens there, or set API_PORT"
        with pytest.RaisesGroup(pytest.RaisesExc(UsageError, match=told), flatten_subgroups=True):
            await serve(config.load(environ(API_PORT=str(house.at.port))), prepare=prepare)


async def test_a_second_port_for_sockets_alone(environ: Environ) -> None:
    """REALTIME_PORT takes calls as the first port does, and no HTTP."""
    with stdlib.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with serving(environ(REALTIME_PORT=str(port))) as house:
        second = attrs.evolve(house.at, port=port)
        async with open_client(second, "c-1", start=BINARY) as client:
            await client.until("connected")
            assert (await rest(second, "/health")).status == 404
            assert (await rest(house.at, "/health")).status == 200
            tell(signal.SIGTERM)
            await house.stop.asked.wait()
            async with open_client(second, "c-2", start=BINARY) as late:
                assert await late.until_closed() == (1001, "draining")
            await client.send(t="end")
        assert await house.ended() == 0
