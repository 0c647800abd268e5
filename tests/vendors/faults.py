"""What goes wrong with vendors, each by a name that our stand-ins know."""

from __future__ import annotations

from typing import Literal

type Fault = Literal["none", "refused", "busy", "broken", "stall", "stall_middle", "garbage", "cut"]

FAULTS: tuple[Fault, ...] = ("refused", "busy", "broken", "stall", "stall_middle", "garbage", "cut")
KEY = "sk-right"
STATUSES = {"refused": 401, "busy": 429, "broken": 503}
