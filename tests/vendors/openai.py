"""A stand-in for OpenAI's chat completions, as its public reference describes them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from tests.vendors.faults import KEY, STATUSES, Fault
from tests.vendors.web import Exchange, open_web

WORDS = "Certainly, the clinic opens at nine."


@attrs.define
class FakeOpenAi:
    """Answers with *words*, and calls *tools* for a user; what was asked is kept."""

    url: str = ""
    fault: Fault = "none"
    words: str = WORDS
    tools: list[tuple[str, str]] = attrs.field(factory=list)
    """Names, and arguments as JSON."""
    delay: float = 0.0
    asked: list[dict[str, Any]] = attrs.field(factory=list)
    keys: list[str | None] = attrs.field(factory=list)

    async def serve(self, exchange: Exchange) -> None:
        key = exchange.headers.get("authorization")
        self.keys.append(key)
        if self.fault == "stall":
            await trio.sleep_forever()
        if exchange.method == "GET" and exchange.path == "/v1/models":
            await exchange.answer(200, {"object": "list", "data": []})
            return
        if self.fault in STATUSES or key != f"Bearer {KEY}":
            status = STATUSES.get(self.fault, 401)
            error = {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            await exchange.answer(status, {"error": error}, retry_after="7")
            return
        if (exchange.method, exchange.path) != ("POST", "/v1/chat/completions"):
            await exchange.answer(404, {"error": {"message": "Unknown request URL"}})
            return
        body = exchange.json
        self.asked.append(body)
        if (wrong := _wrong(body)) is not None:
            await exchange.answer(400, {"error": {"message": wrong, "type": "invalid_request_error"}})
            return
        await exchange.begin(200, "text/event-stream; charset=utf-8")
        await trio.sleep(self.delay)
        for number, chunk in enumerate(self._chunks(body)):
            if number == 3 and self.fault != "none":
                if self.fault == "stall_middle":
                    await trio.sleep_forever()
                if self.fault == "garbage":
                    await exchange.send(b"data: {nonsense\n\n")
                return  # cut: the transfer has no end
            await exchange.send(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await exchange.send(b"data: [DONE]\n\n")
        await exchange.end()

    def _chunks(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

        def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
            return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": None}

        yield chunk({"role": "assistant", "content": ""})
        for word in self.words.split(" "):
            yield chunk({"content": word + " "})
        tools = self.tools if body["messages"][-1]["role"] == "user" else []
        for index, (name, args) in enumerate(tools):
            call = {"index": index, "id": f"call_{index}", "type": "function"}
            yield chunk({"tool_calls": [call | {"function": {"name": name, "arguments": ""}}]})
            for at in range(0, len(args), 5):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": args[at : at + 5]}}]})
        yield chunk({}, "tool_calls" if tools else "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}
            yield head | {"choices": [], "usage": usage}


def _wrong(body: dict[str, Any]) -> str | None:
    """Say what the reference forbids in a request."""
    if not body.get("stream"):
        return "this stand-in only streams"
    owed: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in owed:
                return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
            owed.discard(message["tool_call_id"])
            continue
        if owed:
            return f"An assistant message with 'tool_calls' must be followed by tool messages: {sorted(owed)}"
        if message["role"] not in {"system", "user", "assistant", "developer"}:
            return f"Invalid value: {message['role']!r}"
        owed = {call["id"] for call in message.get("tool_calls") or ()}
        if message.get("content") is None and not owed:
            return "Invalid value for 'content': expected a string, got null."
    for tool in body.get("tools") or ():
        if tool["type"] != "function" or tool["function"]["parameters"].get("type") != "object":
            return f"Invalid schema for function {tool['function']['name']!r}"
    return None


@asynccontextmanager
async def open_openai(**more: Any) -> AsyncGenerator[FakeOpenAi]:
    """Stand in for OpenAI for the length of the block."""
    fake = FakeOpenAi(**more)
    async with open_web(fake.serve) as url:
        fake.url = f"{url}/v1"
        yield fake
