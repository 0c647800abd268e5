"""The `elevenlabs` voice: a sentence is one streamed request, with the times of its words."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, override
from urllib.parse import quote

import msgspec
import numpy as np

from invorto.config import Cloud
from invorto.model.agent import TtsSettings
from invorto.outgoing.client import Client, open_client
from invorto.speech.opening import Opening
from invorto.speech.ports import Speech, Tts, Word
from invorto.speech.tts.alignment import Alignment
from invorto.speech.vendor import Vendor, needed

ELEVENLABS = Vendor("elevenlabs", "tts")
RATES = frozenset({8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
"""At which it speaks PCM."""
SLOWEST, FASTEST = 0.7, 1.2
"""How far it changes its pace."""
LARGEST = 8 * 1024 * 1024
"""Bytes of one piece: audio as text, and its characters."""


class _Spoken:
    """A sentence as it comes: JSON, a line a piece."""

    def __init__(self, chunks: AsyncGenerator[bytes], rate: int) -> None:
        self._chunks, self._rate = chunks, rate
        self._line = bytearray()
        self._alignment = Alignment()
        self._samples = 0
        self._odd = b""
        self._over = False

    def __aiter__(self) -> _Spoken:
        return self

    async def __anext__(self) -> Speech:
        while not self._over:
            with ELEVENLABS.failures():
                line = await self._next_line()
            try:
                if speech := self._speech(line):
                    return speech
            except (msgspec.DecodeError, ValueError, binascii.Error) as error:
                raise ELEVENLABS.failed(f"what came is no speech: {error}") from None
        raise StopAsyncIteration

    async def _next_line(self) -> bytes:
        searched = 0
        while (end := self._line.find(b"\n", searched)) < 0:
            searched = len(self._line)
            chunk = await anext(self._chunks, b"")
            if not chunk:
                self._over = True
                end = len(self._line)
                break
            self._line += chunk
            if len(self._line) > LARGEST:
                raise ELEVENLABS.failed("what came is no speech: a piece without an end")
        line = bytes(self._line[:end])
        del self._line[: end + 1]
        return line

    def _speech(self, line: bytes) -> Speech | None:
        """Make audio and words of a line; the last word is given with the end."""
        offset = self._samples / self._rate
        pcm, words = b"", list[Word]()
        if line.strip():
            piece = msgspec.json.decode(line, type=dict[str, Any])
            if "audio_base64" not in piece:
                raise ValueError(str(piece.get("detail") or "no audio")[:200])
            pcm = self._odd + base64.b64decode(piece["audio_base64"] or "", validate=True)
            self._odd = pcm[len(pcm) // 2 * 2 :]
            words += self._alignment.take(piece.get("alignment"), offset)
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.int16, copy=False)
        self._samples += len(samples)
        if self._over:
            words += self._alignment.end()
        return Speech(samples, tuple(words)) if len(samples) or words else None


class ElevenLabsTts(Tts):
    """Speaks by ElevenLabs' streaming requests."""

    name = "elevenlabs"

    def __init__(self, cloud: Cloud, client: Client, voice: str | None, model: str | None) -> None:
        self._model, self._voice = model or cloud.elevenlabs_model_id, voice or cloud.elevenlabs_voice_id
        self.version = f"{self._model} {self._voice}"
        self._base, self._client = cloud.elevenlabs_base_url, client
        self._key = needed(cloud.elevenlabs_api_key, "ELEVENLABS_API_KEY")

    @override
    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Stream one sentence."""
        if rate not in RATES:
            raise ELEVENLABS.failed(f"it does not speak at {rate} Hz")
        voice = quote(settings.voice or self._voice, safe="")
        body: dict[str, Any] = {"text": text, "model_id": settings.model or self._model}
        if settings.rate != 1.0:
            body["voice_settings"] = {"speed": min(max(settings.rate, SLOWEST), FASTEST)}
        url = f"{self._base}/v1/text-to-speech/{voice}/stream/with-timestamps?output_format=pcm_{rate}"
        headers = {"xi-api-key": self._key, "content-type": "application/json"}
        async with AsyncExitStack() as stack:
            with ELEVENLABS.failures():
                streamed = await stack.enter_async_context(
                    self._client.stream("POST", url, headers=headers, content=msgspec.json.encode(body))
                )
                if streamed.status != 200:
                    raise ELEVENLABS.refusal(streamed.status, streamed.headers, await anext(streamed.chunks, b""))
            yield _Spoken(streamed.chunks, rate)

    async def warm(self) -> None:
        """Connect beforehand: the first sentence of a call need not wait for that."""
        with ELEVENLABS.failures():
            await self._client.request("GET", f"{self._base}/v1/models", headers={"xi-api-key": self._key}, most=2**18)


@asynccontextmanager
async def open_tts(opening: Opening) -> AsyncIterator[ElevenLabsTts]:
    """Open the voice; `UsageError` without a key."""
    async with open_client(None) as client:
        yield ElevenLabsTts(opening.config.cloud, client, *opening.first_voice("elevenlabs"))
