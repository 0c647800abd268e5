"""Values as JSON text that can be kept, whatever is in them: what JSON has no word for becomes text."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

_encoder = msgspec.json.Encoder(enc_hook=str)
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""The escape of a NUL, and not a backslash that is followed by ``u0000``."""


def json_text(value: object) -> bytes:
    """Write frozen classes and parsed JSON, names and numbers exactly; NULs and lone surrogates become ``?``."""
    text = _encode(value)
    return _NUL.sub(rb"\1?", text) if b"\\u0000" in text else text


def _encode(value: object) -> bytes:
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError):  # lone surrogates, odd keys, a circle
        pass
    try:
        return _encoder.encode(_plain(msgspec.to_builtins(value, enc_hook=str)))
    except (TypeError, ValueError, RecursionError):
        return _encoder.encode({"raw": _sound(repr(value)[:1000])})


def _plain(value: object) -> object:
    match value:
        case str():
            return _sound(value)
        case dict():
            return {_sound(str(key)): _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
        case list() | tuple():
            return [_plain(item) for item in cast("list[Any]", value)]
        case _:
            return value


def _sound(text: str) -> str:
    return text.encode(errors="replace").decode()
