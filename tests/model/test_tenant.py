"""What is different for one tenant."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from invorto.model.tenant import TenantSettings


def test_nothing_need_be_different() -> None:
    """Where a tenant says nothing, the installation's settings hold."""
    plain = TenantSettings()
    assert (plain.max_concurrent_calls, plain.guaranteed_calls, plain.daily_cap_inr, plain.timezone) == (
        None,
        0,
        None,
        None,
    )
    assert plain.allowed_origins == plain.tool_hosts == ()


def test_what_may_be_said() -> None:
    """Limits, money, a zone, origins with ports, hosts with a star in front."""
    said = TenantSettings(
        max_concurrent_calls=0, guaranteed_calls=5, daily_cap_inr=Decimal("12.50"), timezone="Asia/Kolkata",
        allowed_origins=("https://app.example.com", "http://10.0.0.1:8080"),
        tool_hosts=("*.example.com", "api.example.com"),
    )  # fmt: skip
    assert said.timezone == "Asia/Kolkata"


@pytest.mark.parametrize(
    "wrong",
    [
        {"timezone": "Asia/Atlantis"}, {"daily_cap_inr": Decimal(-1)}, {"daily_cap_inr": Decimal(2_000_000_000)},
        {"allowed_origins": ("app.example.com",)}, {"allowed_origins": ("https://u@x.example",)},
        {"allowed_origins": ("https://x.example:99999",)}, {"allowed_origins": ("https://[x",)},
        {"tool_hosts": ("https://x.example",)}, {"guaranteed_calls": -1},
    ],
)  # fmt: skip
def test_what_may_not(wrong: dict[str, Any]) -> None:
    """A zone that is none, money below nothing, origins with a path or a user, hosts that are URLs."""
    with pytest.raises(ValueError, match=r"\w"):
        TenantSettings(**wrong)
