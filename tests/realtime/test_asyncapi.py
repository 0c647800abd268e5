"""The voice socket's document is made of its messages: what it says is what is read and written."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from msgspec import Struct

from invorto.realtime import protocol as p
from invorto.realtime.asyncapi import document

WHOLE = json.loads(json.dumps(document()))


def check(side: str, text: str) -> None:
    """Hold a message to the document."""
    body = json.loads(text)
    payload = WHOLE["components"]["messages"][f"{side}.{body['t']}"]["payload"]
    jsonschema.Draft202012Validator({**payload, "components": WHOLE["components"]}).validate(body)


def test_every_message_is_there() -> None:
    """Each message of the protocol, of both sides, under its name, with what it is for."""
    named = {name for name in WHOLE["components"]["messages"] if name.startswith("client.")}
    assert named == {f"client.{kind}" for kind in p.CLIENT_KINDS}
    for name, message in WHOLE["components"]["messages"].items():
        assert message["summary"], name
    for operation in WHOLE["operations"].values():
        for one in operation["messages"]:
            assert one["$ref"].removeprefix("#/channels/voice/messages/") in WHOLE["channels"]["voice"]["messages"]


def test_references_lead_somewhere() -> None:
    """Whatever is named in the document is in it, and no pattern is Python's alone."""
    text = json.dumps(WHOLE)
    for path in re.findall(r'"\$ref": "#/([^"]+)"', text):
        value: Any = WHOLE
        for step in path.split("/"):
            value = value[step]
    assert r"\\A" not in text


TOLD: list[Struct] = [
    p.Connected("c_1", 1, "a_1", "s", resumed=False, protocol="invorto.v1"),
    p.TtsDone(1, "Hello", interrupted=False),
    p.ErrorMessage("bad_message", "what", fatal=False),
    p.Ended("hangup"),
]


@pytest.mark.parametrize("message", TOLD, ids=[type(one).__name__ for one in TOLD])
def test_what_is_told_is_as_documented(message: Any) -> None:
    """What the encoder writes, with its event's id, is what the document says."""
    check("server", p.encode(message, "1-0"))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('{"t": "start", "callId": "c", "audioOut": "binary"}', True),
        ('{"t": "start", "audioOut": "paper"}', False),
        ('{"t": "dtmf.send", "digits": "12#"}', True),
        ('{"t": "dtmf.send", "digits": "x"}', False),
        ('{"t": "text"}', False),
        ('{"t": "audio", "seq": 1, "pcm16": "AAAA"}', True),
    ],
    ids=[str(n) for n in range(6)],
)
def test_decoder_and_document_agree(text: str, good: bool) -> None:
    """What one of them refuses, the other refuses."""
    try:
        p.decode(text)
        read = True
    except p.BadMessage:
        read = False
    try:
        check("client", text)
        fits = True
    except jsonschema.ValidationError:
        fits = False
    assert (read, fits) == (good, good)
