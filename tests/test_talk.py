"""`invorto talk`, against a real server with scripted engines, and against everything that is not right."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from invorto import config
from invorto.audio.wav import encode_wav, read_wav, write_wav
from invorto.dev import Seed, remember, talk_command
from invorto.errors import InvortoError, StartFailed, UsageError
from invorto.talk import talk
from tests.journeys.house import AUDIO, Server, open_server, settings

SPEECH = AUDIO / "libri_0880.wav"


def conf(folder: Path, **more: str) -> config.Config:
    return config.load({"DATA_DIR": str(folder), **more})


@pytest.fixture
async def server(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    """Serve an agent that greets briefly, and leave word of it as `invorto dev` does."""
    script = json.dumps({"heard": ["A table for two."], "replies": ["Of course."], "ttsMs": 30})
    environ = settings(postgres_url, redis_url, tmp_path, SCRIPTED_ENGINE=script)
    async with open_server(environ, {"greeting": "Hello."}) as opened:
        remember(tmp_path, opened.url, Seed(opened.tenant_id, opened.key, opened.agent_id))
        yield opened


async def said(folder: Path, *files: Path, **more: Any) -> int:
    given: Mapping[str, Any] = {"url": None, "key": None, "agent": None, "save": folder / "answer.wav", **more}
    return await talk(conf(folder), files, **given)


async def refused(folder: Path, *files: Path, **more: Any) -> InvortoError:
    """Talk, and give what it says instead."""
    with pytest.RaisesGroup(InvortoError, allow_unwrapped=True, flatten_subgroups=True) as caught:
        await said(folder, *files, **more)
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, InvortoError)
    return error


async def test_files_are_spoken_and_the_answer_is_saved(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file after the other, each when the agent has finished; the agent's voice lies on the call's clock."""
    with trio.fail_after(40):
        assert await said(tmp_path, SPEECH, SPEECH) == 0
    shown = capsys.readouterr().out
    order = [line.split(None, 1)[1].strip() for line in shown.splitlines()[1:] if "answered in" not in line]
    assert order[0] == "agent   Hello."
    first, second = (place for place, line in enumerate(order) if line.startswith("▶ "))
    for part in (order[first + 1 : second], order[second + 1 :]):
        assert part[0] == "caller  A table for two."
        assert "agent   Of course." in part
    samples, rate = read_wav(tmp_path / "answer.wav")
    assert rate == 16000
    began = float(shown.splitlines()[1].split()[0])
    assert np.flatnonzero(samples)[0] / rate == pytest.approx(began, abs=0.3)


@pytest.mark.parametrize(
    ("argv", "on_path", "expected"),
    [
        ("/opt/bin/invorto", "/opt/bin/invorto", "invorto"),
        (".venv/bin/invorto", None, ".venv/bin/invorto"),
        ("/a b/invorto", None, "'/a b/invorto'"),
        ("/lib/invorto/__main__.py", None, "/bin/python3 -m invorto"),
    ],
)
def test_dev_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: str, on_path: str | None, expected: str
) -> None:
    """What `invorto dev` proposes to try can be typed as it stands: in a fresh clone nothing is on PATH."""
    monkeypatch.setattr("sys.argv", [argv, "dev"])
    monkeypatch.setattr("sys.executable", "/bin/python3")
    monkeypatch.setattr("shutil.which", lambda _: on_path)
    usual = config.load({}).stores.data_dir
    assert talk_command(usual) == f"{expected} talk FILE.wav"
    assert talk_command(tmp_path / "my data") == f"{expected} talk FILE.wav --data '{tmp_path}/my data'"


async def test_refusals_are_sentences(server: Server, tmp_path: Path) -> None:
    """A bad key, an agent that is none, a server that is not there: what to do, as a usage error."""
    bad_key = await refused(tmp_path, SPEECH, key="inv_live_0000000000000000")
    assert str(bad_key) == f"{server.url} does not know this key: give another one with --key"
    no_agent = await refused(tmp_path, SPEECH, agent="nobody")
    assert "has no agent 'nobody'" in str(no_agent)
    away = await refused(tmp_path, SPEECH, url="http://127.0.0.1:1", key="k")
    assert "is the server running?" in str(away)
    other = await refused(tmp_path, SPEECH, url="http://127.0.0.1:2")
    assert "give --key too" in str(other)
    assert {type(error) for error in (bad_key, no_agent, away, other)} == {UsageError}


async def test_ctrl_c_saves_what_was_heard(server: Server, tmp_path: Path) -> None:
    """An interrupt ends the call in order: exit code 130, and the file is there."""
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:

            async def interrupt() -> None:
                await trio.sleep(1.5)
                signal.raise_signal(signal.SIGINT)

            nursery.start_soon(interrupt)
            assert await said(tmp_path, SPEECH) == 130
    assert len(read_wav(tmp_path / "answer.wav")[0]) > 0


async def test_a_server_that_goes_away_is_told(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """What was heard until the server's end is saved, and the end is a sentence."""
    done = trio.Event()

    async def broken() -> None:
        error = await refused(tmp_path, SPEECH, url=url, key=key, agent="desk")
        assert isinstance(error, StartFailed)
        assert "understood nothing" in str(error) or "broke off" in str(error)
        done.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            async with open_server(settings(postgres_url, redis_url, tmp_path), {"greeting": "Hello."}) as opened:
                url, key = opened.url, opened.key
                nursery.start_soon(broken)
                await trio.sleep(1.2)
            await done.wait()
    assert (tmp_path / "answer.wav").exists()


async def test_silence_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without speech is no question: the agent understands nothing, and that is said."""
    monkeypatch.setattr("invorto.talk.ANSWER", 1.0)
    write_wav(tmp_path / "silence.wav", np.zeros(8000, np.int16), 16000)
    error = await refused(tmp_path, tmp_path / "silence.wav")
    assert str(error) == "the agent understood nothing: is there speech in the files?"


# -- what is wrong before anything is said -------------------------------------------------------------


def cut(path: Path) -> Path:
    path.write_bytes(SPEECH.read_bytes()[:5000])
    return path


def wrong_rate(path: Path) -> Path:
    path.write_bytes(encode_wav(np.ones(1000, np.int16), 16000).replace(b"\x80>\0\0", b"\x01\0\0\0"))
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def huge(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(300 * 2**20)
    return path


def long(path: Path) -> Path:
    write_wav(path, np.ones(8000 * 60 * 31, np.int16), 8000)
    return path


def noise(path: Path) -> Path:
    path.write_bytes(b"no sound at all")
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path, "does not exist"), (folder, "is a folder"), (empty, "is empty"), (cut, "is cut off after"),
        (wrong_rate, "has 1 samples a second, expected"), (noise, "is not a WAV file"), (huge, "is larger than 256 MB"),
        (long, "the files take 31 minutes, a call at most 30"), (lambda _: Path("-"), "there is no microphone here"),
        (lambda _: Path("mic"), "there is no microphone here"),
    ],
    ids=["missing", "folder", "empty", "cut", "rate", "noise", "huge", "long", "dash", "mic"],
)  # fmt: skip
async def test_files_that_cannot_be_spoken(make: Any, sentence: str, tmp_path: Path) -> None:
    """Every file is read before the call: a sentence with its name, and no call is made."""
    error = await refused(tmp_path, SPEECH, make(tmp_path / "question.wav"))
    assert isinstance(error, UsageError)
    assert sentence in str(error)
    assert not (tmp_path / "answer.wav").exists()


async def test_nowhere_to_call_and_nowhere_to_save(tmp_path: Path) -> None:
    """Without a server here, or a place for the answer, that is said first."""
    assert "no server runs here" in str(await refused(tmp_path, SPEECH))
    call = partial(refused, tmp_path, SPEECH, url="http://127.0.0.1:1", key="k")
    assert "is a folder: name a file in it" in str(await call(save=tmp_path))
    assert "cannot be written (No such file or directory)" in str(await call(save=tmp_path / "no" / "a.wav"))
