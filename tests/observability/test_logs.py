"""Logs: one line an event, with its call, and no secret in any form."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
import trio

from invorto.observability.logs import set_up_logs

KEY = "inv_live_0123456789abcdefghijklmnop"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Give both logging systems back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    set_up_logs("info", "json")  # as they were: structlog's own tracebacks take seconds each
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def out() -> io.StringIO:
    """Set logs up and give what they are written to."""
    stream = io.StringIO()
    set_up_logs("info", "json", stream)
    return stream


def lines(out: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(out):
    """Event, level, time and fields are there, of any kind and script."""
    structlog.get_logger().warning("redis_lost", error="ठीक\nnext", seconds=1.5, path=io, many=(1, 2))
    (line,) = lines(out)
    assert line["event"] == "redis_lost"
    assert line["level"] == "warning"
    assert line["timestamp"].endswith("Z")
    assert (line["error"], line["seconds"], line["many"]) == ("ठीक\nnext", 1.5, [1, 2])


def test_what_is_below_the_level_is_not_written(out):
    """Debugging is silent at the level of information, for both systems."""
    structlog.get_logger().debug("frame")
    logging.getLogger("any").debug("frame")
    assert not out.getvalue()


async def test_a_call_is_on_every_line_of_its_tasks(out):
    """What is bound once for a call is on its lines and its children's, and on no other call's."""

    async def call(name: str) -> None:
        with structlog.contextvars.bound_contextvars(call_id=name):
            async with trio.open_nursery() as nursery:
                await trio.lowlevel.checkpoint()
                nursery.start_soon(child, name)

    async def child(name: str) -> None:
        structlog.get_logger().info("child", of=name)
        logging.getLogger("library").info("child of %s", name)

    async with trio.open_nursery() as nursery:
        for name in ("c_1", "c_2"):
            nursery.start_soon(call, name)
    structlog.get_logger().info("after")
    *children, after = lines(out)
    assert len(children) == 4
    assert all(line["call_id"] == line.get("of", line["event"][-3:]) for line in children)
    assert "call_id" not in after


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    "say",
    [
        lambda log, secret: log.info("x", api_key=secret),
        lambda log, secret: log.info("x", authToken=secret, Authorization=secret, client_secret=secret),
        lambda log, secret: log.info("x", request={"headers": [{"cookie": secret}]}),
        lambda log, secret: log.info("x", password=secret.encode()),
        lambda log, secret: log.info("x", tokens=[secret], token=[secret, secret]),
        lambda log, secret: log.info("x", url=f"https://h/p?callId=c&api_key={secret}&rate=8000"),
        lambda log, secret: log.info("x", url=f"postgresql://user:{secret}@host/db"),
        lambda log, secret: log.info("x", url=f"redis://:{secret}@host/0"),
        lambda log, secret: log.info("refused Bearer %s today", secret),
        lambda log, secret: log.info("x", body=json.dumps({"password": secret, "n": 1})),
        lambda log, secret: log.info("x", path=f"/telephony/twilio/ca_1/media/c_1/1763.{secret}"),
        lambda log, secret: logging.getLogger("hypercorn.error").warning("GET /?token=%s failed", secret),
        lambda log, secret: logging.getLogger("httpcore").warning("x", extra={"api_key": secret}),
        lambda log, secret: _fail(log, f"password={secret} is wrong"),
    ],
    ids=[
        *("field", "camel", "nested", "bytes", "list", "query", "postgres", "redis", "bearer", "json", "media"),
        *("library", "extra", "traceback"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("secret", [KEY, JWT, "sk-proj-0123456789abcdefghij"], ids=["key", "jwt", "vendor"])
def test_no_secret_is_written(style, say, secret):
    """Whatever field, message, URL, traceback or library a secret comes in, it does not come out, and the line does."""
    out = io.StringIO()
    set_up_logs("info", style, out)
    say(structlog.get_logger(), secret)
    assert out.getvalue()
    assert secret not in out.getvalue()
    assert secret[-8:] not in out.getvalue()


def _fail(log: structlog.typing.FilteringBoundLogger, message: str) -> None:
    try:
        local = message
        raise RuntimeError(local)
    except RuntimeError:
        log.exception("failed")


@pytest.mark.parametrize("secret", [KEY, JWT, "sk-proj-0123456789abcdefghij"], ids=["key", "jwt", "vendor"])
def test_a_secret_is_known_by_its_look(out, secret):
    """Our keys, tokens and vendors' keys are hidden wherever they stand."""
    structlog.get_logger().info(f"got {secret}, why?", note=f"({secret})")
    assert secret[-8:] not in out.getvalue()
    assert "why?" in lines(out)[0]["event"]


def test_what_is_no_secret_is_left_alone(out):
    """Counts of tokens, ids of keys, ports, times and words are what logs are for."""
    fields = {
        "tokens": 5, "llm_first_token_ms": 120.5, "token": None, "password": 7, "key_id": "k_0123456789abcdef",
        "call_id": "c_0123456789", "url": "http://127.0.0.1:8080/v1/calls?page=2", "error": "unexpected token: x",
        "mail": "a@b.co", "signal": "TERM", "said": "some basic information", "secret": "",
        "idempotency_key": "order-17",
    }  # fmt: skip
    structlog.get_logger().info("basic things", **fields)
    (line,) = lines(out)
    assert {name: line[name] for name in fields} == fields


def test_warnings_and_other_libraries_speak_the_same_language(out):
    """What is logged through the standard library, warnings included, has the same form, once."""
    logging.getLogger("hypercorn.error").addHandler(logging.StreamHandler(out))
    set_up_logs("info", "json", out)
    logging.getLogger("hypercorn.error").warning("busy %d", 5)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    first, second = lines(out)
    assert (first["event"], first["logger"], first["level"]) == ("busy 5", "hypercorn.error", "warning")
    assert "old way" in second["event"]


def test_exceptions_are_told_whole(out):
    """A group's traceback is in the line, every member of it."""
    try:
        raise ExceptionGroup("two", [ValueError("one thing"), KeyError("another")])
    except ExceptionGroup:
        structlog.get_logger().exception("call_failed")
    (line,) = lines(out)
    assert "ValueError: one thing" in line["exception"]
    assert "KeyError: 'another'" in line["exception"]


@pytest.mark.parametrize("style", ["json", "console"])
def test_nobody_to_read_is_no_error(style):
    """A closed terminal or pipe never reaches the code that logs."""
    out = io.StringIO()
    set_up_logs("info", style, out)
    out.close()
    structlog.get_logger().info("x")
    logging.getLogger("library").warning("x")


def test_modules_keep_their_loggers(out):
    """A logger that was made and used before is set up anew as well."""
    log = structlog.get_logger("early")
    log.info("one")
    later = io.StringIO()
    set_up_logs("warning", "json", later)
    log.info("two")
    log.warning("three")
    assert [line["event"] for line in lines(out)] == ["one"]
    assert [line["event"] for line in lines(later)] == ["three"]
