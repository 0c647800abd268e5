"""Text becomes a sound message or one clear fault; messages become the text that the protocol's page shows."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.realtime.protocol import (
    CLIENT_KINDS,
    MAX_DEPTH,
    Audio,
    BadMessage,
    BargeIn,
    ClientMessage,
    ConfigChange,
    Connected,
    ControlResume,
    Dtmf,
    DtmfSend,
    EmotionState,
    EmotionWindow,
    End,
    Ended,
    ErrorMessage,
    LlmDelta,
    Mark,
    Pause,
    Ping,
    Pong,
    Resume,
    ServerMessage,
    Start,
    SttFinal,
    SttPartial,
    Text,
    ToolCallMessage,
    ToolResult,
    Transfer,
    TransferStatus,
    TtsChunk,
    TtsDone,
    TtsMark,
    TurnMetricsMessage,
    decode,
    encode,
    kind,
)

CLIENT: list[tuple[dict[str, Any], ClientMessage]] = [
    (
        {
            "t": "start", "callId": "c_1", "agentId": "a_1", "locale": "hi-IN", "variables": {"name": "Asha"},
            "audioOut": "binary", "capabilities": ["marks"],
        },
        Start("c_1", "a_1", "hi-IN", {"name": "Asha"}, "binary", ("marks",)),
    ),
    ({"t": "start"}, Start()),
    ({"t": "start", "callId": None, "locale": None, "audioOut": None}, Start()),
    ({"t": "audio", "seq": 7, "pcm16": base64.b64encode(b"\1\0\2\0").decode()}, Audio(7, b"\1\0\2\0")),
    ({"t": "tool.result", "id": "1-0", "result": {"ok": [1, None, 2.5]}}, ToolResult("1-0", {"ok": [1, None, 2.5]})),
    ({"t": "tool.result", "id": "1-0", "result": None}, ToolResult("1-0", None)),
    ({"t": "tool.result", "id": "1-0", "error": "no"}, ToolResult("1-0", error="no")),
    ({"t": "text", "text": "नमस्ते"}, Text("नमस्ते")),
    ({"t": "dtmf.send", "digits": "12*#AdwW,"}, DtmfSend("12*#AdwW,")),
    ({"t": "dtmf.send", "digits": "1", "method": "info"}, DtmfSend("1", "info")),
    ({"t": "transfer", "to": "+9111"}, Transfer("+9111")),
    ({"t": "transfer", "to": "sip:x@y", "mode": "attended"}, Transfer("sip:x@y", "attended")),
    ({"t": "pause"}, Pause()),
    ({"t": "resume"}, Resume()),
    ({"t": "config", "config": {"llm": {"temperature": 0}}}, ConfigChange({"llm": {"temperature": 0}})),
    ({"t": "mark", "name": "m1"}, Mark("m1")),
    ({"t": "ping"}, Ping()),
    ({"t": "ping", "timestamp": 1733000000000}, Ping(1733000000000)),
    ({"t": "ping", "timestamp": 1.5}, Ping(1.5)),
    ({"t": "ping", "timestamp": "2025-01-01"}, Ping("2025-01-01")),
    ({"t": "pong", "timestamp": 1}, Pong(1)),
    ({"t": "end"}, End()),
    ({"t": "end", "reason": "bye"}, End("bye")),
    ({"t": "pause", "unknown": {"keys": ["are", "let", "pass"]}}, Pause()),
]  # fmt: skip


@pytest.mark.parametrize(("said", "meant"), CLIENT, ids=[f"{i}-{said['t']}" for i, (said, _) in enumerate(CLIENT)])
def test_every_client_message_is_understood(said, meant):
    """Whatever the page of the protocol lets a client send arrives as it was meant."""
    assert decode(json.dumps(said)) == meant
    assert decode(json.dumps(said, ensure_ascii=False)) == meant


def test_the_table_of_client_messages_is_whole():
    """No message of the protocol is without its line in the table above."""
    assert {said["t"] for said, _ in CLIENT} == CLIENT_KINDS
    assert {kind(meant) for _, meant in CLIENT} == CLIENT_KINDS


SERVER: list[tuple[ServerMessage, dict[str, Any]]] = [
    (
        Connected("c_1", 1733000000000, "a_1", "s_1", resumed=False, protocol="invorto.v1"),
        {
            "t": "connected", "callId": "c_1", "timestamp": 1733000000000, "agentId": "a_1", "sessionId": "s_1",
            "resumed": False, "protocol": "invorto.v1",
        },
    ),
    (SttPartial("a", 1.5, 2), {"t": "stt.partial", "text": "a", "ts": 1.5, "turn": 2}),
    (SttFinal("a", 0.0, 0, 0.9), {"t": "stt.final", "text": "a", "ts": 0.0, "turn": 0, "confidence": 0.9}),
    (LlmDelta("", 0), {"t": "llm.delta", "text": "", "turn": 0}),
    (ToolCallMessage("book", {"day": "Monday"}), {"t": "tool.call", "name": "book", "args": {"day": "Monday"}}),
    (TtsChunk(0, b"\1\0", 1), {"t": "tts.chunk", "seq": 0, "pcm16": "AQA=", "turn": 1}),
    (TtsChunk(0, b"\1\0", 1, "m"), {"t": "tts.chunk", "seq": 0, "pcm16": "AQA=", "turn": 1, "mark": "m"}),
    (TtsMark("m", 1, "Hello."), {"t": "tts.mark", "name": "m", "turn": 1, "text": "Hello."}),
    (TtsDone(1, "Hel", interrupted=True), {"t": "tts.done", "turn": 1, "heard": "Hel", "interrupted": True}),
    (BargeIn(1, 320, "stop-tts"), {"t": "control.bargein", "turn": 1, "playedMs": 320, "action": "stop-tts"}),
    (ControlResume(1, 320), {"t": "control.resume", "turn": 1, "fromMs": 320}),
    (EmotionWindow(-31.5, speaking=False), {"t": "emotion.window", "energy_db": -31.5, "speaking": False}),
    (
        EmotionState("calm", 0.1, 0.2, 0.3),
        {"t": "emotion.state", "class": "calm", "arousal": 0.1, "valence": 0.2, "confidence": 0.3},
    ),
    (Dtmf("5", "rfc2833"), {"t": "dtmf", "digit": "5", "method": "rfc2833"}),
    (TransferStatus("+91", "blind", "done"), {"t": "transfer", "to": "+91", "mode": "blind", "status": "done"}),
    (
        TurnMetricsMessage(1, 240.0, None, 1.0, None, 900.5),
        {
            "t": "turn.metrics", "turn": 1, "eouMs": 240.0, "sttMs": None, "llmFirstTokenMs": 1.0,
            "ttsFirstChunkMs": None, "voiceToVoiceMs": 900.5,
        },
    ),
    (Pong(5), {"t": "pong", "timestamp": 5}),
    (ErrorMessage("x", "y", fatal=False), {"t": "error", "code": "x", "message": "y", "fatal": False}),
    (
        ErrorMessage("moved", "y", fatal=True, scope="node", retry_after=2.0, url="wss://x"),
        {
            "t": "error", "code": "moved", "message": "y", "fatal": True, "scope": "node", "retryAfter": 2.0,
            "url": "wss://x",
        },
    ),
    (Ended("hangup"), {"t": "end", "reason": "hangup"}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "written"), SERVER, ids=[f"{i}-{w['t']}" for i, (_, w) in enumerate(SERVER)])
def test_every_server_message_is_written_as_documented(message, written):
    """Clients read exactly the documented names, and the event's id stands beside its type."""
    assert json.loads(encode(message)) == written
    with_id = encode(message, "1733000000000-2")
    assert json.loads(with_id) == written | {"id": "1733000000000-2"}
    assert with_id.startswith(f'{{"t":"{written["t"]}","id":"1733000000000-2",')


def test_the_table_of_server_messages_is_whole():
    """No message that we send is without its line in the table above."""
    assert {type(message) for message, _ in SERVER} == set(ServerMessage.__value__.__args__)


def test_what_an_engine_says_is_written_whatever_it_holds():
    """A broken character, an endless number or a huge one in a model's words never ends a call."""
    args = {"text": "a\ud800b", "big": 2**70, "nan": float("nan"), "list": [2**64, True, "\udfff"], "fine": 1}
    written = json.loads(encode(ToolCallMessage("x", args), "1-1"))
    assert written["args"] == {"text": "a?b", "big": 2**70, "nan": None, "list": [2**64, True, "?"], "fine": 1}
    assert written["id"] == "1-1"
    for name, value in args.items():
        assert json.loads(encode(ToolCallMessage("x", {name: value})))["args"] == {name: written["args"][name]}


BAD: list[tuple[str, str, str]] = [
    ("", "bad_message", "truncated"),
    ("hello", "bad_message", "malformed"),
    ('{"t":"ping"', "bad_message", "truncated"),
    ('{"t":"ping"} {"t":"ping"}', "bad_message", "trailing"),
    ('\ufeff{"t":"ping"}', "bad_message", "malformed"),
    ("null", "bad_message", "object"),
    ("[]", "bad_message", "object"),
    ('"ping"', "bad_message", "object"),
    ("{}", "bad_message", "`t`"),
    ('{"type":"ping"}', "bad_message", "`t`"),
    ('{"t":1}', "bad_message", "$.t"),
    ('{"t":null}', "bad_message", "$.t"),
    ('{"t":["ping"]}', "bad_message", "$.t"),
    ('{"t":"nonsense"}', "unknown_type", "nonsense"),
    ('{"t":""}', "unknown_type", "''"),
    ('{"t":"PING"}', "unknown_type", "PING"),
    ('{"t":"ping","t":"nonsense"}', "unknown_type", "nonsense"),
    ('{"t":"tts.chunk"}', "unknown_type", "tts.chunk"),
    ('{"t":"audio"}', "bad_message", "seq"),
    ('{"t":"audio","seq":1}', "bad_message", "pcm16"),
    ('{"t":"audio","seq":1,"audio":"AAA="}', "bad_message", "pcm16"),
    ('{"t":"audio","seq":1,"pcm16":"!!!!"}', "bad_message", "$.pcm16"),
    ('{"t":"audio","seq":1,"pcm16":"AAA"}', "bad_message", "$.pcm16"),
    ('{"t":"audio","seq":1,"pcm16":[0,0]}', "bad_message", "$.pcm16"),
    ('{"t":"audio","seq":"1","pcm16":"AAA="}', "bad_message", "$.seq"),
    ('{"t":"audio","seq":1.5,"pcm16":"AAA="}', "bad_message", "$.seq"),
    ('{"t":"audio","seq":1e400,"pcm16":"AAA="}', "bad_message", "$.seq"),
    ('{"t":"audio","seq":%s,"pcm16":"AAA="}' % ("9" * 400), "bad_message", "$.seq"),
    ('{"t":"audio","seq":9007199254740993,"pcm16":"AAA="}', "bad_message", "$.seq"),
    ('{"t":"tool.result","id":"x"}', "bad_message", "result"),
    ('{"t":"tool.result","result":1}', "bad_message", "id"),
    ('{"t":"tool.result","id":"","result":1}', "bad_message", "$.id"),
    ('{"t":"tool.result","id":"x","error":{"a":1}}', "bad_message", "$.error"),
    ('{"t":"tool.result","id":"x","result":18446744073709551616}', "bad_message", "$.result"),
    ('{"t":"tool.result","id":"x","result":{"a":[-9223372036854775809]}}', "bad_message", "$.result"),
    ('{"t":"tool.result","id":"x","result":1e999}', "bad_message", "$.result"),
    ('{"t":"tool.result","id":"x","result":NaN}', "bad_message", "malformed"),
    ('{"t":"tool.result","id":"x","result":"a\\u0000"}', "bad_message", "$.result"),
    ('{"t":"text"}', "bad_message", "text"),
    ('{"t":"text","text":""}', "bad_message", "$.text"),
    ('{"t":"text","text":7}', "bad_message", "$.text"),
    ('{"t":"text","text":"%s"}' % ("x" * (16 * 1024 + 1)), "bad_message", "$.text"),
    ('{"t":"text","text":"%s"}' % ("x" * 70_000), "bad_message", "64 KiB"),
    ('{"t":"text","text":"a\0b"}', "bad_message", "malformed"),
    ('{"t":"text","text":"a\\u0000b"}', "bad_message", "$.text"),
    ('{"t":"text","text":"\\ud800"}', "bad_message", ""),
    ('{"t":"text","text":"\ud800"}', "bad_message", "Unicode"),
    ('{"t":"dtmf.send"}', "bad_message", "digits"),
    ('{"t":"dtmf.send","digits":""}', "bad_message", "$.digits"),
    ('{"t":"dtmf.send","digits":"12E"}', "bad_message", "$.digits"),
    ('{"t":"dtmf.send","digits":"1\\n"}', "bad_message", "$.digits"),
    ('{"t":"dtmf.send","digits":"%s"}' % ("1" * 65), "bad_message", "$.digits"),
    ('{"t":"dtmf.send","digits":"1","method":"inband"}', "bad_message", "$.method"),
    ('{"t":"transfer"}', "bad_message", "to"),
    ('{"t":"transfer","to":""}', "bad_message", "$.to"),
    ('{"t":"transfer","to":"%s"}' % ("1" * 201), "bad_message", "$.to"),
    ('{"t":"transfer","to":"1","mode":"warm"}', "bad_message", "$.mode"),
    ('{"t":"config"}', "bad_message", "config"),
    ('{"t":"config","config":[]}', "bad_message", "$.config"),
    ('{"t":"config","config":{"a\\u0000":1}}', "bad_message", "$.config"),
    ('{"t":"config","config":{"a":{"b":99999999999999999999999}}}', "bad_message", "$.config"),
    ('{"t":"mark"}', "bad_message", "name"),
    ('{"t":"mark","name":"%s"}' % ("m" * 201), "bad_message", "$.name"),
    ('{"t":"ping","timestamp":{}}', "bad_message", "$.timestamp"),
    ('{"t":"ping","timestamp":%s}' % ("9" * 30), "bad_message", "$.timestamp"),
    ('{"t":"start","variables":{"a":1}}', "bad_message", "$.variables"),
    ('{"t":"start","variables":{"a":"\\u0000"}}', "bad_message", "$.variables"),
    ('{"t":"start","capabilities":"marks"}', "bad_message", "$.capabilities"),
    ('{"t":"start","capabilities":[' + ",".join(['"m"'] * 33) + "]}", "bad_message", "$.capabilities"),
    ('{"t":"start","audioOut":"opus"}', "bad_message", "$.audioOut"),
    ('{"t":"start","locale":""}', "bad_message", "$.locale"),
    ('{"t":"end","reason":3}', "bad_message", "$.reason"),
    ("[" * 60_000, "bad_message", ""),
    ('{"t":' * 10_000, "bad_message", ""),
    ('{"t":"tool.result","id":"x","result":%s}' % ("[" * 30_000 + "]" * 30_000), "bad_message", "nested"),
    ('{"t":"config","config":' + '{"a":' * 1000 + "1" + "}" * 1001, "bad_message", "$.config"),
]


@pytest.mark.parametrize(("text", "code", "names"), BAD, ids=[f"{i}-{b[0][:24]!a}" for i, b in enumerate(BAD)])
def test_every_bad_message_gets_one_clear_fault(text, code, names):
    """What is wrong is said in one short sentence that names the field, and tells wrong messages from unknown ones."""
    with pytest.raises(BadMessage) as fault:
        decode(text)
    assert fault.value.code == code
    assert names in str(fault.value)
    assert len(str(fault.value)) <= 301
    encode(ErrorMessage(code, str(fault.value), fatal=False))


def attempt(text: str) -> ClientMessage | BadMessage:
    """Give what *text* becomes, or the fault; anything else is raised."""
    try:
        return decode(text)
    except BadMessage as fault:
        return fault


def test_deep_nesting_in_what_nobody_reads_is_harmless():
    """A deep value under an unknown key is skipped or refused, never a crash."""
    for depth in (100, 5_000, 30_000):
        said = attempt('{"t":"pause","x":' + "[" * depth + "]" * depth + "}")
        assert said == Pause() or (isinstance(said, BadMessage) and said.code == "bad_message")


def test_what_is_at_the_limits_passes():
    """The limits themselves are allowed."""
    nested: Any = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert decode(json.dumps({"t": "tool.result", "id": "x", "result": nested})) == ToolResult("x", nested)
    with pytest.raises(BadMessage, match="nested"):
        decode(json.dumps({"t": "tool.result", "id": "x", "result": [nested]}))
    text = "x" * (16 * 1024)
    assert decode(json.dumps({"t": "text", "text": text})) == Text(text)
    for edge in (2**64 - 1, -(2**63)):
        assert decode(json.dumps({"t": "tool.result", "id": "x", "result": edge})) == ToolResult("x", edge)
    assert decode(json.dumps({"t": "text", "text": "1" * 64})) == Text("1" * 64)


def test_a_written_backslash_is_no_nul():
    """Text that shows how a NUL is written in JSON is text."""
    assert decode(r'{"t":"text","text":"\\u0000"}') == Text(r"\u0000")


def test_of_a_key_that_is_there_twice_the_last_counts():
    """A doubled key has one meaning, the same as in the browser that wrote it."""
    assert decode('{"t":"text","text":"a","text":"b"}') == Text("b")
    assert decode('{"text":"b","t":"text"}') == Text("b")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
FIELDS = st.sampled_from(
    sorted({"t", "pcm16", "seq", "id", "result", "error", "text", "digits", "method", "to", "mode", "config", "name",
            "timestamp", "reason", "callId", "agentId", "locale", "variables", "audioOut", "capabilities"})
)  # fmt: skip
NEAR = st.fixed_dictionaries({"t": st.sampled_from(sorted(CLIENT_KINDS)) | JSON}).flatmap(
    lambda head: st.dictionaries(FIELDS, JSON | st.text(), max_size=6).map(lambda rest: rest | head)
)


@given(
    st.text(st.characters(exclude_categories=()))
    | st.binary().map(lambda data: data.decode("latin-1"))
    | NEAR.map(json.dumps)
    | JSON.map(json.dumps)
)
def test_garbage_raises_nothing_but_a_bad_message(text):
    """Whatever text a peer sends, it is a message or a fault that can be told; what is taken can be passed on."""
    said = attempt(text)
    if isinstance(said, BadMessage):
        assert said.code in {"bad_message", "unknown_type"}
        encode(ErrorMessage(said.code, str(said), fatal=False))
    else:
        again = msgspec.json.encode(said)
        assert b"\\u0000" not in again.replace(rb"\\", b"")
        assert decode(again.decode()) == said


@given(st.sampled_from([text for said, _ in CLIENT for text in [json.dumps(said)]]), st.data())
def test_a_damaged_message_raises_nothing_but_a_bad_message(text, data):
    """Half a message, or one with a byte changed, is a fault and no more."""
    place = data.draw(st.integers(0, len(text) - 1))
    change = data.draw(st.text(max_size=2))
    for damaged in (text[:place], text[:place] + change + text[place + 1 :]):
        said = attempt(damaged)
        assert str(said) if isinstance(said, BadMessage) else isinstance(said, msgspec.Struct)
