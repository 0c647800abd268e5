"""The table of call states: forward only, and an end is for ever."""

from __future__ import annotations

import itertools

import pytest

from invorto.errors import Conflict
from invorto.model.call import ENDS, MOVES, TERMINAL, CallStatus, EndReason, check_move

LIFE = ("created", "queued", "dialing", "ringing", "active")


def test_every_state_has_its_row() -> None:
    """No state is unknown to the table, and every move leads to a state that is."""
    assert set(MOVES) == set(CallStatus)
    assert all(then in MOVES for moves in MOVES.values() for then in moves)


@pytest.mark.parametrize(
    ("now", "then"), list(itertools.product(CallStatus, CallStatus)), ids=lambda status: status.value
)
def test_moves_go_forward_and_ends_stay(now: CallStatus, then: CallStatus) -> None:
    """Every pair of states: forward along the life of a call, to an end from anywhere, from an end to nowhere."""
    if now.terminal:
        allowed = False
    elif then.terminal:
        # A call that was active was answered: it cannot have been busy or not answered.
        allowed = now is not CallStatus.ACTIVE or then in {"completed", "failed", "canceled"}
    else:
        allowed = LIFE.index(then) > LIFE.index(now)
    if allowed:
        check_move(now, then)
    else:
        with pytest.raises(Conflict, match=f"a call that is {now} cannot become {then}"):
            check_move(now, then)


def test_every_reason_leads_to_an_end() -> None:
    """Whatever ends a call, there is a terminal state for it."""
    assert set(ENDS) == set(EndReason)
    assert set(ENDS.values()) <= TERMINAL
    assert ENDS[EndReason.HANGUP] is CallStatus.COMPLETED
    assert ENDS[EndReason.NODE_LOST] is CallStatus.FAILED
