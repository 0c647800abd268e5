"""What came, in a line."""

from __future__ import annotations

import json

import pytest

from invorto.receiver.letters import Mailbox, told
from invorto.receiver.trigger import sample
from invorto.webhooks import catalogue, signing

SECRET = signing.secret_of(b"s" * 32)
NOW = 1_772_616_612


@pytest.mark.parametrize("name", list(catalogue.catalogue()))
def test_every_event_has_a_line(name: str) -> None:
    """A sample of each type, as it is sent, is believed and told in a line."""
    event_id, body = sample(name)
    letter = Mailbox(SECRET).read(signing.headers([SECRET], event_id, NOW, body), body, NOW)
    assert (letter.type, letter.fault, letter.again) == (name, None, False)
    assert 0 < len(letter.text) <= 70
    assert "\n" not in letter.text


def test_what_comes_again_is_marked() -> None:
    """The second time is told as such; what is not believed marks nothing as come."""
    mailbox = Mailbox(SECRET)
    event_id, body = sample("call.ended")
    head = signing.headers([SECRET], event_id, NOW, body)
    forged = mailbox.read({**head, "webhook-signature": "v1,AAAA"}, body, NOW)
    assert forged.fault is not None
    assert "no signature is right" in forged.fault
    assert [mailbox.read(head, body, NOW).again for _ in range(3)] == [False, True, True]
    late = mailbox.read(head, body, NOW + 1000)
    assert late.fault == "webhook-timestamp is too far from now"
    assert not late.again


@pytest.mark.parametrize(
    "body",
    [b"", b"[1]", b"\xff", b'{"type":1,"data":[]}', b"[" * 100_000, b'{"type":"call.ended","data":{"status":7}}'],
)
def test_whatever_comes(body: bytes) -> None:
    """Bodies that are no events are shown as far as they can be."""
    letter = Mailbox(None).read({"webhook-id": "evt_1"}, body, NOW)
    assert letter.text == ""
    assert letter.fault is None


def test_samples_may_be_changed() -> None:
    """Fields of one's own are laid over the sample's, and each sample is a new event."""
    first, body = sample("call.ended", '{"endReason": "agent", "more": [1]}')
    data = json.loads(body)["data"]
    assert (data["endReason"], data["more"], data["eventId"]) == ("agent", [1], first)
    assert sample("call.ended")[0] != first
    assert told("call.ended", data) == "completed (agent) after 63.46 s, ₹ 1.27"
    assert told("call.ended", {**data, "costInr": "x" * 100}).endswith("…")
    assert told("unknown", data) == ""
