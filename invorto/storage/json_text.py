"""Values as JSON text that can be kept, whatever is in them: what JSON has no word for becomes text."""

from __future__ import annotations

import json
import re

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
        plain = msgspec.to_builtins(value, enc_hook=str)
        return json.dumps(plain, default=str, skipkeys=True, ensure_ascii=False).encode(errors="replace")
    except (TypeError, ValueError, RecursionError):
        return _encoder.encode({"raw": repr(value)[:1000].encode(errors="replace").decode()})
