"""What keeps a server from starting is a sentence, and what goes wrong in one call or connection stays there."""

from __future__ import annotations

import os
import random
import signal
import socket as stdlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import structlog
import trio

from invorto.api.health import Checkup
from invorto.realtime import call as call_module
from invorto.realtime.livecall import LiveCall
from invorto.realtime.reception import Reception
from invorto.realtime.web import WebLine
from invorto.speech.ports import Prompt
from invorto.speech.scripted import ScriptedLlm, ScriptedTts
from invorto.storage import agents, calls
from invorto.storage.ledger import Ledger
from tests.journeys.house import BINARY, SCRIPTED, Client, Reach, Server, open_client, open_server, settings
from tests.journeys.processes import alive, all_gone, reach, rest, running
from tests.wire.peers import HANDSHAKE, until_end

BRIEF = '{"replies": ["Yes."]}'
GREETS = {"greeting": "Hello.", "recording": {"enabled": False}}

# -- starting and stopping a process --------------------------------------------------------------


@contextmanager
def taken() -> Iterator[int]:
    """Give a port on which somebody listens who never says a word."""
    with stdlib.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@attrs.frozen
class Mistake:
    """What an operator may do wrong, and what they are told."""

    wrong: dict[str, str]
    told: str


async def test_what_keeps_it_from_starting_is_a_sentence(
    loop: None, postgres_url: str, bare_postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Each mistake of an operator is one sentence that names the setting and what to do, and exit code 2."""
    (tmp_path / "file").write_text("")
    good = settings(postgres_url, redis_url, tmp_path / "data")
    password = "s3cret-word"
    with taken() as port:
        mistakes = {
            "nothing": Mistake({"DB_URL": "", "REDIS_URL": ""}, "DB_URL and REDIS_URL must be set; `invorto dev`"),
            "postgres": Mistake({"DB_URL": f"postgres://me:{password}@127.0.0.1:1/x"}, "does DB_URL lead to it?"),
            "redis": Mistake({"REDIS_URL": f"redis://:{password}@127.0.0.1:1"}, "does REDIS_URL lead to it?"),
            "schema": Mistake({"DB_URL": bare_postgres_url}, "run `invorto migrate`"),
            "engine": Mistake({"TTS_PROVIDER": "parrot"}, "no tts engine called 'parrot'; installed: "),
            "setting": Mistake({"INVORTO_COLOUR": "red"}, "INVORTO_COLOUR: unknown setting"),
            "port": Mistake({"API_PORT": str(port)}, f"port {port} on 127.0.0.1 is taken: stop what listens there, or"),
            "host": Mistake({"BIND_HOST": "203.0.113.1"}, "BIND_HOST 203.0.113.1 is no address of this machine"),
            "folder": Mistake({"DATA_DIR": str(tmp_path / "file")}, "choose another folder with DATA_DIR"),
            "script": Mistake({"SCRIPTED_ENGINE": "{"}, "SCRIPTED_ENGINE is wrong"),
        }
        two = trio.CapacityLimiter(2)
        outcomes: dict[str, tuple[int, str]] = {}

        async def try_it(name: str, mistake: Mistake) -> None:
            async with two, running("serve", folder=tmp_path / name, environ=good | mistake.wrong) as process:
                outcomes[name] = await process.ended(30), process.said

        async with trio.open_nursery() as nursery:
            for name, mistake in mistakes.items():
                nursery.start_soon(try_it, name, mistake)
    for name, mistake in mistakes.items():
        code, said = outcomes[name]
        assert (name, code, "Traceback" in said, password in said) == (name, 2, False, False), said
        (sentence,) = [line for line in said.splitlines() if not line.startswith("{")][:1]
        assert sentence.startswith("invorto: "), said
        assert mistake.told in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_waits_for_a_store(redis_url: str, tmp_path: Path, number: signal.Signals) -> None:
    """A start that waits for a store which does not answer is ended by a signal at once: 130, and not a word."""
    with stdlib.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        environ = settings(f"postgres://me@127.0.0.1:{port}/x", redis_url, tmp_path / "data")
        async with running("serve", folder=tmp_path, environ=environ) as process:
            with trio.fail_after(30):
                client, _ = await trio.to_thread.run_sync(silent.accept)
            began = trio.current_time()
            with client:
                process.tell(number)
                assert await process.ended() == 130
        assert trio.current_time() - began < 2
        assert "Traceback" not in process.said


async def test_workers_share_the_work(database: Any, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """With two workers both take calls; one that dies is replaced; Ctrl-C ends all of them, code 0."""
    environ = settings(postgres_url, redis_url, tmp_path / "data", LOG_LEVEL="info", API_PORT="0")
    async with running("serve", "--workers", "2", folder=tmp_path, environ=environ) as parent:
        await parent.until("ready", 2)
        port = await parent.port()
        assert {event["addresses"][0] for event in parent.events("ready")} == {f"127.0.0.1:{port}"}
        at = await reach(port, database)
        assert len(await nodes_of(at, database, 16)) == 2

        first = parent.events("worker_started")[0]["pid"]
        next(child for child in parent.family() if child.pid == first).kill()
        await parent.until("worker_died")
        await parent.until("ready", 3)
        began = trio.current_time()
        assert len(parent.family()) == 2
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        assert await parent.ended() == 0
        assert [event["second"] for event in parent.events("signal")] == [False] * 3
        print(f"two idle workers ended in {trio.current_time() - began:.2f} s")
        assert not [line for line in parent.complaints() if "worker_died" not in line]


async def nodes_of(at: Reach, database: Any, count: int) -> set[str]:
    """Hold some calls at once; give the nodes that had them."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            await nursery.start(_hold, at, f"c-{number}")
        nursery.cancel_scope.cancel()
    async with database.tenant(at.tenant_id) as work:
        return {row["node_id"] for row in await work.fetch("SELECT node_id FROM calls")}


async def _hold(at: Reach, call_id: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with open_client(at, call_id, start=BINARY) as client:
        await client.until("connected")
        task_status.started()
        await trio.sleep_forever()


async def test_workers_die_with_their_parent(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Nobody is left behind by `kill -9` of the parent; a second server on its port is refused before that."""
    environ = settings(postgres_url, redis_url, tmp_path / "data", LOG_LEVEL="info", API_PORT="0")
    async with running("serve", "--workers", "2", folder=tmp_path, environ=environ) as parent:
        await parent.until("ready", 2)
        family = parent.family()
        again = environ | {"API_PORT": str(await parent.port())}
        async with running("serve", "--workers", "2", folder=tmp_path / "2", environ=again) as second:
            assert await second.ended() == 2
            assert "is taken" in second.said
        assert len(family) == 2
        parent.tell(signal.SIGKILL)
        assert await parent.ended() == -signal.SIGKILL
        await all_gone(family)


async def test_a_stuck_worker_does_not_keep_its_parent(
    loop: None, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A worker that does not end though all its deadlines are over is killed: the exit code tells, nobody is left."""
    impatient = "import invorto.workers as w; w.STUBBORN = 1.0; from invorto.cli import main; main()"
    environ = settings(postgres_url, redis_url, tmp_path / "data", LOG_LEVEL="info", DRAIN_TIMEOUT="0")
    async with running(
        "serve", "--workers", "2", folder=tmp_path, environ=environ, program=("-c", impatient)
    ) as parent:
        await parent.until("ready", 2)
        family = parent.family()
        family[0].suspend()
        parent.tell()
        assert await parent.ended() == 128 + signal.SIGKILL
        assert not any(map(alive, family))


async def test_workers_that_cannot_start_say_why_once(tmp_path: Path) -> None:
    """What keeps the first worker from serving keeps all: one sentence, its exit code, and no second try."""
    async with running("serve", "--workers", "3", folder=tmp_path, environ={**SCRIPTED, "API_PORT": "0"}) as parent:
        assert await parent.ended() == 2
    assert parent.said.count("must be set") == 1


# -- one call's trouble, one connection's trouble -------------------------------------------------

type Break = Callable[[pytest.MonkeyPatch], None]


def in_the_mind(patch: pytest.MonkeyPatch) -> None:
    real = ScriptedLlm.answer

    def answer(self: ScriptedLlm, prompt: Prompt) -> Any:
        if prompt.call_id.startswith("bad"):
            raise ZeroDivisionError
        return real(self, prompt)

    patch.setattr(ScriptedLlm, "answer", answer)


def in_the_voice(patch: pytest.MonkeyPatch) -> None:
    real = ScriptedTts.say

    @asynccontextmanager
    async def say(self: ScriptedTts, text: str, voice: Any, rate: int) -> AsyncGenerator[Any]:
        async with real(self, text, voice, rate) as speech:
            yield _Torn(speech) if text == "Boom." else speech

    patch.setattr(ScriptedTts, "say", say)


class _Torn:
    """Speech that ends in an error no engine should raise."""

    def __init__(self, speech: Any) -> None:
        self._speech, self._said = speech, False

    def __aiter__(self) -> _Torn:
        return self

    async def __anext__(self) -> Any:
        if self._said:
            raise ZeroDivisionError
        self._said = True
        return await anext(self._speech)


def in_the_line(patch: pytest.MonkeyPatch) -> None:
    real = cast("Any", WebLine.receive)

    async def receive(self: WebLine, *args: Any) -> Any:
        inbound = await real(self, *args)
        if self.begun and self.handshake.call_id.startswith("bad"):
            raise ZeroDivisionError
        return inbound

    patch.setattr(WebLine, "receive", receive)


def in_the_welcome(patch: pytest.MonkeyPatch) -> None:
    real = cast("Any", WebLine.of)

    def of(_: Any, socket: Any, admission: Any, *rest: Any) -> Any:
        if admission.handshake.call_id.startswith("bad"):
            raise ZeroDivisionError
        return real(socket, admission, *rest)

    patch.setattr(WebLine, "of", classmethod(of))


def in_a_message(patch: pytest.MonkeyPatch) -> None:
    real = LiveCall._take

    async def take(self: LiveCall, message: Any, line: Any) -> None:
        await real(self, message, line)
        if self.id.startswith("bad"):
            raise ZeroDivisionError

    patch.setattr(LiveCall, "_take", take)


def in_the_record(patch: pytest.MonkeyPatch) -> None:
    real = call_module.finished

    def finished(call: Any, *args: Any, **more: Any) -> Any:
        if call.id.startswith("bad") and more["conversation"] is not None:
            raise ZeroDivisionError
        return real(call, *args, **more)

    patch.setattr(call_module, "finished", finished)


def in_the_ledger(patch: pytest.MonkeyPatch) -> None:
    real = Ledger.finish

    async def finish(self: Ledger, finished: Any) -> None:
        if finished.call_id.startswith("bad"):
            raise ZeroDivisionError
        await real(self, finished)

    patch.setattr(Ledger, "finish", finish)


def in_the_reception(patch: pytest.MonkeyPatch) -> None:
    real = Reception._admit

    async def admit(self: Reception, request: Any, socket: Any) -> Any:
        if "bad" in request.target:
            raise ZeroDivisionError
        return await real(self, request, socket)

    patch.setattr(Reception, "_admit", admit)


FAULTS: dict[Break, tuple[str, str] | None] = {
    in_the_mind: ("failed", "error"),
    in_the_voice: ("failed", "error"),
    in_the_line: ("failed", "error"),
    in_the_welcome: ("failed", "error"),
    in_a_message: ("failed", "error"),
    in_the_record: ("completed", "hangup"),
    in_the_ledger: ("active", ""),
    in_the_reception: None,
}
"""Where one call breaks, and what its row says in the end; None: it has none."""


@pytest.fixture
def environ(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """Give the settings of a server whose agents are brief."""
    return settings(postgres_url, redis_url, tmp_path, SCRIPTED_ENGINE=BRIEF, LOG_LEVEL="error")


async def asked(client: Client) -> None:
    """See that a call goes on: ask, and be answered."""
    done = sum(event["t"] == "tts.done" for event in client.events)
    await client.send(t="text", text="are you there?")
    assert (await client.until("tts.done", done + 1))["heard"] == "Yes."


async def test_a_crash_in_one_call_hurts_no_other(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that strikes one call, wherever it does, ends that call as failed; the one beside it goes on."""
    async with open_server(environ, GREETS) as server:
        database, tenant = server.resources.database, server.tenant_id
        boom = await agents.create(database, tenant, name="boom", document={**GREETS, "greeting": "Boom."})
        async with open_client(server, "good", start=BINARY) as good:
            await good.until("tts.done")
            for number, (fault, ends) in enumerate(FAULTS.items()):
                with monkeypatch.context() as patch:
                    fault(patch)
                    at = attrs.evolve(server, agent_id=boom.id) if fault is in_the_voice else server
                    async with open_client(at, f"bad-{number}") as bad:
                        with suppress(Exception):
                            await bad.send(t="start", **BINARY)
                            if fault is not in_the_voice:  # it would be silenced before it breaks
                                await bad.send(t="text", text="a table please")
                        if fault in {in_the_record, in_the_ledger}:
                            await bad.until("tts.done")
                            await bad.send(t="end")
                        code, _ = await bad.until_closed()
                    assert code == (1011 if fault in {in_the_welcome, in_the_reception} else 1000), fault
                    await asked(good)
                    with trio.fail_after(5):
                        while server.resources.live.held > 1:
                            await trio.sleep(0.01)
                if ends is not None:
                    row = await calls.get(database, tenant, f"bad-{number}")
                    assert (fault, row.status, row.end_reason or "") == (fault, *ends)
            assert good.closed is None
            await good.send(t="end")
            assert (await good.until_closed())[0] == 1000
        with trio.fail_after(5):
            await server.resources.live.wait_empty()
        assert (await calls.get(database, tenant, "good")).status == "completed"


GARBAGE = (
    b"\0",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET",
    b"GET / HTTP/1.1\r\n\r\n\r\n",
    HANDSHAKE + b"x",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nshort",
    b"POST /v1/agents HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\nX-Api-Key: x\r\n\r\n{",
    b"POST /v1/agents HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)


@pytest.fixture
def chance() -> random.Random:
    """Give a source of chance whose seed a failed run shows."""
    seed = random.randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


async def test_garbage_and_bugs_at_the_door_hurt_no_call(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, chance: random.Random
) -> None:
    """Stray bytes, broken heads, resets, a bug in a request or a connection end where they came; calls go on."""
    async with open_server(environ, GREETS) as server:
        async with open_client(server, "good", start=BINARY) as good:
            await good.until("tts.done")
            noise = [chance.randbytes(chance.randrange(1, 5000)) for _ in range(40)]
            with structlog.testing.capture_logs() as logs:
                async with trio.open_nursery() as nursery:
                    for data in (*GARBAGE * 5, *noise):
                        nursery.start_soon(partial(knock, server, data, reset=chance.random() < 0.3))
            assert not [line for line in logs if line["log_level"] == "error"]
            await asked(good)

            with monkeypatch.context() as patch:
                patch.setattr(Checkup, "look", _raises)
                answer = await rest(server, "/health")
                assert (answer.status, answer.body["code"]) == (500, "internal_error")
            with monkeypatch.context() as patch:
                patch.setattr("invorto.api.hypercorn._Connection.run", _raises)
                await knock(server, b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n", reset=False)
            assert (await rest(server, "/health")).body["status"] == "ok"
            await asked(good)
            assert good.closed is None


async def _raises(*_: object) -> Any:
    raise ZeroDivisionError


async def knock(server: Server, data: bytes, *, reset: bool) -> None:
    """Send *data* to the port, and go."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            if reset:
                stream.socket.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            await stream.send_eof()
            with trio.move_on_after(2), suppress(trio.TooSlowError):
                await until_end(stream)
