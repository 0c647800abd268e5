"""Consent is never guessed: who refuses in any words has refused."""

from __future__ import annotations

import pytest

from invorto.model.agent import Consent
from invorto.realtime.consent import Asking, judge


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Yes.", "yes"), ("yes, go ahead", "yes"), ("I don't mind", "yes"), ("No problem", "yes"), ("हाँ जी", "yes"),
        ("theek hai", "yes"), ("Sure, why not?", "yes"),
        ("No.", "no"), ("I don’t agree", "no"), ("I cannot agree", "no"), ("I can't agree", "no"),
        ("No, I do not agree", "no"), ("I'd rather you didn't, okay?", "no"), ("yes, no", "no"), ("नहीं", "no"),
        ("What?", "unclear"), ("", "unclear"), ("Who is calling?", "unclear"), ("I know", "unclear"),
    ],
)  # fmt: skip
def test_what_is_meant(text: str, meant: str) -> None:
    """A refusal outweighs everything beside it, and a question is no answer."""
    assert judge(text) == meant


@pytest.mark.parametrize(("required", "granted"), [(True, False), (False, True)], ids=["required", "asked"])
def test_unclear_twice(required: bool, granted: bool) -> None:
    """After two unclear answers consent that is required is not given."""
    asking = Asking(Consent(prompt="May I?", required=required))
    asking.answer("what", 1.0)
    assert not asking.settled
    asking.answer("hm", 2.0)
    assert asking.granted is granted
    assert asking.record() == {"prompt": "May I?", "answer": "hm", "granted": granted, "at": 2.0}
