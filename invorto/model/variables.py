"""``{{variables}}`` in what an agent says and is told."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from invorto.model.agent import AgentConfig, Flow

MOST = 64 * 1024
"""Bytes of the longest text that an agent may have. What variables make of one is not put together beyond it: a name
that stands ten thousand times in a prompt would take hundreds of megabytes before it is found to be too long."""

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]{0,63})\s*\}\}")


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Put the values of *variables* into *text*.

    A name nobody gave a value is left out, since a caller must not hear "curly brace name". Values are put in once:
    braces inside a value stay what they are, so that what a contact list holds cannot reach other variables.
    `ValueError` where they come to more than `MOST`.
    """
    room = MOST

    def value(found: re.Match[str]) -> str:
        nonlocal room
        put = variables.get(found[1], "")
        room -= len(put)
        if room < 0:
            raise ValueError(f"must be at most {MOST} bytes of text")
        return put

    return _PLACE.sub(value, text)


def filled(config: AgentConfig, variables: Mapping[str, str]) -> AgentConfig:
    """Fill in every text that is spoken, or that the model is told; the result keeps all variables.

    Those of the call come before those of the agent. Tools are left alone: their ``{placeholders}`` are arguments.
    """
    known = {**config.variables, **variables}

    def put(text: str) -> str:
        return fill(text, known)

    consent = config.consent and attrs.evolve(
        config.consent, prompt=put(config.consent.prompt) or config.consent.prompt
    )
    return attrs.evolve(
        config,
        variables=known,
        prompt=put(config.prompt),
        greeting=put(config.greeting) if isinstance(config.greeting, str) else config.greeting,
        silence=attrs.evolve(config.silence, nudge=put(config.silence.nudge)),
        consent=consent,
        end_call=attrs.evolve(config.end_call, goodbye=put(config.end_call.goodbye)),
        voicemail=attrs.evolve(config.voicemail, message=put(config.voicemail.message)),
        flow=config.flow and _flow(config.flow, known),
    )


def _flow(flow: Flow, known: Mapping[str, str]) -> Flow:
    """Fill in a flow; its ``{slots}`` are single-braced, and filled in when the caller has said them."""

    def put(text: str) -> str:
        return fill(text, known)

    return attrs.evolve(
        flow,
        intents=tuple(attrs.evolve(one, reply=put(one.reply)) for one in flow.intents),
        slots=tuple(attrs.evolve(one, ask=put(one.ask)) for one in flow.slots),
        faq=tuple(attrs.evolve(one, a=put(one.a) or one.a) for one in flow.faq),
        fallback=put(flow.fallback),
        handover=put(flow.handover),
    )
