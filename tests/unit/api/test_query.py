"""Query parameters: what describes one is what reads it."""

from typing import Any

import pytest

from orchestrator.api.query import BooleanParameter, NumberParameter, Query, TextParameter
from orchestrator.model.fields import InvalidField

TEXT = TextParameter(name="p", description="", example="a")
CHOICE = TextParameter(name="p", description="", example="a", choices=("a", "b"))
NUMBER = NumberParameter(name="p", description="", example=3, low=2, high=10)
BOOLEAN = BooleanParameter(name="p", description="", example=True)


@pytest.mark.parametrize(
    ("parameter", "given", "value"),
    [
        (TEXT, "x", "x"),
        (CHOICE, "b", "b"),
        (NUMBER, "2", 2),
        (NUMBER, "010", 10),
        (BOOLEAN, "true", True),
        (BOOLEAN, "False", False),
    ],
)
def test_a_parameter_is_read_as_described(parameter: Any, given: str, value: object) -> None:
    known = frozenset({"p"})
    assert parameter.read(Query({"p": given}, known)) == value
    assert parameter.read(Query({}, known)) is None


@pytest.mark.parametrize(
    ("parameter", "given", "expected"),
    [
        (CHOICE, "c", "a or b"),
        (NUMBER, "1", "2 to 10"),
        (NUMBER, "11", "2 to 10"),
        (NUMBER, "-3", "2 to 10"),
        (NUMBER, "3.0", "2 to 10"),
        (NUMBER, "٣", "2 to 10"),
        (BOOLEAN, "1", "true or false"),
    ],
)
def test_other_values_are_refused(parameter: Any, given: str, expected: str) -> None:
    with pytest.raises(InvalidField, match=expected):
        parameter.read(Query({"p": given}, frozenset({"p"})))


def test_an_operation_reads_no_parameter_that_it_does_not_describe() -> None:
    with pytest.raises(LookupError, match="not described"):
        TEXT.read(Query({}, frozenset({"q"})))
