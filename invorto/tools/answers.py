"""What of a tool's answer is believed: JSON of a bounded size and depth that keeps to its schema; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from invorto.outgoing.client import Answer
from invorto.tools.requests import ToolFailed
from invorto.tools.schemas import DEEPEST, depth, value_faults

LARGEST = 64 * 1024
"""Bytes of JSON: more does not fit into a model's attention either."""
SAID = 300
"""Characters of a refusal that the model is told."""


def read_answer(answer: Answer, schema: Mapping[str, Any] | None) -> bytes:
    """Give the JSON that a tool answered, as it came; `ToolFailed` says why it does not count."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    json = kind == "application/json" or kind.endswith("+json")
    if 300 <= answer.status < 400:
        raise ToolFailed("it points elsewhere, and redirects are not followed", answer.status)
    if answer.status >= 400:
        said = f": {_sentence(answer.body)}" if json and not answer.truncated else ""
        raise ToolFailed(f"it answered {answer.status}{said}", answer.status)
    if answer.truncated:
        raise ToolFailed(f"its answer is longer than {LARGEST // 1024} KiB", answer.status)
    if not answer.body.strip():
        return b"null" if schema is None else _whole(b"null", schema, answer.status)
    if not json:
        raise ToolFailed(f"its answer is not JSON but {kind or 'of no kind'}", answer.status)
    return _whole(answer.body, schema, answer.status)


def _whole(data: bytes, schema: Mapping[str, Any] | None, status: int | None) -> bytes:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ToolFailed("its answer is not JSON", status) from None
    except RecursionError:
        value = None
    if (value is None and data.strip() != b"null") or depth(value) > DEEPEST:
        raise ToolFailed(f"its answer is nested more than {DEEPEST} levels deep", status)
    if faults := value_faults(schema, value):
        told = "; ".join(f"{fault.path}: {fault.message}" for fault in faults)
        raise ToolFailed(f"its answer is not what it promises: {told}"[:SAID], status)
    return msgspec.json.encode(value)


def _sentence(body: bytes) -> str:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(key):
            value = value[key]
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return " ".join(text.split())[:SAID]
