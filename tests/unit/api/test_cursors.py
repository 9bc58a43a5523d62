"""Cursors come back as they were made, and only with the filters they were made for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.cursors import make_cursor, read_cursor
from orchestrator.catalog.inventory import Position
from orchestrator.model.fields import InvalidField

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
POSITIONS = st.builds(Position, TEXT, TEXT, TEXT)
FILTERS = st.dictionaries(st.sampled_from(["context", "namespace", "image_tag"]), TEXT, max_size=3)


@given(POSITIONS, FILTERS)
def test_a_cursor_holds_its_position(position: Position, filters: dict[str, str]) -> None:
    cursor = make_cursor(position, filters)
    assert read_cursor(cursor, filters) == position
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?#%<>")


@given(POSITIONS, FILTERS, FILTERS)
def test_a_cursor_fits_no_other_filters(position: Position, made: dict[str, str], asked: dict[str, str]) -> None:
    if made != asked:
        with pytest.raises(InvalidField, match="cursor"):
            read_cursor(make_cursor(position, made), asked)


def test_the_order_of_filters_does_not_matter() -> None:
    cursor = make_cursor(Position("a", "b", "c"), {"context": "a", "namespace": "b"})
    assert read_cursor(cursor, {"namespace": "b", "context": "a"}) == Position("a", "b", "c")


@given(POSITIONS, st.data())
def test_a_changed_cursor_is_refused(position: Position, data: st.DataObject) -> None:
    cursor = make_cursor(position, {})
    index = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != cursor[index]))
    with pytest.raises(InvalidField):
        read_cursor(cursor[:index] + other + cursor[index + 1 :], {})


@given(st.text(st.characters(), max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        read_cursor(text, {})
