"""Which addresses API servers may have: allowed and denied networks, held against the address that really counts."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from orchestrator.model.fields import InvalidField

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Where clouds answer with the machine's own credentials: link-local, and AWS's address for IPv6-only machines.
DEFAULT_DENIED: Final[tuple[Network, ...]] = (
    ip_network("169.254.0.0/16"),
    ip_network("fe80::/10"),
    ip_network("fd00:ec2::254/128"),
)

# Networks in which the last 32 bits of an address are an IPv4 address, to which systems or gateways carry packets.
_END_IN_IPV4: Final = (
    IPv6Network("::/96"),  # RFC 4291, IPv4-compatible
    IPv6Network("::ffff:0:0/96"),  # RFC 4291, IPv4-mapped
    IPv6Network("::ffff:0:0:0/96"),  # RFC 2765, IPv4-translated (SIIT)
    IPv6Network("64:ff9b::/96"),  # RFC 6052, NAT64's well-known prefix
    IPv6Network("64:ff9b:1::/48"),  # RFC 8215, NAT64's prefix for local use
)

# What old C and Go resolvers take for an IPv4 address though it is none as written: 2130706433, 0x7f.1, 010.0.0.1.
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?")

_SERVER_FIELD: Final = "cluster_config.cluster_server"


class AddressRefused(ValueError):
    """The address lies in a network that is denied, or in none that is allowed."""


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """Networks that API servers may be in. `denied` wins; an empty `allowed` allows whatever is not denied."""

    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = DEFAULT_DENIED

    @classmethod
    def parse(cls, allowed: Iterable[str], denied: Iterable[str]) -> "NetworkRules":
        """Rules from text such as `10.0.0.0/8`; raises ValueError that names the entry which is no network."""
        return cls(
            allowed=tuple(_network(text) for text in allowed),
            denied=tuple(_network(text) for text in denied),
        )

    def check_address(self, address: Address) -> None:
        """Raise AddressRefused unless a cluster may be at this address.

        An IPv6 address that carries an IPv4 one (mapped, compatible, translated, 6to4, NAT64) counts as both, and
        the unspecified address as the loopback that Linux takes it for.
        """
        meanings = tuple(_meanings(address))
        for network in self.denied:
            if any(each in network for each in meanings):
                raise AddressRefused(f"the address {address} is in the denied network {network}")
        if self.allowed and not any(each in network for network in self.allowed for each in meanings):
            raise AddressRefused(f"the address {address} is in none of the allowed networks")

    def check_server(self, server: str) -> None:
        """Raise InvalidField when the URL's host is an address that is refused.

        Names pass: what they resolve to is checked at each look, when they do.
        """
        try:
            host = urlsplit(server).hostname or ""
            address = literal_address(host)
            if address is not None:
                self.check_address(address)
        except ValueError as error:
            raise InvalidField(_SERVER_FIELD, str(error)) from error


def literal_address(host: str) -> Address | None:
    """The address that a URL's host spells out, None when it is a name.

    Raises ValueError for a host that some resolvers take for an address though it is not written as one.
    """
    try:
        return ip_address(host.removesuffix("."))
    except ValueError:
        if _ENDS_IN_A_NUMBER.fullmatch(host):
            raise ValueError("expected a name, or an address in its plain form such as 10.0.0.1") from None
        return None


def _network(text: str) -> Network:
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise ValueError(f"expected a network such as 10.0.0.0/8: {error}") from error


def _meanings(address: Address) -> Iterator[Address]:
    yield address
    if address.is_unspecified:
        yield ip_address("127.0.0.1")
        yield ip_address("::1")
    if not isinstance(address, IPv6Address):
        return
    if address.sixtofour is not None:
        yield address.sixtofour
    # `::` and `::1` lie in ::/96 too, and carry nothing.
    if int(address) > 1 and any(address in network for network in _END_IN_IPV4):
        yield from _meanings(IPv4Address(int(address) & 0xFFFF_FFFF))
