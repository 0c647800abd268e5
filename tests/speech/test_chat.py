"""Chat completions: the stream's meaning does not depend on how it is cut, and nonsense raises nothing else."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.model.agent import AgentConfig
from invorto.speech.llm.chat import LONGEST_ARGS, Answer, NoAnswer, request_of
from invorto.speech.ports import Delta, Final, Message, Partial, Prompt, ToolCall, Usage, Word
from invorto.speech.sse import Events
from invorto.speech.stt.results import Results
from invorto.speech.tts.alignment import Alignment

STREAM = b'\xef: hi\r\n\r\ndata: {"a":\r\ndata: 1}\r\n\r\nevent: x\nid: 7\ndata:two\n\ndata: [DONE]\n\n'


def chunk(delta: Any, finish: str | None = None) -> bytes:
    return json.dumps({"choices": [{"delta": delta, "finish_reason": finish}]}).encode()


@given(st.lists(st.integers(1, len(STREAM) - 1)))
def test_events_however_they_are_cut(cuts: list[int]) -> None:
    """The same events come of every cut."""
    events, places = Events(), sorted({0, *cuts, len(STREAM)})
    found = [data for a, b in itertools.pairwise(places) for data in events.feed(STREAM[a:b])]
    assert found == [b'{"a":\n1}', b"two", b"[DONE]"]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 90, b"data: xxxxxxx\n" * 20])
def test_an_event_without_an_end_is_refused(piece: bytes) -> None:
    """Neither a line nor an event grows for ever."""
    events = Events(100)

    def all_of_it() -> None:
        for _ in range(5):
            list(events.feed(piece))

    with pytest.raises(ValueError, match="more than 100 bytes"):
        all_of_it()


@given(st.binary(max_size=50) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "delta", "tool_calls", "function", "usage", "content", "index"]), inner),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nonsense_is_no_answer(data: bytes) -> None:
    """Whatever comes is taken, or is `NoAnswer`."""
    answer = Answer()
    try:
        list(answer.take(data))
        list(answer.end())
    except NoAnswer:
        pass


def test_an_answer_that_breaks_off_is_told() -> None:
    """Without the model's word that it stopped, it is not over; an error in the stream is told in its words."""
    answer = Answer()
    assert list(answer.take(chunk({"content": "Hel"}))) == [Delta("Hel")]
    with pytest.raises(NoAnswer, match="broke off"):
        list(answer.end())
    with pytest.raises(NoAnswer, match="overloaded"):
        list(answer.take(b'{"error": {"message": "overloaded"}}'))


def test_tools_come_together() -> None:
    """Pieces by index, arguments as text or as an object, an id where the server gives none."""
    answer = Answer()
    for delta in (
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "two", "arguments": {"x": 1}}}]},
        {"tool_calls": [{"index": 0, "function": {"name": "one", "arguments": '{"y"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 2}"}}]},
    ):
        assert list(answer.take(chunk(delta))) == []
    assert list(answer.take(chunk({}, "tool_calls"))) == []
    list(answer.take(b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": -1}}'))
    assert list(answer.end()) == [ToolCall("call_0", "one", {"y": 2}), ToolCall("b", "two", {"x": 1}), Usage(3, 0)]


@pytest.mark.parametrize("args", ["[1]", "{", '"x"'])
def test_arguments_that_are_none(args: str) -> None:
    """Arguments that were cut, or are no object, are no answer."""
    answer = Answer()
    list(answer.take(chunk({"tool_calls": [{"function": {"name": "one", "arguments": args}}]}, "stop")))
    with pytest.raises(NoAnswer, match="not an object"):
        list(answer.end())


def test_arguments_have_a_bound() -> None:
    """A call, and the number of calls, cannot grow for ever."""
    with pytest.raises(NoAnswer, match="too long"):
        list(Answer().take(chunk({"tool_calls": [{"function": {"name": "a", "arguments": "x" * (LONGEST_ARGS + 1)}}]})))
    with pytest.raises(NoAnswer, match="more than"):
        list(Answer().take(chunk({"tool_calls": [{"index": n} for n in range(40)]})))


def test_a_request_is_written_as_the_api_has_it() -> None:
    """The system's prompt first, tools that were called with their results, schemas as objects; reasoners apart."""
    book = ToolCall("1", "book", {"day": "Monday"})
    history = (
        Message(role="user", text="Book."), Message(role="assistant", tool_calls=(book,)),
        Message(role="tool", text="{}", tool_call_id="1"), Message(role="tool", text="{}"),
    )  # fmt: skip
    tools = [{"name": "a", "inputSchema": {"type": "object"}}, {"name": "b", "description": "B."}]
    agent = AgentConfig(prompt="Be brief.")
    asked = Prompt(agent=agent, settings=agent.llm, history=history, tools=tools)
    body = request_of(asked, "gpt-4o-mini")
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    assert body["messages"][2]["content"] is None
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "book", "arguments": '{"day":"Monday"}'}
    assert body["messages"][4]["tool_call_id"] == ""
    assert [tool["function"]["parameters"] for tool in body["tools"]] == [
        {"type": "object"}, {"type": "object", "properties": {}},
    ]  # fmt: skip
    formed = Prompt(agent=agent, settings=agent.llm, history=(), schema={"type": "object"}, enforced=True)
    assert request_of(formed, "gpt-4o-mini")["response_format"]["json_schema"]["schema"] == {"type": "object"}
    bare = Prompt(agent=AgentConfig(), settings=agent.llm, history=())
    assert request_of(bare, "o3-mini").keys() == {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_completion_tokens",
    }


@pytest.mark.parametrize(
    "piece", [b"[1]", b'{"choices": 7}', b'{"choices": [1]}', b'{"choices": [{"delta": {"tool_calls": [1]}}]}']
)
def test_pieces_that_are_none(piece: bytes) -> None:
    """What has not the form of a piece is no answer."""
    with pytest.raises(NoAnswer):
        list(Answer().take(piece))


def test_an_answer_without_tokens() -> None:
    """A server that does not count gives none."""
    answer = Answer()
    assert list(answer.take(chunk({}, "stop"))) == []
    assert list(answer.end()) == []


def test_an_alignment_that_is_none() -> None:
    """Nothing is nothing; lists that do not match are a ValueError; times of a piece count from where it begins."""
    alignment = Alignment()
    assert list(alignment.take(None, 0)) == []
    with pytest.raises(ValueError, match="without times"):
        list(alignment.take({"characters": ["a"]}, 0))
    for offset in (0.0, 1.0):
        told = {
            "characters": ["a", " "],
            "character_start_times_seconds": [0, 0.5],
            "character_end_times_seconds": [0.5, 1],
        }
        assert list(alignment.take(told, offset)) == [Word("a", offset, offset + 0.5)]


def result(text: str, *, final: bool, finalize: bool = False) -> dict[str, Any]:
    return {"is_final": final, "from_finalize": finalize, "channel": {"alternatives": [{"transcript": text}]}}


def test_results_between_two_pauses_are_one_utterance() -> None:
    """What is final is kept, the last guess replaces the one before, and a pause gets all of it."""
    results = Results()
    texts = [result("I", final=False), result("I would", final=True), result("like", final=False)]
    heard = [what for each in texts for what in results.take(each)]
    assert heard == [Partial("I", 0.0), Partial("I would", 0.0), Partial("I would like", 0.0)]
    results.owed = 1
    (final,) = results.take(result("like tea", final=True, finalize=True))
    assert final == Final("I would like tea", 0.0)
    assert results.owed == 0
    assert results.take(result("", final=True)) == []


@pytest.mark.parametrize("message", [{}, {"channel": 1}, {"channel": {"alternatives": [{"words": [{}]}]}}])
def test_results_that_are_none(message: dict[str, Any]) -> None:
    """What is no result is a ValueError and nothing else."""
    with pytest.raises(ValueError, match="without a transcript"):
        Results().take(message)


@given(st.text("ab ", min_size=1, max_size=30), st.integers(1, 7))
def test_words_are_those_of_the_text(text: str, size: int) -> None:
    """However the characters are cut into pieces, the words joined are the text's, in order."""
    alignment, words = Alignment(), []
    for at in range(0, len(text), size):
        letters = list(text[at : at + size])
        times = [float(at + n) for n in range(len(letters))]
        told = {"characters": letters, "character_start_times_seconds": times, "character_end_times_seconds": times}
        words += alignment.take(told, float(at))
    words += alignment.end()
    assert [word.text for word in words] == text.split()
    assert [word.began for word in words] == sorted(word.began for word in words)
