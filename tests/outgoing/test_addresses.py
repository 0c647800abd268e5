"""Where requests of ours may go: a table of what people try, and what they get."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import Invalid
from invorto.outgoing.addresses import AddressRules, check_address, check_url, parse_networks, read_url

RULES = AddressRules()
OPEN = AddressRules(allow_http=True, ports=None)

HOSTILE = [
    # loopback, private, link-local, however they are written
    "https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://2130706433/", "https://0x7f000001/",
    "https://0x7f.1/", "https://0177.0.0.1/", "https://017700000001/", "https://0/", "https://0.0.0.0/",
    "https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.0.1/", "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/", "https://100.100.100.200/", "https://168.63.129.16/", "https://192.0.0.192/",
    "https://198.18.0.1/",
    "https://224.0.0.1/", "https://240.0.0.1/", "https://255.255.255.255/", "https://192.88.99.1/",
    "https://1.2.3.4.5/",
    "https://127.0.0.1./", "https://256.1.1.1/", "https://1.1.1/", "https://127.0.0.0x1/", "https://08.8.8.8/",
    # the same in IPv6, plain and wrapped
    "https://[::1]/", "https://[::]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::ffff:a9fe:a9fe]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/", "https://[64:ff9b::a9fe:a9fe]/", "https://[64:ff9b:1::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/", "https://[2001:0:7f00:1::]/", "https://[2001:db8::1]/", "https://[ff02::1]/",
    "https://[fec0::1]/",
    "https://[2606:4700::5efe:7f00:1]/", "https://[2606:4700::200:5efe:10.0.0.1]/", "https://[::1", "https://::1/",
    # what parsers disagree about
    "https://example.com@127.0.0.1/", "https://user:pass@example.com/", "https://example.com:443@evil.example/",
    "https://example.com\\@127.0.0.1/", "https://example.com#@127.0.0.1/", "https://example.com/#x",
    "https:///127.0.0.1/",
    "https:example.com", "https:/example.com", "//example.com/", "https://", "https://:443/", "https://exa mple.com/",
    "https://example.com/\nHost: x", "https://example.com/\x00", "https://example.com\t/",
    "https://127.0.0.1%2f@example.com/",
    "https://%31%32%37.0.0.1/", "https://exam%70le.com/", "https://.example.com/", "https://example..com/",
    "https://-a.example/",
    "https://[127.0.0.1]/", "https://[example.com]/", "https://example.com:99999/", "https://example.com:0/",
    "https://example.com:/",
    "https://example.com:443:443/", "https://example.com:²/", "https://" + "a" * 64 + ".example/",
    "https://example.com/" + "a" * 3000,
    # unicode that is a number, a dot or a slash in disguise
    "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://\uff11\uff12\uff17.0.0.1/",
    "https://exa\u00admple\u2024com../",
    "https://xn--/", "https://example.com/ü", "https://\u202eexample.com/", "https://a\u2044b.example/",
    # other ports, other schemes
    "http://example.com/", "https://example.com:22/", "https://example.com:6379/", "https://example.com:8443/",
    "ftp://example.com/",
    "file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "javascript:alert(1)", "unix:///var/run/docker.sock",
    "HTTPS//example.com", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_urls_are_refused(url: str) -> None:
    """Whatever leads, or might lead, to a place that is not public is refused with a sentence."""
    with pytest.raises(Invalid, match=r".{10,}"):
        check_url(url, RULES)


def test_the_table_is_long() -> None:
    """At least sixty of them."""
    assert len(set(HOSTILE)) >= 60


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://example.com", "https://example.com/"),
        ("https://example.com:443/a?b=c", "https://example.com/a?b=c"),
        ("https://EXAMPLE.com./x", "https://example.com/x"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://[::ffff:8.8.8.8]/", "https://[::ffff:8.8.8.8]/"),
        ("https://[64:ff9b::808:808]/", "https://[64:ff9b::808:808]/"),
        ("https://hooks.example.com:80/", "https://hooks.example.com:80/"),
        ("https://under_score.example/", "https://under_score.example/"),
    ],
)
def test_public_urls_are_taken(url: str, plain: str) -> None:
    """What people really write is read, and kept in one form."""
    assert check_url(url, RULES).url == plain


def test_rules_open_what_they_say() -> None:
    """On premises, plain HTTP, other ports and private networks are reached where they are opened, and no others."""
    rules = AddressRules(allow_http=True, ports=None, subnets=parse_networks(["127.0.0.0/8", "fd00::/8"]))
    for url in (
        "http://127.0.0.1:8000/hook",
        "http://[fd00::1]/",
        "http://[::ffff:127.0.0.1]:9/",
        "https://example.com:1/",
    ):
        check_url(url, rules)
    for url in ("http://10.0.0.1/", "http://[fe80::1]/", "http://[::ffff:10.0.0.1]/", "http://2130706433/"):
        with pytest.raises(Invalid):
            check_url(url, rules)


def test_networks_are_read_or_named() -> None:
    """A single address is a network of one; what is none is named."""
    assert parse_networks(["10.0.0.7", "10.1.2.3/8"]) == (ip_network("10.0.0.7/32"), ip_network("10.0.0.0/8"))
    with pytest.raises(ValueError, match=r"10\.0\.0"):
        parse_networks(["10.0.0"])


@given(st.ip_addresses(v=6) | st.ip_addresses(v=4))
def test_nothing_private_passes(address: object) -> None:
    """An address that Python does not call public is never let through, wrapped or not."""
    wanted = ip_address(str(address))
    try:
        check_address(wanted, OPEN)
    except Invalid:
        return
    mapped = getattr(wanted, "ipv4_mapped", None)
    inner = mapped or wanted
    assert inner.is_global or str(inner).startswith("64:ff9b::")


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    """Whatever is written, it is read to one form that reads the same again, or refused; nothing else is raised."""
    for url in (text, f"https://{text}", f"https://{text}/x", f"https://example.com/{text}"):
        try:
            target = read_url(url)
        except Invalid:
            continue
        assert read_url(target.url) == target
