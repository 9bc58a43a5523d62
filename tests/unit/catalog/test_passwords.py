"""Checking passwords: right ones are remembered for a while, wrong ones cost the same whoever they are for."""

from dataclasses import dataclass, field

import anyio
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from orchestrator.catalog.passwords import Passwords, TooManySignIns

pytestmark = pytest.mark.anyio

RIGHT = SecretStr("foobar")
WRONG = SecretStr("foobaz")


@dataclass
class CountingHasher(PasswordHasher):
    """A cheap hasher that knows what it was asked."""

    verified: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002 - argon2's name
        self.verified.append(str(hash))
        return super().verify(hash, password)


@dataclass
class Clock:
    seconds: float = 0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passwords(hasher: CountingHasher, clock: Clock) -> Passwords:
    return Passwords(hasher, clock=clock)


async def test_the_right_password_passes_and_no_other(passwords: Passwords) -> None:
    stored = passwords.hash(RIGHT)
    assert await passwords.check(stored, RIGHT)
    for wrong in ("", "foobaz", "foobar ", "FOOBAR", "foobar\0", "\ud800", "x" * 100_000):
        assert not await passwords.check(stored, SecretStr(wrong))
    assert await passwords.check(stored, RIGHT)


async def test_a_right_password_is_remembered_for_five_minutes(
    passwords: Passwords, hasher: CountingHasher, clock: Clock
) -> None:
    stored = passwords.hash(RIGHT)
    for _ in range(3):
        assert await passwords.check(stored, RIGHT)
    assert len(hasher.verified) == 1
    clock.seconds = 299.9
    assert await passwords.check(stored, RIGHT)
    clock.seconds = 300
    assert await passwords.check(stored, RIGHT)
    assert len(hasher.verified) == 2


async def test_a_wrong_password_is_never_remembered(passwords: Passwords, hasher: CountingHasher) -> None:
    stored = passwords.hash(RIGHT)
    for _ in range(3):
        assert not await passwords.check(stored, WRONG)
    assert len(hasher.verified) == 3


async def test_a_changed_password_ends_what_was_remembered(passwords: Passwords) -> None:
    assert await passwords.check(passwords.hash(RIGHT), RIGHT)
    assert not await passwords.check(passwords.hash(WRONG), RIGHT)


async def test_an_unknown_user_costs_a_check_too_and_never_passes(passwords: Passwords, hasher: CountingHasher) -> None:
    for _ in range(2):
        assert not await passwords.check(None, RIGHT)
    assert len(hasher.verified) == 2


async def test_what_is_checked_for_nobody_has_the_same_cost(passwords: Passwords, hasher: CountingHasher) -> None:
    await passwords.check(None, RIGHT)
    await passwords.check(passwords.hash(RIGHT), WRONG)
    nobodys, somebodys = (text.split("$")[:4] for text in hasher.verified)
    assert nobodys == somebodys


async def test_the_default_cost_is_what_owasp_recommends() -> None:
    assert Passwords().hash(RIGHT).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_many_first_requests_with_one_password_cost_one_check(
    passwords: Passwords, hasher: CountingHasher
) -> None:
    stored = passwords.hash(RIGHT)
    results: list[bool] = []

    async def check() -> None:
        results.append(await passwords.check(stored, RIGHT))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(check)
    assert results == [True] * 20
    assert len(hasher.verified) == 1


async def test_only_so_many_may_wait(passwords: Passwords) -> None:
    stored = passwords.hash(RIGHT)
    outcomes: list[str] = []

    async def check(number: int) -> None:
        try:
            outcomes.append(str(await passwords.check(stored, SecretStr(f"guess {number}"))))
        except TooManySignIns:
            outcomes.append("refused")

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(check, number)
    assert outcomes.count("False") == 65
    assert outcomes.count("refused") == 35


async def test_what_is_remembered_is_bounded_and_shows_no_password(passwords: Passwords) -> None:
    for number in range(1_100):
        password = SecretStr(f"canary-{number}")
        assert await passwords.check(passwords.hash(password), password)
    assert len(passwords._until) == 1024
    assert b"canary" not in b"".join(passwords._until)


async def test_a_stored_text_that_is_no_hash_lets_nobody_in(passwords: Passwords) -> None:
    for stored in ("", "foobar", "$argon2id$"):
        assert not await passwords.check(stored, RIGHT)
        assert passwords.is_outdated(stored)
    assert not passwords.is_outdated(passwords.hash(RIGHT))
