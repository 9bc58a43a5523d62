"""Looking names up without being held up."""

import threading
from ipaddress import ip_address

import anyio
import pytest

from orchestrator.kai.resolver import Resolver

pytestmark = pytest.mark.anyio


async def test_answers_are_remembered_also_when_there_is_none() -> None:
    asked = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        if host == "nowhere":
            raise OSError("no such host")
        return ["10.0.0.1", "fe80::1"]

    resolver = Resolver(lookup)
    for _ in range(2):
        assert await resolver.addresses_of("k8s") == [ip_address("10.0.0.1"), ip_address("fe80::1")]
        assert await resolver.addresses_of("nowhere") == []
    assert asked == ["k8s", "nowhere"]


async def test_name_server_that_does_not_answer_holds_nobody_up_for_long() -> None:
    hung = threading.Event()

    def lookup(_host: str) -> list[str]:
        hung.wait(30)
        return ["10.0.0.1"]

    resolver = Resolver(lookup)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(resolver.addresses_of, f"host-{number}")
    hung.set()


async def test_names_of_this_machine_resolve_by_the_system() -> None:
    assert ip_address("127.0.0.1") in await Resolver().addresses_of("localhost")
