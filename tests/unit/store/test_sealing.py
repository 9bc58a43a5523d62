"""Sealed values open with their key and in their place, and nowhere else."""

import base64
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orchestrator.store.sealing import CannotUnseal, InvalidSealingKey, Sealer, parse_keys

OLD = b"o" * 32
NEW = b"n" * 32
CANARY = "canary-4711-do-not-print"
PLACE = {"account_id": 1, "cluster_name": "prod", "field": "credential"}


def as_text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@given(value=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens_in_its_place(value: str) -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(SecretStr(value), **PLACE)
    assert sealer.open(sealed, **PLACE).get_secret_value() == value


def test_the_sealed_value_does_not_show_what_is_in_it() -> None:
    assert CANARY.encode() not in Sealer([NEW]).seal(SecretStr(CANARY), **PLACE)


@pytest.mark.parametrize(
    "other",
    [
        {"account_id": 2},
        {"cluster_name": "prod2"},
        {"field": "other"},
        {"cluster_name": 'prod","credential'},
    ],
)
def test_a_value_moved_elsewhere_does_not_open(other: dict[str, object]) -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(SecretStr(CANARY), **PLACE)
    with pytest.raises(CannotUnseal):
        sealer.open(sealed, **{**PLACE, **other})


def test_every_altered_byte_is_noticed() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(SecretStr("x"), **PLACE)
    for index in range(len(sealed)):
        altered = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(CannotUnseal):
            sealer.open(altered, **PLACE)


@given(st.binary(max_size=64))
def test_bytes_that_were_never_sealed_do_not_open(junk: bytes) -> None:
    with pytest.raises(CannotUnseal):
        Sealer([NEW]).open(junk, **PLACE)


def test_two_values_never_share_a_nonce() -> None:
    nonces: Iterator[bytes] = iter([b"a" * 12, b"b" * 12])
    sealer = Sealer([NEW], random=lambda size: next(nonces)[:size])
    first, second = (sealer.seal(SecretStr("same"), **PLACE) for _ in range(2))
    assert first != second
    assert sealer.open(first, **PLACE) == sealer.open(second, **PLACE)


def test_rotation_seals_with_the_newest_and_opens_with_any() -> None:
    sealed = Sealer([OLD]).seal(SecretStr(CANARY), **PLACE)
    both = Sealer([NEW, OLD])
    assert both.open(sealed, **PLACE).get_secret_value() == CANARY
    assert not both.is_newest(sealed)
    fresh = both.seal(SecretStr(CANARY), **PLACE)
    assert both.is_newest(fresh)
    assert Sealer([NEW]).open(fresh, **PLACE).get_secret_value() == CANARY
    with pytest.raises(CannotUnseal):
        Sealer([NEW]).open(sealed, **PLACE)


@pytest.mark.parametrize("separator", [",", "\n", " , ", "\r\n"])
def test_keys_are_read_newest_first(separator: str) -> None:
    sealer = parse_keys(SecretStr(f"{as_text(NEW)}{separator}{as_text(OLD)}\n"))
    assert sealer.is_newest(Sealer([NEW]).seal(SecretStr("x"), **PLACE))
    assert sealer.knows(Sealer([OLD]).seal(SecretStr("x"), **PLACE))


def test_url_safe_base64_is_a_key_too() -> None:
    key = b"\xff\xfe\xfb" * 10 + b"ab"
    sealed = Sealer([key]).seal(SecretStr("x"), **PLACE)
    assert parse_keys(SecretStr(base64.urlsafe_b64encode(key).decode())).knows(sealed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got nothing"),
        (" ,\n", "got nothing"),
        (CANARY + "!", "sealing key 1 is not base64"),
        (CANARY, "sealing key 1 has 18 bytes"),
        ("käse", "sealing key 1 is not base64"),
        (f"{as_text(NEW)},{base64.b64encode(CANARY.encode()).decode()}", "sealing key 2 has 24 bytes"),
    ],
)
def test_what_is_no_key_is_refused_without_repeating_it(text: str, said: str) -> None:
    with pytest.raises(InvalidSealingKey) as caught:
        parse_keys(SecretStr(text))
    message = str(caught.value)
    assert said in message
    assert "openssl rand -base64 32" in message
    assert CANARY not in message
    assert caught.value.__cause__ is None
