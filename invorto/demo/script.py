"""What the caller of the demo does, each step when the agent's answer calls for it, and what is found out by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from importlib import resources as files
from typing import Any

import attrs
import trio

from invorto.audio.wav import read_wav
from invorto.caller.calling import Caller
from invorto.caller.reach import Event
from invorto.demo.words import plain, said_within, word_errors
from invorto.speech.ports import Samples

NUMBER = "4 7 1 2"
"""What the appointment gets, spelled so that it is read digit by digit."""
LONG = "ten minutes early"
"""What the long answer begins with, or nearly."""
ANSWER = 30.0
"""Seconds in which the agent must have answered: its longest answer that is heard to the end takes 12."""
LISTEN = 2.0
"""Seconds of the long answer that the caller listens to."""
SILENCED = 0.15
"""Seconds from the caller's first sound until the agent is told to be silent."""
MISHEARD = 0.35
"""Word error rate up to which a dictated message counts as understood."""

MISNAMED = 0.5
"""The same for a name of two words: one of them may be spelled as nobody spells it."""


@attrs.frozen
class Finding:
    """Something that was expected, and what came of it."""

    what: str
    met: bool
    detail: str = ""


class Stuck(Exception):
    """The conversation cannot go on: the agent does not answer, or has hung up."""


@attrs.frozen
class Saying:
    """A sentence of the caller, and its words."""

    words: str
    sound: Samples


def sayings() -> Mapping[str, Saying]:
    """Read the caller's sentences."""
    folder = files.files("invorto").joinpath("demo/speech")
    words: Mapping[str, str] = json.loads(folder.joinpath("words.json").read_text("utf-8"))
    return {
        name: Saying(text, read_wav(folder.joinpath(f"{name}.wav").read_bytes(), name)[0])
        for name, text in words.items()
    }


def book(event: Event) -> Mapping[str, Any]:
    """Answer the agent's tool call, as the clinic's own software would."""
    if event["name"] != "book_appointment":
        return {"error": f"there is no {event['name']}"}
    return {"number": NUMBER}


@attrs.define
class Script:
    """One conversation."""

    caller: Caller
    remark: Callable[[str], None]
    """Hears what the caller makes of it."""
    today: date
    says: Mapping[str, Saying] = attrs.field(factory=sayings)
    findings: list[Finding] = attrs.field(factory=list[Finding])
    cut: str | None = None
    """The words that were heard of the turn that was interrupted."""

    async def hold(self) -> None:
        """Talk from the greeting to the agent's goodbye."""
        try:
            await self._greeting()
            await self._message()
            await self._interruption()
            await self._booking()
            await self._goodbye()
        except Stuck as stuck:
            self.findings.append(Finding("the conversation goes to its end", met=False, detail=str(stuck)))

    def _find(self, what: str, detail: str, *, met: bool) -> None:
        self.findings.append(Finding(what, met, detail))

    # -- the parts of it --------------------------------------------------------------------------

    async def _greeting(self) -> None:
        heard = await self._hear_out(0, "greeting")
        self._find("the agent greets", heard, met=bool(heard))

    async def _message(self) -> None:
        await self._ask("leave_message", "tell the doctor")
        since, said = self.caller.place, self.says["message"].words
        answer = await self._say("message")
        heard = self._understood(since)
        rate = word_errors(said, heard)
        self._find("a person's dictated message is understood", f"{rate:.0%} of its words wrong", met=rate <= MISHEARD)
        self._find("it is read back as it was understood", answer, met=said_within(heard, answer))

    async def _interruption(self) -> None:
        caller = self.caller
        began = await self._question()
        if not said_within(LONG, began["text"]):
            await self._hear_out(caller.place, "end of a wrong answer")
            self.remark("the caller asks once more")
            began = await self._question()
        self._find("a question is understood", began["text"].strip(), met=said_within(LONG, began["text"]))
        with trio.move_on_after(LISTEN):
            await caller.over.wait()
        since = caller.place
        caller.begin(self.says["interrupt"].sound)
        taken = await self._event_at("control.bargein", since) - caller.spoke_at
        self.remark(f"the agent fell silent {taken * 1000:.0f} ms after the caller's first sound")
        self._find(
            "an interruption silences the agent within 150 ms", f"it took {taken * 1000:.0f} ms", met=taken <= SILENCED
        )
        await caller.said()
        done = await self._wait(lambda event: event["t"] == "tts.done", since, "end of the interrupted turn")
        self.cut = done["heard"]
        short = done["interrupted"] and done["turn"] == began["turn"] and 2 <= len(plain(done["heard"])) <= 12
        self._find("its turn ends where it was interrupted", f"“{done['heard']}”", met=short)

    async def _question(self) -> Event:
        """Ask; gives the first sentence of the answer as it begins."""
        since = self.caller.place
        await self.caller.say(self.says["question"].sound)
        return await self._wait(lambda event: event["t"] == "tts.mark", since, "answer to a question")

    async def _booking(self) -> None:
        answer = await self._hear_out(self.caller.place, "answer to a booking")
        if not self._asks(answer, "at what time"):
            await self._ask("interrupt", "at what time")
        await self._ask("time", "your name")
        await self._ask("name", "is that right")
        since = self.caller.place
        answer = await self._ask("confirm", "anything else")
        call = next((event for _, event in self.caller.events[since:] if event["t"] == "tool.call"), None)
        args: Mapping[str, str] = {} if call is None else call["args"]
        tomorrow = (self.today + timedelta(days=1)).isoformat()
        right = (args.get("date"), args.get("time")) == (tomorrow, "15:30")
        right = right and word_errors("Anna Miller", args.get("name", "")) <= MISNAMED
        told = ", ".join(args.values()) or "nothing was booked"
        self._find("tomorrow at half past three is booked", told, met=right)
        self._find("the appointment's number is read out", answer, met=said_within(NUMBER, answer))

    async def _goodbye(self) -> None:
        since = self.caller.place
        await self.caller.say(self.says["goodbye"].sound)
        with trio.move_on_after(ANSWER):
            await self.caller.over.wait()
        heard = " ".join(event["heard"] for _, event in self.caller.events[since:] if event["t"] == "tts.done")
        self._find("the agent says goodbye", heard, met="goodbye" in heard.lower())
        reason = self.caller.end_reason
        self._find("and hangs up", f"the call ended: {reason or 'not at all'}", met=reason == "agent")

    # -- saying and hearing -----------------------------------------------------------------------

    async def _ask(self, name: str, *wanted: str) -> str:
        """Say something, once more if the agent did not understand; gives its answer."""
        answer = await self._say(name)
        if not self._asks(answer, *wanted):
            self.remark("the caller says it once more")
            answer = await self._say(name)
        if not self._asks(answer, *wanted):
            raise Stuck(f"to “{self.says[name].words}” the agent answered “{answer}”")
        return answer

    @staticmethod
    def _asks(answer: str, *wanted: str) -> bool:
        return all(said_within(part, answer) for part in wanted)

    async def _say(self, name: str) -> str:
        since = self.caller.place
        await self.caller.say(self.says[name].sound)
        return await self._hear_out(since, f"answer to “{self.says[name].words}”")

    async def _hear_out(self, since: int, what: str) -> str:
        with trio.move_on_after(ANSWER):
            heard = await self.caller.hear_out(since=since)
            if heard is None:
                raise Stuck(f"the call ended ({self.caller.end_reason or 'cut off'}) before the {what}")
            return heard
        raise Stuck(f"there was no {what} within {ANSWER:g} s")

    async def _wait(self, wanted: Callable[[Event], bool], since: int, what: str) -> Event:
        with trio.move_on_after(ANSWER):
            event = await self.caller.wait_for(wanted, since=since)
            if event is None:
                raise Stuck(f"the call ended ({self.caller.end_reason or 'cut off'}) before the {what}")
            return event
        raise Stuck(f"there was no {what} within {ANSWER:g} s")

    async def _event_at(self, kind: str, since: int) -> float:
        """Give when an event came."""
        found = await self._wait(lambda event: event["t"] == kind, since, kind)
        return next(at for at, event in self.caller.events if event is found)

    def _understood(self, since: int) -> str:
        """Give what was understood since then."""
        return " ".join(event["text"] for _, event in self.caller.events[since:] if event["t"] == "stt.final")
