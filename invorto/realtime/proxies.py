"""Who really asks: the address, scheme and host that a trusted proxy passes on, and nobody else's word for them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Protocol

import attrs

from invorto.config import IPNetwork, Network

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Named(Protocol):
    """Headers by name, in any case."""

    def get(self, key: str, default: str, /) -> str:
        """Give a header's value."""
        ...


_MOST_HOPS = 32
"""Addresses of `X-Forwarded-For` that are looked at: more is somebody's game."""


@attrs.frozen
class Client:
    """Who asks, as far as we believe it."""

    address: str
    scheme: str | None = None
    """As a trusted proxy says; None: nobody said."""
    host: str | None = None


@attrs.frozen
class Proxies:
    """Believes the proxies of its list, and takes addresses of the other list in."""

    trusted: tuple[IPNetwork, ...] = ()
    allowed: tuple[IPNetwork, ...] = ()
    """Empty: everybody may ask."""

    @classmethod
    def of(cls, network: Network) -> Proxies:
        """Take what the settings say."""
        return cls(network.trusted_proxies, network.allowed_ips)

    def client(self, peer: str, headers: Named) -> Client:
        """
        Tell who asks, of the connection's *peer* and the headers.

        From the right of `X-Forwarded-For`, where our own proxies wrote, up to the first address that is none of them:
        what stands before it, anybody may have written.
        """
        address = _address(peer)
        if address is None or not _within(address, self.trusted):
            return Client(str(address) if address else peer)
        for hop in reversed(_words(headers.get("X-Forwarded-For", ""))[-_MOST_HOPS:]):
            passed = _address(hop)
            if passed is None:
                break
            address = passed
            if not _within(address, self.trusted):
                break
        schemes = _words(headers.get("X-Forwarded-Proto", ""))
        hosts = _words(headers.get("X-Forwarded-Host", ""))
        scheme = schemes[-1].lower() if schemes else None
        return Client(str(address), scheme if scheme in {"http", "https"} else None, hosts[-1] if hosts else None)

    def allows(self, client: Client) -> bool:
        """Tell whether somebody of this address may ask."""
        if not self.allowed:
            return True
        address = _address(client.address)
        return address is not None and _within(address, self.allowed)


def _words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _address(text: str) -> Address | None:
    """Read an address, with or without a port; one of IPv4 that is wrapped in IPv6 is itself."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _within(address: Address, networks: Iterable[IPNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
