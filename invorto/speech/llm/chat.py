"""Chat completions as OpenAI's API has them, and all that are compatible: what is asked, and what the stream means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs
import msgspec

from invorto.speech.ports import Delta, Message, Prompt, Thought, ToolCall, Usage

DONE = b"[DONE]"
"""The data of the last event."""
MOST_CALLS = 32
"""Tools that one answer may call."""
LONGEST_ARGS = 64 * 1024
"""Characters of one call's arguments."""
_REASONS_FIRST = re.compile(r"(o\d|gpt-5)")
"""Models that think before they speak: these know other parameters."""


class NoAnswer(ValueError):
    """What came is no answer of a model."""


def request_of(prompt: Prompt, model: str) -> dict[str, Any]:
    """Make the body of a request."""
    settings = prompt.settings
    body: dict[str, Any] = {
        "model": model,
        "messages": [*_system(prompt), *map(_message, prompt.history)],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if _REASONS_FIRST.match(model):
        body["max_completion_tokens"] = settings.max_tokens
    else:
        body |= {"max_tokens": settings.max_tokens, "temperature": settings.temperature}
    if prompt.schema is not None and prompt.enforced:
        body["response_format"] = {
            "type": "json_schema", "json_schema": {"name": "answer", "schema": dict(prompt.schema), "strict": False},
        }  # fmt: skip
    if prompt.tools:
        body["tools"] = [_tool(tool) for tool in prompt.tools]
    return body


def _system(prompt: Prompt) -> Iterator[dict[str, Any]]:
    if prompt.agent.prompt:
        yield {"role": "system", "content": prompt.agent.prompt}


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.role == "tool":
        told["tool_call_id"] = message.tool_call_id or ""
    if message.tool_calls:
        told["content"] = message.text or None
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": msgspec.json.encode(dict(call.args)).decode()},
            }
            for call in message.tool_calls
        ]
    return told


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = dict(tool.get("inputSchema") or {})
    return {
        "type": "function",
        "function": {
            "name": tool["name"],
            "description": tool.get("description", ""),
            "parameters": schema if schema.get("type") == "object" else {"type": "object", "properties": {}, **schema},
        },
    }


@attrs.define
class _Call:
    """A tool call as it comes together."""

    id: str = ""
    name: str = ""
    args: str = ""


@attrs.define
class Answer:
    """One answer as its pieces come; pure."""

    finished: bool = False
    """Whether the model has said why it stopped."""
    _calls: dict[int, _Call] = attrs.field(factory=dict[int, _Call])
    _usage: Usage | None = None

    def take(self, data: bytes) -> Iterator[Thought]:
        """Take an event's data and give the text in it; `NoAnswer` where it makes no sense, or tells of an error."""
        try:
            chunk = msgspec.json.decode(data)
        except msgspec.DecodeError:
            raise NoAnswer("what came is not JSON") from None
        if not isinstance(chunk, dict):
            raise NoAnswer("what came is no piece of an answer")
        if error := chunk.get("error"):
            told = error.get("message") if isinstance(error, dict) else error
            raise NoAnswer(f"it broke off: {str(told)[:200]}")
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
        choices = chunk.get("choices") or []
        if not isinstance(choices, list):
            raise NoAnswer("what came has no choices")
        for choice in choices[:1]:
            yield from self._choice(choice)

    def _choice(self, choice: Any) -> Iterator[Thought]:
        if not isinstance(choice, dict) or not isinstance(delta := choice.get("delta") or {}, dict):
            raise NoAnswer("what came is no piece of an answer")
        if isinstance(text := delta.get("content"), str) and text:
            yield Delta(text)
        for place, piece in enumerate(delta.get("tool_calls") or ()):
            self._piece(piece, place)
        self.finished = self.finished or choice.get("finish_reason") is not None

    def _piece(self, piece: Any, place: int) -> None:
        if not isinstance(piece, dict) or not isinstance(function := piece.get("function") or {}, dict):
            raise NoAnswer("what came is no call of a tool")
        index = piece.get("index")
        call = self._calls.setdefault(index if isinstance(index, int) else place, _Call())
        if len(self._calls) > MOST_CALLS:
            raise NoAnswer(f"it calls more than {MOST_CALLS} tools at once")
        call.id = str(piece.get("id") or call.id)
        call.name = str(function.get("name") or call.name)
        args = function.get("arguments")  # a few servers give the object itself, whole
        call.args += args if isinstance(args, str) else msgspec.json.encode(args).decode() if args else ""
        if len(call.args) > LONGEST_ARGS:
            raise NoAnswer("a tool's arguments are too long")

    def end(self) -> Iterator[ToolCall | Usage]:
        """Give what is known at the end: the tools to call, and the tokens it took."""
        if not self.finished:
            raise NoAnswer("the answer broke off")
        for place, (_, call) in enumerate(sorted(self._calls.items())):
            yield ToolCall(call.id or f"call_{place}", call.name, _args(call))
        if self._usage is not None:
            yield self._usage


def _args(call: _Call) -> Mapping[str, Any]:
    try:
        args = msgspec.json.decode(call.args or "{}")
    except msgspec.DecodeError:
        args = None
    if not isinstance(args, dict) or not call.name:
        raise NoAnswer(f"the arguments for {call.name[:64] or 'a tool'} are not an object")
    return cast("dict[str, Any]", args)


def _count(tokens: object) -> int:
    return max(tokens, 0) if isinstance(tokens, int) else 0
