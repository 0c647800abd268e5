"""What a simulated call left, held against what was expected; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from invorto.model.record import FinishedCall, TimelineEvent
from invorto.simulate.scenario import Bound, Called, Expected
from invorto.simulate.stage import Stage


@attrs.frozen(kw_only=True)
class Left:
    """What there is to look at, in the midst of a call or after it."""

    said: tuple[str, ...]
    """What was heard of the agent, turn by turn."""
    interruptions: int
    called: tuple[tuple[str, Mapping[str, Any]], ...]
    events: tuple[TimelineEvent, ...]
    answered_ms: tuple[float, ...]
    record: FinishedCall | None

    @classmethod
    def of(cls, stage: Stage) -> Left:
        """Look at a call; while it goes on, what the agent is just saying is not heard yet."""
        metrics = stage.call.conversation.mouth.metrics
        return cls(
            said=tuple(done.heard for done in stage.line.said if done.heard),
            interruptions=sum(done.interrupted for done in stage.line.said),
            called=tuple(
                (str(event.payload["name"]), event.payload["args"])
                for event in stage.books.events
                if event.kind == "tool.requested"
            ),
            events=tuple(stage.books.events),
            answered_ms=tuple(one.voice_to_voice_ms for one in metrics if one.voice_to_voice_ms is not None),
            record=stage.books.finished,
        )


def faults(expected: Expected, left: Left) -> list[str]:
    """Say what is not as expected."""
    return [*_words(expected, left), *_tools(expected, left), *_end(expected, left), *_figures(expected, left)]


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("’", "'").split())


def _words(expected: Expected, left: Left) -> Iterator[str]:
    said = _plain(" ".join(left.said))
    for text in expected.said:
        if _plain(text) not in said:
            yield f"the agent did not say {text!r}, but {' | '.join(left.said)[-300:]!r}"
    for text in expected.not_said:
        if _plain(text) in said:
            yield f"the agent said {text!r}"
    last = left.said[-1] if left.said else ""
    if expected.last_said is not None and _plain(expected.last_said) not in _plain(last):
        yield f"the agent's last words were not {expected.last_said!r}, but {last!r}"


def _tools(expected: Expected, left: Left) -> Iterator[str]:
    for wanted in expected.called:
        fitting = sum(name == wanted.tool and _holds(args, wanted.args) for name, args in left.called)
        if fitting == 0 if wanted.times is None else fitting != wanted.times:
            yield _miscalled(wanted, fitting, left)
    for name in expected.not_called:
        if any(name == called for called, _ in left.called):
            yield f"the tool {name} was called"


def _miscalled(wanted: Called, fitting: int, left: Left) -> str:
    called = ", ".join(f"{name} {dict(args)}" for name, args in left.called) or "none"
    times = "" if wanted.times is None else f" {wanted.times} times, but {fitting}"
    args = f" with {dict(wanted.args)}" if wanted.args else ""
    return f"the tool {wanted.tool} was not called{args}{times}; called were: {called}"


def _holds(value: Any, part: Any) -> bool:
    """Tell whether *value* has at least all that *part* has; numbers may be written as text."""
    if isinstance(part, Mapping):
        return isinstance(value, Mapping) and all(
            name in value and _holds(value[name], one) for name, one in part.items()
        )
    return value == part or str(value) == str(part)


def _end(expected: Expected, left: Left) -> Iterator[str]:
    record = left.record
    wanted = {
        "end reason": (expected.end_reason, record and record.reason.value),
        "outcome": (expected.outcome, record and record.summary and record.summary.outcome),
        "disposition": (expected.disposition, record and (record.analysis or {}).get("disposition")),
        "success": (expected.success, record and (record.analysis or {}).get("success")),
    }
    for name, (value, there) in wanted.items():
        if value is not None and value != there:
            yield f"the {name} is not {value!r}, but {there!r}"
    if expected.data is not None:
        data = (record.analysis or {}).get("data") if record is not None else None
        if not _holds(data, expected.data):
            yield f"the data is not {dict(expected.data)}, but {data}"


def _figures(expected: Expected, left: Left) -> Iterator[str]:
    kinds = {event.kind for event in left.events}
    for kind in expected.events:
        if kind not in kinds:
            yield f"there is no event {kind} on the timeline"
    if expected.interruptions is not None and expected.interruptions != left.interruptions:
        yield f"the agent was interrupted {left.interruptions} times, not {expected.interruptions}"
    if expected.duration is not None:
        duration = left.record.duration if left.record is not None else 0.0
        yield from _bounded("the call's duration", duration, expected.duration, "s")
    if expected.answered_in is not None:
        for latency in left.answered_ms:
            yield from _bounded("an answer's delay", latency, expected.answered_in, "ms")


def _bounded(what: str, value: float, bound: Bound, unit: str) -> Iterator[str]:
    if bound.below is not None and value >= bound.below:
        yield f"{what} is {value:g} {unit}, not below {bound.below:g}"
    if bound.above is not None and value <= bound.above:
        yield f"{what} is {value:g} {unit}, not above {bound.above:g}"
