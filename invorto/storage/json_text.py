"""Values as JSON text, whatever is in them: what JSON has no word for is written as text, so that nothing is lost."""

from __future__ import annotations

import json

import msgspec

_encoder = msgspec.json.Encoder(enc_hook=str)


def json_text(value: object) -> bytes:
    """Write frozen classes and parsed JSON, names and numbers exactly; lone surrogates become ``?``."""
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        pass
    try:
        plain = msgspec.to_builtins(value, enc_hook=str)
        return json.dumps(plain, default=str, skipkeys=True, ensure_ascii=False).encode(errors="replace")
    except (TypeError, ValueError, RecursionError):
        return _encoder.encode({"raw": repr(value)[:1000].encode(errors="replace").decode()})
