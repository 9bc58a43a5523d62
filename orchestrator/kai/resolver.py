"""The addresses of API servers' names, as far as they can be had quickly: kai resolves the names again by itself."""

import socket
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

import anyio
import anyio.to_thread
from anyio import CapacityLimiter

from orchestrator.model.network import Address

_PATIENCE_SECONDS: Final = 1.0
_REMEMBERED_SECONDS: Final = 60.0
_MAX_REMEMBERED: Final = 10_000
_THREADS: Final = 8


class Resolver:
    """Looks names up, and remembers for a minute what came of it, nothing included.

    A name server that does not answer must not hold up the looks: a lookup is waited for a second at most, and goes
    on by itself in one of a few threads of its own.
    """

    def __init__(self, lookup: Callable[[str], list[str]] | None = None) -> None:
        """`lookup` stands in for the system's resolver in tests; it may raise OSError or UnicodeError."""
        self._lookup = lookup or _system_lookup
        self._known: OrderedDict[str, tuple[float, list[Address]]] = OrderedDict()
        self._threads = CapacityLimiter(_THREADS)

    async def addresses_of(self, host: str) -> list[Address]:
        """The addresses of a name; none when it does not resolve, or takes too long."""
        now = anyio.current_time()
        known = self._known.get(host)
        if known is not None and now < known[0]:
            return known[1]
        addresses = await self._look_up(host)
        self._known[host] = (now + _REMEMBERED_SECONDS, addresses)
        self._known.move_to_end(host)
        while len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)
        return addresses

    async def _look_up(self, host: str) -> list[Address]:
        found: list[str] = []
        with anyio.move_on_after(_PATIENCE_SECONDS), suppress(OSError, UnicodeError):
            found = await anyio.to_thread.run_sync(self._lookup, host, abandon_on_cancel=True, limiter=self._threads)
        return [ip_address(address) for address in found]


def _system_lookup(host: str) -> list[str]:
    # A link-local IPv6 address comes with the interface it is on, behind a `%`.
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]).partition("%")[0] for *_, sockaddr in answers]
