"""Reading JSON: what is refused, where it says so, and that no value is ever repeated."""

from typing import Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.api.bodies import _invalid_fields, parse_json
from orchestrator.api.errors import ApiError
from orchestrator.model.fields import InvalidField

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_json_is_read(value: object) -> None:
    assert parse_json(orjson.dumps(value)) == value


@pytest.mark.parametrize(
    "document",
    [b"", b" ", b"{", b"{'a': 1}", b"[1,]", b"nul", b"\xef\xbb\xbf{}", b'"\\ud800"', b"\x00", b"NaN", b"[" * 5000],
)
def test_what_is_no_json_is_refused(document: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_json(document)
    assert (caught.value.status, caught.value.error_type) == (400, "invalid_json")


def test_a_key_given_twice_is_refused_at_any_depth() -> None:
    with pytest.raises(InvalidField, match=r"^credential: given twice"):
        parse_json(b'{"a": [{"credential": "x", "b": 1, "credential": "y"}]}')
    assert parse_json(b'{"a": {"b": 1}, "b": {"a": 1}}') == {"a": {"b": 1}, "b": {"a": 1}}


def test_a_key_that_could_be_anything_is_not_repeated() -> None:
    key = "k" * 65
    with pytest.raises(InvalidField) as caught:
        parse_json(orjson.dumps({key: 1})[:-1] + f',"{key}":2}}'.encode())
    assert key not in str(caught.value)


class Inner(BaseModel):
    model_config = ConfigDict(strict=True)

    names: list[str]
    kind: Literal["a", "b"]


class Outer(BaseModel):
    model_config = ConfigDict(strict=True)

    inner: Inner


@pytest.mark.parametrize(
    ("document", "errors"),
    [
        ({"inner": {"names": ["x", 1, None], "kind": "a"}}, ["inner.names[1]: expected text", "inner.names[2]"]),
        ({"inner": {"names": "secret", "kind": "secret"}}, ["inner.names: expected an array", "inner.kind: expected"]),
        ({"inner": "secret"}, ["inner: expected an object"]),
        ({}, ["inner: required"]),
        ("secret", ["body: expected an object"]),
        (["secret"], ["body: expected an object"]),
    ],
)
def test_errors_name_the_field_and_not_the_value(document: object, errors: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(document)
    found = [str(error) for error in _invalid_fields(caught.value)]
    assert len(found) == len(errors)
    for text, expected in zip(found, errors, strict=True):
        assert text.startswith(expected)
        assert "secret" not in text
