"""A stand-in for ElevenLabs' text to speech, streamed with timestamps, as its public reference describes it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import numpy as np
import trio

from tests.vendors.faults import KEY, STATUSES, Fault
from tests.vendors.web import Exchange, open_web

LETTER = 0.05
"""Seconds that a character takes."""
PIECE = 8
"""Characters of one piece."""


@attrs.define
class FakeElevenLabs:
    """Hums what it is given."""

    url: str = ""
    fault: Fault = "none"
    relative: bool = False
    """Whether times count from the beginning of each piece."""
    asked: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)

    async def serve(self, exchange: Exchange) -> None:
        if self.fault == "stall":
            await trio.sleep_forever()
        if exchange.path == "/v1/models":
            await exchange.answer(200, [])
            return
        if self.fault in STATUSES or exchange.headers.get("xi-api-key") != KEY:
            detail = {"status": "invalid_api_key", "message": "Invalid API key"}
            await exchange.answer(STATUSES.get(self.fault, 401), {"detail": detail}, retry_after="7")
            return
        _, _, kind, voice, *rest = exchange.path.split("/")
        form = exchange.query.get("output_format", [""])[0]
        if (exchange.method, kind, rest) != ("POST", "text-to-speech", ["stream", "with-timestamps"]) or not form:
            await exchange.answer(404, {"detail": "Not Found"})
            return
        body = exchange.json
        self.asked.append((voice, body))
        rate, pace = int(form.removeprefix("pcm_")), (body.get("voice_settings") or {}).get("speed", 1.0)
        if not 0.7 <= pace <= 1.2:
            await exchange.answer(400, {"detail": {"message": "speed must be between 0.7 and 1.2"}})
            return
        await exchange.begin(200, "text/event-stream")
        text, each = body["text"], LETTER / pace
        for at in range(0, len(text), PIECE):
            if at == 2 * PIECE and self.fault != "none":
                if self.fault == "stall_middle":
                    await trio.sleep_forever()
                if self.fault == "garbage":
                    await exchange.send(b'{"audio_base64": "!"}\n')
                return
            await exchange.send(json.dumps(self._piece(text[at : at + PIECE], at, each, rate)).encode() + b"\n\n")
        await exchange.end()

    def _piece(self, letters: str, at: int, each: float, rate: int) -> dict[str, Any]:
        samples = (2000 * np.sin(np.arange(round(len(letters) * each * rate)) / 9)).astype("<i2")
        begin = 0 if self.relative else at
        alignment = {
            "characters": list(letters),
            "character_start_times_seconds": [(begin + n) * each for n in range(len(letters))],
            "character_end_times_seconds": [(begin + n + 1) * each for n in range(len(letters))],
        }
        audio = base64.b64encode(samples.tobytes()).decode()
        return {"audio_base64": audio, "alignment": alignment, "normalized_alignment": alignment}


@asynccontextmanager
async def open_elevenlabs(**more: Any) -> AsyncGenerator[FakeElevenLabs]:
    """Stand in for ElevenLabs for the length of the block."""
    fake = FakeElevenLabs(**more)
    async with open_web(fake.serve) as url:
        fake.url = url
        yield fake
