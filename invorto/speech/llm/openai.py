"""The `openai` mind: any server that streams chat completions as OpenAI's does."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import override

import msgspec
import trio

from invorto.config import Cloud, words
from invorto.errors import UsageError
from invorto.outgoing.addresses import AddressRules
from invorto.outgoing.client import Client, open_client
from invorto.outgoing.rules import rules_of
from invorto.speech.llm.chat import DONE, Answer, NoAnswer, request_of
from invorto.speech.opening import Opening
from invorto.speech.ports import Llm, Prompt, Thought
from invorto.speech.sse import Events
from invorto.speech.vendor import Vendor

OPENAI = Vendor("openai", "llm")
_OWN = "https://api.openai.com"
"""The vendor's own server, which wants a key."""
_END = 0.02
"""Seconds that the end of an answer's transfer may take after the end of the answer."""
_TOLD = 4096
"""Bytes of a refusal that are read."""


class _Thoughts:
    """An answer as it comes."""

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        self.over = False
        """Whether all of it has come."""
        self._chunks, self._events, self._answer = chunks, Events(), Answer()
        self._thoughts: deque[Thought] = deque()

    def __aiter__(self) -> _Thoughts:
        return self

    async def __anext__(self) -> Thought:
        with OPENAI.failures():
            try:
                while not self._thoughts and not self.over:
                    self._take(await anext(self._chunks, b""))
            except (NoAnswer, ValueError) as error:
                raise OPENAI.failed(str(error)) from error
        if self._thoughts:
            return self._thoughts.popleft()
        raise StopAsyncIteration

    def _take(self, chunk: bytes) -> None:
        for data in self._events.feed(chunk or b"\n\n"):
            if data == DONE:
                chunk = b""
                break
            self._thoughts += self._answer.take(data)
        if not chunk:
            self.over = True
            self._thoughts += self._answer.end()


class OpenAiLlm(Llm):
    """Thinks on somebody else's machine: the installation's, with its key, or one that a tenant names, without."""

    name = "openai"

    def __init__(self, cloud: Cloud, ours: Client, theirs: Client) -> None:
        self.version = cloud.openai_model
        self._cloud, self._ours, self._theirs = cloud, ours, theirs

    @override
    @asynccontextmanager
    async def answer(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        """Stream one answer; the address of a tenant's own ``baseUrl`` is checked, and never told our key."""
        base, headers = prompt.settings.base_url, {"content-type": "application/json", "accept": "text/event-stream"}
        client = self._theirs
        if base is None or base.rstrip("/") == self._cloud.openai_base_url:
            client, base = self._ours, self._cloud.openai_base_url
            if self._cloud.openai_api_key is not None:
                headers["authorization"] = f"Bearer {self._cloud.openai_api_key}"
            elif base.startswith(_OWN):
                raise OPENAI.failed("OPENAI_API_KEY is not set")
        body = msgspec.json.encode(request_of(prompt, prompt.settings.model or self._cloud.openai_model))
        async with AsyncExitStack() as stack:
            with OPENAI.failures():
                url = f"{base.rstrip('/')}/chat/completions"
                streamed = await stack.enter_async_context(client.stream("POST", url, headers=headers, content=body))
                if streamed.status != 200:
                    raise OPENAI.refusal(streamed.status, streamed.headers, await _some(streamed.chunks))
            thoughts = _Thoughts(streamed.chunks)
            yield thoughts
            if thoughts.over:
                with trio.move_on_after(_END):
                    await _some(streamed.chunks)  # its very end: then the connection serves the next turn too

    async def warm(self) -> None:
        """Connect beforehand: the first answer of a call need not wait for that."""
        key = self._cloud.openai_api_key
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        with OPENAI.failures():
            await self._ours.request("GET", f"{self._cloud.openai_base_url}/models", headers=headers, most=256 * 1024)


async def _some(chunks: AsyncGenerator[bytes]) -> bytes:
    kept = b""
    async for chunk in chunks:
        kept += chunk
        if len(kept) >= _TOLD:
            break
    return kept[:_TOLD]


@asynccontextmanager
async def open_llm(opening: Opening, rules: AddressRules | None = None) -> AsyncIterator[OpenAiLlm]:
    """Open the mind; *rules* are for the addresses that tenants name."""
    cloud = opening.config.cloud
    keyless = cloud.openai_api_key is None and cloud.openai_base_url.startswith(_OWN)
    if keyless and "openai" in words(opening.config.conversation.llm_provider):
        raise UsageError("OPENAI_API_KEY is not set")
    async with open_client(None) as ours, open_client(rules or rules_of(opening.config.webhooks)) as theirs:
        yield OpenAiLlm(cloud, ours, theirs)
