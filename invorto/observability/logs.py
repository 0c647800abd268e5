"""Logs: one line an event, with the call it belongs to, and never with a secret.

`set_up_logs` is called once, before the tree starts. What other libraries log through the standard library comes out in
the same form. ``with structlog.contextvars.bound_contextvars(call_id=…)`` once per task puts the call on every line,
those of its child tasks included.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_HIDDEN: Final = "***"

_SECRET_NAME: Final = re.compile(
    r"(^|_)(password|passwd|secret|secrets|token|api_?key|authorization|cookie|credentials?|(private|secret|access)_key|"
    r"signature|sig)$"
)
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|-")

_SECRET_VALUE: Final = re.compile(
    r"(?P<keep>"
    r"\binv_[a-z]+_(?=[\w-]{8})"  # our keys
    r"|\b[Bb]earer\s+(?=[\w.~+/=-]{8})|\b[Bb]asic\s+(?=[A-Za-z+/]*[\d=])"
    r"|[?&;](?:api_?key|token|sig|key|secret|password|access_token)="
    r"|\b(?:password|passwd|secret|api_?key|token|authorization)(?:=\\?[\"']?|\\?[\"']\s*:\s*\\?[\"'])"
    r"|/media/[^/\s]+/(?=\d+\.)"  # a carrier's signed path
    r"|\beyJ(?=[\w-]+\.[\w-]+\.)"  # a JWT
    r"|\bsk[-_](?=[\w-]{16})"  # vendors' keys
    r")[^\s\"'\\&@,;)\]}]+"
    r"|(?P<user>\w://[^\s:/@\"]*:)[^\s/@\"]+(?=@)",  # the password in a URL
    re.ASCII,
)


def set_up_logs(
    level: str, style: str, stream: TextIO | None = None, scrub: Callable[[str], str] | None = None
) -> None:
    """Log from *level* on, as ``json`` or for a ``console``, to *stream* (stderr), each line as *scrub* leaves it."""
    out = _Unbreakable(stream or sys.stderr)
    least = logging.getLevelNamesMapping()[level.upper()]
    enrich: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    finish = [hide_named, *_renderers(style, colors=out.isatty()), cast("Processor", hide_values)]
    if scrub is not None:
        finish.append(cast("Processor", lambda _, __, line: scrub(line)))
    structlog.configure(
        processors=[*enrich, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", out)),
        cache_logger_on_first_use=False,  # modules keep their loggers; a new set-up must reach them
    )
    handler = logging.StreamHandler(cast("TextIO", out))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *enrich],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(least)
    for name in ("hypercorn.error", "hypercorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(capture=True)


def hide_named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Hide text whose field is named like a secret, at any depth."""
    return {name: _named(name, value) for name, value in event.items()}


def hide_values(_: WrappedLogger, __: str, line: str) -> str:
    """Hide what looks like a secret wherever it stands in the finished line: messages, URLs, tracebacks."""
    return _SECRET_VALUE.sub(lambda found: f"{found['keep'] or found['user']}{_HIDDEN}", line)


def _named(name: object, value: Any, depth: int = 6) -> Any:
    if depth and isinstance(value, Mapping):
        return {key: _named(key, item, depth - 1) for key, item in value.items()}
    secret = isinstance(name, str) and _SECRET_NAME.search(_WORD.sub("_", name).lower()) is not None
    if secret and isinstance(value, str | bytes):
        return _HIDDEN if value else value
    if depth and isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_named(name, item, depth - 1) for item in value]
    return value


def _renderers(style: str, *, colors: bool) -> list[Processor]:
    if style == "json":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    # a traceback without the values of its variables: they are where secrets are
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


class _Unbreakable:
    """A stream that swallows that nobody reads it any more: a closed terminal must not end calls."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False
