"""Identifiers say what they are, sort by time, and never hold what a path or a key could trip over."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.model.ids import is_call_id, new_id


def test_an_id_is_its_prefix_and_a_uuid_of_version_7() -> None:
    """Whoever reads `c_…` knows that it is a call, and a library can read the rest."""
    prefix, _, rest = new_id("c").partition("_")
    value = uuid.UUID(hex=rest)
    assert prefix == "c"
    assert (value.version, value.variant) == (7, uuid.RFC_4122)


def test_ids_sort_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later ids are greater as text, so that indexes grow at one end; the clock is milliseconds."""
    made: list[str] = []
    for nanoseconds in (1, 2_000_000, 1_700_000_000_000_000_000, 1_700_000_000_001_000_000):
        monkeypatch.setattr("time.time_ns", lambda now=nanoseconds: now)
        made.append(new_id("a"))
    assert made == sorted(made)


def test_no_two_ids_of_one_millisecond_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are 74 random bits beside the clock."""
    monkeypatch.setattr("time.time_ns", lambda: 1)
    assert len({new_id("evt") for _ in range(10_000)}) == 10_000


def test_ours_are_call_ids() -> None:
    """What we make we accept."""
    assert is_call_id(new_id("c"))


@pytest.mark.parametrize("text", ["a", "A-b_c.9", "x" * 64])
def test_what_may_name_a_call(text: str) -> None:
    """Clients choose their own ids within letters, digits, dot, dash and underscore."""
    assert is_call_id(text)


@pytest.mark.parametrize("text", ["", "x" * 65, "a/b", "a b", "é", "a\n", "connections", "tokens", "a\0"])
def test_what_may_not_name_a_call(text: str) -> None:
    """Nothing that needs escaping in a URL, and no word that is a route already."""
    assert not is_call_id(text)


@given(st.text(max_size=80))
def test_a_call_id_is_safe_in_a_path_whatever_it_is(text: str) -> None:
    """An accepted id is ASCII, at most 64 long, and holds no separator."""
    if is_call_id(text):
        assert text.isascii()
        assert 1 <= len(text) <= 64
        assert not set(text) & set("/\\?#%: ")
