"""Frames between the server and an engine's process."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invorto.speech.frames import (
    LARGEST,
    ORDERS,
    REPORTS,
    Ask,
    Drop,
    Failed,
    Order,
    Piece,
    Ready,
    Report,
    Unpacker,
    pack,
)

BODY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.binary(max_size=50) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
REPORT = st.one_of(
    st.builds(Ready, BODY), st.builds(Piece, st.integers(0, 2**31), BODY, st.booleans()),
    st.builds(Failed, st.integers(0, 2**31), st.text(max_size=20)),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(REPORT, max_size=5), st.data())
def test_whatever_the_cuts(reports: list[Report], data: st.DataObject) -> None:
    """Messages come out as they went in, however the bytes between are cut."""
    stream = b"".join(map(pack, reports))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    unpacker: Unpacker[Report] = Unpacker(REPORTS)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [report for piece in pieces for report in unpacker.feed(piece)] == reports


def test_orders() -> None:
    """Orders too, byte by byte."""
    orders: list[Order] = [Ask(1, 0, "say", {"pcm": b"\x00\xff"}), Drop(1)]
    unpacker: Unpacker[Order] = Unpacker(ORDERS)
    assert [got for byte in b"".join(map(pack, orders)) for got in unpacker.feed(bytes([byte]))] == orders


@pytest.mark.parametrize(
    "garbage",
    [(LARGEST + 1).to_bytes(4, "little"), b"\x02\0\0\0\xc1\xc1", b"\x01\0\0\0\x01"],
    ids=["long", "bytes", "type"],
)
def test_garbage(garbage: bytes) -> None:
    """What is no frame is refused as such."""
    with pytest.raises(ValueError):  # msgspec's errors are ValueErrors
        list(Unpacker(REPORTS).feed(garbage))
