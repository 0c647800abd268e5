"""What an installation says of its webhooks."""

from __future__ import annotations

import pytest

from invorto.config import load
from invorto.errors import Invalid, UsageError
from invorto.outgoing.addresses import check_url
from invorto.outgoing.rules import rules_of


def test_by_itself_only_public_https() -> None:
    """Without a word, webhooks go to public addresses over https, on the usual ports."""
    rules = rules_of(load({}).webhooks)
    assert check_url("https://hook.example/", rules)
    for url in ("http://hook.example/", "https://hook.example:8443/", "https://10.0.0.1/"):
        with pytest.raises(Invalid):
            check_url(url, rules)


def test_on_premises_it_is_opened() -> None:
    """Networks, ports and http are opened one by one."""
    rules = rules_of(
        load(
            {
                "WEBHOOK_ALLOWED_SUBNETS": "10.1.0.0/16, fd00::/8,10.9.9.9",
                "WEBHOOK_ALLOWED_PORTS": "443,8443",
                "WEBHOOK_ALLOW_HTTP": "1",
            }
        ).webhooks
    )
    for url in ("https://10.1.2.3/", "https://[fd00::1]:8443/", "http://10.9.9.9:8443/"):
        assert check_url(url, rules)
    for url in ("https://10.2.0.1/", "http://10.1.2.3/", "https://10.9.9.8/"):
        with pytest.raises(Invalid):
            check_url(url, rules)
    assert rules_of(load({"WEBHOOK_ALLOWED_PORTS": "any"}).webhooks).ports is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_ALLOWED_SUBNETS", "10.0.0.0/33"),
        ("WEBHOOK_ALLOWED_PORTS", "0"),
        ("WEBHOOK_ALLOWED_PORTS", "https"),
        ("WEBHOOK_ALLOWED_PORTS", ","),
        ("MAX_WEBHOOK_RETRIES", "-1"),
        ("WEBHOOK_TIMEOUT", "15000"),
        ("TENANT_WEBHOOK_URL", "hook.example"),
    ],
)
def test_a_setting_that_is_wrong_is_named(name: str, value: str) -> None:
    """The variable is told, and what was expected."""
    with pytest.raises(UsageError, match=f"{name}: expected"):
        load({name: value})


def test_the_environments_endpoint_needs_a_secret() -> None:
    """An endpoint of the environment that nobody could verify is refused."""
    with pytest.raises(UsageError, match="WEBHOOK_SECRET: required"):
        load({"TENANT_WEBHOOK_URL": "https://hook.example/"})
    assert load({"TENANT_WEBHOOK_URL": "https://hook.example/", "WEBHOOK_SECRET": "s"}).webhooks.secret == "s"
