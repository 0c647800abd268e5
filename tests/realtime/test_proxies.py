"""Who asks is who the connection comes from, unless a proxy of ours says otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.config import load, networks
from invorto.errors import UsageError
from invorto.realtime.proxies import Proxies

OURS = Proxies(trusted=networks("10.0.0.0/8, 2001:db8::/32"), allowed=networks("203.0.113.0/24, 2001:db9::1"))

CASES = [
    ("198.51.100.7", "", "198.51.100.7"),
    ("198.51.100.7", "1.2.3.4", "198.51.100.7"),  # a stranger's word
    ("10.0.0.1", "", "10.0.0.1"),
    ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
    ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # what the client wrote itself is before
    ("10.0.0.1", "1.2.3.4, 10.9.9.9", "1.2.3.4"),  # two proxies of ours
    ("10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
    ("10.0.0.1", "[2001:db9::7]:443", "2001:db9::7"),
    ("10.0.0.1", '"2001:db9::7"', "2001:db9::7"),
    ("10.0.0.1", "unknown", "10.0.0.1"),
    ("10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1"),
    ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
    ("2001:db8::5", "1.2.3.4", "1.2.3.4"),
    ("2001:db9::5", "1.2.3.4", "2001:db9::5"),
    ("local", "1.2.3.4", "local"),
]


@pytest.mark.parametrize(("peer", "forwarded", "client"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_who_asks(peer: str, forwarded: str, client: str) -> None:
    """Only our proxies are believed, and only what they wrote themselves."""
    assert OURS.client(peer, {"X-Forwarded-For": forwarded} if forwarded else {}).address == client


def test_scheme_and_host() -> None:
    """Scheme and host are those of the nearest proxy, where it is ours, and make sense."""
    said = {"X-Forwarded-Proto": "http, https", "X-Forwarded-Host": "evil, voice.example.com"}
    asked = OURS.client("10.0.0.1", said)
    assert (asked.scheme, asked.host) == ("https", "voice.example.com")
    stranger = OURS.client("9.9.9.9", said)
    assert (stranger.scheme, stranger.host) == (None, None)
    assert OURS.client("10.0.0.1", {"X-Forwarded-Proto": "gopher"}).scheme is None


def test_whom_the_list_lets_in() -> None:
    """Addresses and ranges of both kinds; an empty list lets everybody in; what is no address is not let in."""
    for address, may in (
        ("203.0.113.9", True), ("203.0.114.9", False), ("2001:db9::1", True), ("2001:db9::2", False),
        ("::ffff:203.0.113.9", True), ("local", False),
    ):  # fmt: skip
        assert OURS.allows(OURS.client(address, {})) is may, address
        assert Proxies().allows(Proxies().client(address, {}))


def test_settings() -> None:
    """Both lists come from the environment; what is no range is named."""
    network = load({"API_ALLOWED_IPS": "10.0.0.0/8,::1", "TRUSTED_PROXIES": "192.0.2.1"}).network
    assert [str(one) for one in network.allowed_ips] == ["10.0.0.0/8", "::1/128"]
    assert [str(one) for one in network.trusted_proxies] == ["192.0.2.1/32"]
    with pytest.raises(UsageError, match=r"API_ALLOWED_IPS: expected networks"):
        load({"API_ALLOWED_IPS": "10.0.0.1/99"})


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_breaks_it(peer: str, forwarded: str) -> None:
    """Whatever stands there, somebody asks."""
    asked = OURS.client(peer, {"X-Forwarded-For": forwarded})
    OURS.allows(asked)
