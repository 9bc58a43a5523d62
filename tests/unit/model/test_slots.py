"""Who may have the slots, and who gives way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.slots import Occupied, Room, to_give_way

OCCUPIED = st.lists(
    st.builds(Occupied, st.integers(1, 50), st.floats(0, 200), st.floats(0, 100)), unique_by=lambda each: each.run_id
)


@pytest.mark.parametrize(("slots", "unproven", "slow"), [(1, 1, 1), (2, 2, 1), (4, 3, 2), (16, 12, 8)])
def test_what_may_hang_leaves_room_for_what_is_known_to_answer(slots: int, unproven: int, slow: int) -> None:
    assert Room.of(slots) == Room(total=slots, unproven=unproven, slow=slow)


def test_each_look_takes_its_part_of_the_room() -> None:
    room = Room.of(4)
    assert room.for_slow
    assert not room.less(total=2, unproven=2, slow=2).for_slow
    assert room.less(total=2, unproven=2, slow=2).for_unproven
    assert not room.less(total=3, unproven=3, slow=0).for_unproven
    assert room.less(total=3, unproven=3, slow=0).total == 1
    assert not room.less(total=4, unproven=0, slow=0).for_unproven
    assert room.less(total=9, unproven=9, slow=9) == Room(total=0, unproven=0, slow=0)


def test_no_look_gives_way_while_nobody_waits_or_within_its_time() -> None:
    assert to_give_way([Occupied(1, 100.0, 1.0)], 0) == []
    assert to_give_way([Occupied(1, 5.0, 0.1), Occupied(2, 39.0, 10.0)], 5) == []


def test_looks_that_exceed_their_time_most_give_way_first() -> None:
    occupied = [Occupied(1, 6.0, 0.5), Occupied(2, 30.0, 0.5), Occupied(3, 45.0, 10.0), Occupied(4, 30.0, 10.0)]
    assert to_give_way(occupied, 1) == [2]
    assert to_give_way(occupied, 2) == [2, 3]
    assert to_give_way(occupied, 9) == [2, 3, 1]


@given(OCCUPIED, st.integers(0, 20))
def test_never_more_give_way_than_wait_and_none_without_need(occupied: list[Occupied], waiting: int) -> None:
    giving_way = to_give_way(occupied, waiting)
    exceeded = {each.run_id for each in occupied if each.over > 0}
    assert len(giving_way) == min(waiting, len(exceeded))
    assert set(giving_way) <= exceeded
