"""A stand-in for Deepgram's two sockets, hearing and speaking, as its public reference describes them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import numpy as np
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from tests.vendors.faults import KEY, STATUSES, Fault

HEARD = ("Hello there.", "I would like an appointment.")
LETTER = 0.05
"""Seconds that a character takes to say."""


@attrs.define
class FakeDeepgram:
    """Hears *heard*, utterance by utterance, a word every 0.3 s of audio; hums what it is given to say."""

    url: str = ""
    fault: Fault = "none"
    heard: tuple[str, ...] = HEARD
    mute: bool = False
    """Whether it hears, and does not speak."""
    silent: bool = False
    """Whether it answers no ``Finalize``, as the real one where it heard nothing."""
    listening: list[dict[str, list[str]]] = attrs.field(factory=list)
    speaking: list[dict[str, list[str]]] = attrs.field(factory=list)
    told: list[str] = attrs.field(factory=list)
    """The types of the messages it was sent."""
    audio: bytearray = attrs.field(factory=bytearray)
    """All it was given to hear."""
    open: int = 0
    after: float = 0.0
    """Seconds until it speaks."""

    async def serve(self, request: WebSocketRequest) -> None:
        if self.fault == "stall":
            await trio.sleep_forever()
        key = dict(request.headers).get(b"authorization")
        mute = self.mute and request.path.startswith("/v1/speak")
        if mute or self.fault in STATUSES or key not in {f"Token {KEY}".encode(), f"token {KEY}".encode()}:
            body = json.dumps({"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials.", "request_id": "r"})
            headers = [(b"content-type", b"application/json"), (b"retry-after", b"7"), (b"dg-error", b"no")]
            await request.reject(
                STATUSES.get(self.fault, 503 if mute else 401), extra_headers=headers, body=body.encode()
            )
            return
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        socket = await request.accept()
        self.open += 1
        try:
            with suppress(ConnectionClosed):
                if parts.path == "/v1/listen":
                    self.listening.append(query)
                    await self._listen(socket, query)
                elif parts.path == "/v1/speak":
                    self.speaking.append(query)
                    await self._speak(socket, query)
        finally:
            self.open -= 1

    # -- hearing ----------------------------------------------------------------------------------

    async def _listen(self, socket: WebSocketConnection, query: dict[str, list[str]]) -> None:
        rate = int(query["sample_rate"][0])
        assert query["encoding"] == ["linear16"]
        utterance, size, began, said = 0, 0, 0.0, 0
        while True:
            message = await socket.get_message()
            words = self.heard[utterance % len(self.heard)].split()
            if isinstance(message, bytes):
                self.audio += message
                size += len(message)
                now = size / 2 / rate
                count = min(int((now - began) / 0.3), len(words))
                if count > said:
                    said = count
                    if await self._spoilt(socket, said):
                        return
                    await socket.send_message(_results(words[:said], began, now, final=False))
                continue
            kind = json.loads(message)["type"]
            self.told.append(kind)
            if kind == "CloseStream":
                await socket.send_message(
                    json.dumps({"type": "Metadata", "request_id": "r", "duration": size / 2 / rate})
                )
                await socket.aclose()
                return
            if kind == "Finalize" and not self.silent:
                now = size / 2 / rate
                await socket.send_message(_results(words if said else [], began, now, final=True, finalize=True))
                utterance, began, said = utterance + bool(said), now, 0

    async def _spoilt(self, socket: WebSocketConnection, said: int) -> bool:
        if self.fault == "stall_middle" and said > 1:
            while True:
                await socket.get_message()
        if self.fault == "garbage" and said > 1:
            await socket.send_message("{nonsense")
        if self.fault == "cut" and said > 1:
            await socket.aclose(1011, "NET-0001")
            return True
        return False

    # -- speaking ---------------------------------------------------------------------------------

    async def _speak(self, socket: WebSocketConnection, query: dict[str, list[str]]) -> None:
        rate, pace = int(query["sample_rate"][0]), float(query.get("speed", ["1"])[0])
        assert query["encoding"] == ["linear16"]
        model = query["model"][0]
        about = {"type": "Metadata", "request_id": "r", "model_name": model, "model_version": "1", "model_uuid": "u"}
        await socket.send_message(json.dumps(about))
        text, flushed = "", 0
        while True:
            message = json.loads(await socket.get_message())
            self.told.append(message["type"])
            match message["type"]:
                case "Speak":
                    text += message["text"]
                case "Flush":
                    await trio.sleep(self.after)
                    samples = (2000 * np.sin(np.arange(round(len(text) * LETTER / pace * rate)) / 9)).astype("<i2")
                    pcm = samples.tobytes()
                    for number, at in enumerate(range(0, len(pcm), 3201)):
                        if number == 2 and self.fault != "none":
                            if self.fault == "stall_middle":
                                await trio.sleep_forever()
                            if self.fault == "garbage":
                                await socket.send_message("nonsense")
                            if self.fault == "cut":
                                await socket.aclose(1011, "internal")
                                return
                        await socket.send_message(pcm[at : at + 3201])
                    await socket.send_message(json.dumps({"type": "Flushed", "sequence_id": flushed}))
                    text, flushed = "", flushed + 1
                case "Close":
                    await socket.aclose()
                    return
                case _:
                    pass


def _results(words: list[str], began: float, now: float, *, final: bool, finalize: bool = False) -> str:
    timed = [
        {"word": word.lower().strip(".,"), "punctuated_word": word, "start": began + 0.3 * n,
         "end": began + 0.3 * (n + 1), "confidence": 0.9}
        for n, word in enumerate(words)
    ]  # fmt: skip
    best = {"transcript": " ".join(words), "confidence": 0.9 if words else 0.0, "words": timed}
    return json.dumps({
        "type": "Results", "channel_index": [0, 1], "start": began, "duration": now - began, "is_final": final,
        "speech_final": final, "from_finalize": finalize, "channel": {"alternatives": [best]},
        "metadata": {"request_id": "r", "model_uuid": "u", "model_info": {"name": "n", "version": "1", "arch": "a"}},
    })  # fmt: skip


@asynccontextmanager
async def open_deepgram(**more: Any) -> AsyncGenerator[FakeDeepgram]:
    """Stand in for Deepgram for the length of the block."""
    fake = FakeDeepgram(**more)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, fake.serve, "127.0.0.1", 0, None))
        fake.url = f"http://127.0.0.1:{server.port}"
        yield fake
        nursery.cancel_scope.cancel()
