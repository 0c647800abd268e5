"""Where a request of ours may go: URLs read strictly, addresses unwrapped, everything that is not public refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

import attrs
import idna

from invorto.errors import Invalid

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

LONGEST = 2048
"""Characters of a URL."""
_DEFAULT_PORTS = {"https": 443, "http": 80}
_NAME = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
"""A last label that resolvers may take for a number: then the whole host is an address, however it is written."""
_ODD = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ufeff]")
"""Characters that parsers of URLs disagree about."""

_NAT64 = ip_network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
_REFUSED: tuple[Network, ...] = (
    ip_network("168.63.129.16/32"),  # the platform of one cloud answers here, though the address is public
    ip_network("192.88.99.0/24"),  # relays of 6to4
    ip_network("192.31.196.0/24"),  # sinks of name servers, and the next two
    ip_network("192.52.193.0/24"),
    ip_network("192.175.48.0/24"),
    ip_network("::/96"),  # IPv4 in IPv6 as it was once written
    ip_network("64:ff9b:1::/48"),  # translation within somebody's network
    ip_network("100::/64"),
    ip_network("2001::/23"),  # Teredo among others
    ip_network("2001:db8::/32"),
    ip_network("2002::/16"),  # 6to4
    ip_network("3fff::/20"),
    ip_network("5f00::/16"),
    ip_network("fec0::/10"),
)
"""Besides what Python knows to be no public address."""


@attrs.frozen(kw_only=True)
class AddressRules:
    """What an installation lets requests reach that its tenants ask for."""

    allow_http: bool = False
    ports: frozenset[int] | None = frozenset({80, 443})
    """None: any."""
    subnets: tuple[Network, ...] = ()
    """Reachable although they are not public."""


@attrs.frozen(kw_only=True)
class Target:
    """A URL that may be tried; its host is a name in ASCII, or an address."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query; begins with a slash."""
    address: Address | None = None
    """Where the host is one already."""

    @property
    def authority(self) -> str:
        """What the ``Host`` header says."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole of it, in its one form."""
        return f"{self.scheme}://{self.authority}{self.path}"


def read_url(text: str) -> Target:
    """Read an absolute http or https URL; `Invalid` for whatever two parsers could read in two ways."""
    if len(text) > LONGEST:
        raise Invalid(f"a URL of at most {LONGEST} characters is expected")
    if not text or _ODD.search(text):
        raise Invalid("a URL has neither spaces, control characters nor backslashes")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Invalid("this is not a URL") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise Invalid("a URL that begins with https:// is expected")
    if not text[len(parts.scheme) :].startswith("://") or not parts.netloc:
        raise Invalid("the URL names no host")
    if "@" in parts.netloc:
        raise Invalid("a URL must not hold a user or a password")
    if parts.fragment or text.endswith("#"):
        raise Invalid("a URL must not have a fragment")
    if port == 0 or parts.netloc.endswith(":"):
        raise Invalid("this is not a port")
    host, address = _host(parts)
    path = parts.path or "/"
    path = path + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise Invalid("the path of a URL must be percent-encoded")
    return Target(scheme=parts.scheme, host=host, port=port or _DEFAULT_PORTS[parts.scheme], path=path, address=address)


def check_url(text: str, rules: AddressRules) -> Target:
    """Read a URL that a request may be made to under *rules*; `Invalid` says why not. Names are not resolved."""
    target = read_url(text)
    if target.scheme == "http" and not rules.allow_http:
        raise Invalid("a URL that begins with https:// is expected")
    if rules.ports is not None and target.port not in rules.ports:
        raise Invalid(f"port {target.port} is not allowed: {', '.join(map(str, sorted(rules.ports)))}")
    if target.address is not None:
        check_address(target.address, rules)
    return target


def check_address(address: Address, rules: AddressRules) -> None:
    """Refuse an address that is not public, also one wrapped in another, unless *rules* open its network: `Invalid`."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise Invalid("an address with a zone is of one machine alone")
    inner = _inner(address)
    if any(_within(each, rules.subnets) for each in (address, inner)):
        return
    if not _public(inner):
        raise Invalid(f"{address} is not a public address")


def _host(parts: SplitResult) -> tuple[str, Address | None]:
    """Give the host in its one form, and the address that it is."""
    netloc = parts.netloc
    if "[" in netloc or "]" in netloc:
        literal = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d*)?", netloc)
        if literal is None:
            raise Invalid("this is not an IPv6 address")
        try:
            address: Address = IPv6Address(literal[1])
        except ValueError:
            raise Invalid("this is not an IPv6 address") from None
        return str(address), address
    if "%" in netloc:
        raise Invalid("a host is not percent-encoded")
    host = (parts.hostname or "").removesuffix(".")
    try:
        host = idna.encode(host, uts46=True, std3_rules=False).decode() if not host.isascii() else host.lower()
    except idna.IDNAError:
        raise Invalid("this is not the name of a host") from None
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            address = IPv4Address(host)
        except ValueError:
            raise Invalid("write an address as four decimal numbers") from None
        return str(address), address
    if not _NAME.fullmatch(host):
        raise Invalid("this is not the name of a host")
    return host, None


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return address.is_global and not address.is_multicast and not _within(address, _REFUSED)


def _inner(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 one stands for, where one may; else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read networks in CIDR, or single addresses; ValueError says which one is none."""

    def one(text: str) -> Network:
        try:
            return ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"expected an address or a network such as 10.0.0.0/8, not {text!r}") from None

    return tuple(one(text) for text in texts)


def address_of(text: str) -> Address:
    """Read an address that a resolver gave."""
    return ip_address(text)
