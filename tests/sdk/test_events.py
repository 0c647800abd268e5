"""What comes over a socket becomes a value, whatever it is."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.realtime import protocol as p
from invorto_sdk import events as e

SENT: list[tuple[p.ServerMessage, type[e.Event]]] = [
    (p.Connected("c_1", 1_700_000_000_000, "a_1", "s_1", resumed=False, protocol="invorto.v1"), e.Connected),
    (p.SttPartial("hel", 0.5, 1), e.Transcript),
    (p.SttFinal("hello", 0.75, 1, 0.9), e.Transcript),
    (p.LlmDelta("Hi", 2), e.Delta),
    (p.ToolCallMessage("book", {"day": "Monday"}), e.ToolCall),
    (p.TtsChunk(0, b"\x01\x02\x03\x04", 2), e.Audio),
    (p.TtsMark("2.1", 2, "Hi there."), e.Mark),
    (p.TtsDone(2, "Hi there.", interrupted=True), e.Spoken),
    (p.BargeIn(2, 480, "stop-tts"), e.BargeIn),
    (p.ControlResume(2, 480), e.Resumed),
    (p.EmotionWindow(-32.5, speaking=True), e.EmotionWindow),
    (p.EmotionState("calm", 0.2, 0.0, 0.5), e.EmotionState),
    (p.TurnMetricsMessage(2, 220.0, None, 50.0, 30.0, 300.5), e.TurnMetrics),
    (p.ErrorMessage("bad_message", "no", fatal=False), e.ErrorEvent),
    (p.Ended("hangup"), e.Ended),
]


@pytest.mark.parametrize(("message", "kind"), SENT, ids=lambda each: getattr(each, "__name__", None))
def test_what_the_server_says_is_understood(message: p.ServerMessage, kind: type[e.Event]) -> None:
    """Each event of the protocol, as the server writes it, has a class, its timeline id, and its fields."""
    event = e.parse(p.encode(message, "1700000000000-1"))
    assert type(event) is kind
    assert event.id == "1700000000000-1"
    assert not isinstance(event, e.ErrorEvent) or event.code == "bad_message"


def test_fields_are_where_they_belong() -> None:
    """A final transcript is told from a partial one, and audio is bytes."""
    final, partial = (e.parse(p.encode(message, "1-1")) for message, _ in (SENT[2], SENT[1]))
    assert isinstance(final, e.Transcript)
    assert isinstance(partial, e.Transcript)
    assert (final.text, final.at, final.turn, final.confidence, final.final) == ("hello", 0.75, 1, 0.9, True)
    assert not partial.final
    assert e.parse(b"\x00\x01") == e.Audio("tts.chunk", pcm=b"\x00\x01")


@pytest.mark.parametrize(
    "pcm16",
    [base64.b64encode(b"\x01\x00\xff\xff").decode(), [1, 0, 255, 255], [1, -1]],
    ids=["base64", "bytes", "samples"],
)
def test_audio_comes_in_many_forms(pcm16: Any) -> None:
    """Base64, bytes as numbers, and samples as numbers are the same audio."""
    event = e.parse(json.dumps({"t": "tts.chunk", "pcm16": pcm16, "turn": 0, "seq": 0}))
    assert isinstance(event, e.Audio)
    assert event.pcm == b"\x01\x00\xff\xff"


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "[]", "7", "null", '{"t": 7}', "{}", "[" * 100_000, '{"t": "stt.final", "text": 7}',
        '{"t": "stt.final", "text": "x", "ts": "now", "turn": 1}',
        '{"t": "stt.final", "text": "x", "ts": 1, "turn": 1.5}',
        '{"t": "stt.final", "text": "x", "ts": NaN, "turn": 1}', '{"t": "tts.chunk", "pcm16": "?", "turn": 0}',
        '{"t": "tts.chunk", "pcm16": "AAAA", "turn": 0}', '{"t": "tts.chunk", "pcm16": "AA==", "turn": 0}',
        '{"t": "tts.chunk", "pcm16": [70000], "turn": 0}', '{"t": "tts.chunk", "pcm16": ["x"], "turn": 0}',
        '{"t": "tts.chunk", "pcm16": {}, "turn": 0}', '{"t": "emotion.window", "energy_db": true, "speaking": true}',
        '{"t": "emotion.state", "class": null}', '{"t": "tool.call", "name": "x", "args": []}', '{"t": "end"}',
        '{"t": "tts.done", "turn": 1, "heard": "x", "interrupted": "yes"}',
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_an_error_event(text: str) -> None:
    """A server that sends anything at all never makes a client raise."""
    event = e.parse(text)
    assert isinstance(event, e.ErrorEvent)
    assert event.code == "bad_event"
    assert not event.fatal


def test_an_unknown_type_passes_through() -> None:
    """A newer server may say more than this client knows."""
    event = e.parse('{"t": "weather", "id": "1-1", "sun": true}')
    assert event == e.Event("weather", "1-1", {"t": "weather", "id": "1-1", "sun": True})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(sorted(e._KINDS)),
    st.sampled_from(["text", "ts", "turn", "pcm16", "name", "args", "heard", "energy_db", "class", "code", "reason"]),
)
def test_no_field_can_break_it(value: Any, kind: str, name: str) -> None:
    """Whatever stands in whatever field, there is an event."""
    e.parse(json.dumps({"t": kind, "turn": 1, "ts": 1, "text": "x", name: value}))
