"""Identifiers: a prefix that says what it is, and a UUIDv7 that sorts by time."""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import Literal

type Prefix = Literal["a", "c", "cmp", "ct", "att", "wh", "dlv", "evt", "t", "k", "n", "ca", "num", "tool", "m"]

_CALL_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
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
