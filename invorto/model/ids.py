"""Identifiers: a prefix that says what it is, and a UUIDv7 that sorts by time."""

from __future__ import annotations

import os
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Literal

type Prefix = Literal[
    "a", "c", "cmp", "ct", "att", "wh", "dlv", "evt", "t", "k", "n", "ca", "num", "tool", "sec", "m", "ad"
]

_CALL_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OURS = re.compile(r"[a-z]+_(0[0-9a-f]{11})7[0-9a-f]{3}[89ab][0-9a-f]{15}")
_RESERVED = frozenset({"connections", "tokens"})


def new_id(prefix: Prefix) -> str:
    """Make an identifier such as ``c_0199f0c2a1b07cc3b6f1c0a4f2d7e901``."""
    millis = time.time_ns() // 1_000_000
    value = (millis & (2**48 - 1)) << 80 | 0x7 << 76 | int.from_bytes(os.urandom(10)) & ~(0xF << 76)
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{prefix}_{uuid.UUID(int=value).hex}"


def is_call_id(text: str) -> bool:
    """Tell whether *text* may name a call."""
    return _CALL_ID.fullmatch(text) is not None and text not in _RESERVED


def moment_of(identifier: str) -> datetime | None:
    """Tell when one of our identifiers was made, to the millisecond; None for one that is not ours."""
    shape = _OURS.fullmatch(identifier)
    return datetime.fromtimestamp(int(shape[1], 16) / 1000, UTC) if shape else None
