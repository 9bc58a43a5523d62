"""Passwords: hashing, and checking them without letting anybody use the check as a lever.

Argon2id with the parameters that OWASP's Password Storage Cheat Sheet recommends first: 19 MiB, two passes, one lane.
"""

import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import SecretStr

MAX_PASSWORD_CHARACTERS: Final = 1024

_REMEMBERED_SECONDS: Final = 300.0
_MAX_REMEMBERED: Final = 1024
_MAX_WAITING: Final = 64


class TooManySignIns(Exception):
    """So many passwords wait to be checked that another one is refused: try again in a moment."""


class Passwords:
    """Hashes and checks passwords, one at a time, in a worker thread.

    A check costs 19 MiB and some 20 ms on purpose, so no more than one runs at once and few may wait. A password
    that was right is remembered for five minutes, in memory, as a keyed hash.
    """

    def __init__(
        self,
        hasher: PasswordHasher | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`hasher` is a cheaper one in tests; `clock` gives seconds that only grow; `random` unpredictable bytes."""
        self._hasher = hasher or PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._clock = clock
        self._key = random(32)
        # What an unknown user's password is checked against, so that it takes as long as a known one's.
        self._nobodys = self._hasher.hash(random(16))
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def check(self, password_hash: str | None, password: SecretStr) -> bool:
        """Whether the password is the one hashed; None for a user that does not exist. Raises TooManySignIns."""
        fingerprint = self._fingerprint(password_hash, password)
        if self._remembers(fingerprint):
            return True
        if self._one_at_a_time.statistics().tasks_waiting >= _MAX_WAITING:
            raise TooManySignIns
        async with self._one_at_a_time:
            # Many clients begin with the same password at the same time: the first one's check serves them all.
            if self._remembers(fingerprint):
                return True
            right = await anyio.to_thread.run_sync(self.matches, password_hash or self._nobodys, password)
        if not right or password_hash is None:
            return False
        self._remember(fingerprint)
        return True

    def matches(self, password_hash: str, password: SecretStr) -> bool:
        """Whether the password is the one hashed. Slow on purpose: only in a worker thread or at start."""
        text = password.get_secret_value()
        if len(text) > MAX_PASSWORD_CHARACTERS:
            return False
        try:
            return self._hasher.verify(password_hash, text.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than those of today."""
        try:
            return self._hasher.check_needs_rehash(password_hash)
        except InvalidHashError:
            return True

    def hash(self, password: SecretStr) -> str:
        """The text to store. Slow on purpose: only in a worker thread or at start."""
        return self._hasher.hash(password.get_secret_value().encode("utf-8", "surrogatepass"))

    def _fingerprint(self, password_hash: str | None, password: SecretStr) -> bytes:
        text = password.get_secret_value().encode("utf-8", "surrogatepass")
        # The hash is part of it, so that a changed password ends what is remembered of the old one.
        return hmac.digest(self._key, f"{password_hash}\0".encode() + text, "sha256")

    def _remembers(self, fingerprint: bytes) -> bool:
        until = self._until.get(fingerprint)
        return until is not None and self._clock() < until

    def _remember(self, fingerprint: bytes) -> None:
        self._until[fingerprint] = self._clock() + _REMEMBERED_SECONDS
        self._until.move_to_end(fingerprint)
        while len(self._until) > _MAX_REMEMBERED:
            self._until.popitem(last=False)
