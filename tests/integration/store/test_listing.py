"""Reading the inventory: order, filters, pages, freshness."""

import pytest

from orchestrator.model.instant import MINUTE
from orchestrator.model.report import Image
from orchestrator.store.database import Database
from orchestrator.store.listing import Item, ItemFilter, Position
from tests.integration.store.builders import Inventory
from tests.integration.store.conftest import Clock


@pytest.fixture
def inventory(db: Database, account_id: int) -> Inventory:
    return Inventory(db, account_id)


def walk(inventory: Inventory, limit: int, wanted: ItemFilter | None = None) -> list[Item]:
    """Every item, page by page."""
    walked: list[Item] = []
    after = None
    while True:
        page = inventory.items(wanted, after=after, limit=limit)
        walked += page
        if len(page) < limit:
            return walked
        after = Position(page[-1].context, page[-1].image_tag, page[-1].image_digest)


def test_items_are_sorted_by_the_bytes_of_context_tag_and_digest(inventory: Inventory) -> None:
    tags = ["b:1", "B:1", "a-b:1", "a/b:1", "é:1", "z:1", "\U0001f600:1", "￿:1"]
    for cluster_name in ["a", "a-b", "B", "b"]:
        inventory.take({"z": [(tag, "d") for tag in tags], "A": []}, cluster_name=cluster_name)
    found = inventory.images()
    assert found == sorted(found, key=lambda image: tuple(text.encode() for text in image))
    assert len(found) == 4 * len(tags)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 1000])
def test_walk_in_pages_finds_everything_once(inventory: Inventory, limit: int) -> None:
    for number in range(5):
        images: list[Image] = [(f"app-{image % 3}:1", f"sha256:{image}") for image in range(number * 3)]
        inventory.take({"a": images, "b": [], "c": images[:1]}, cluster_name=f"cluster-{number}")
    assert walk(inventory, limit) == inventory.items()


def test_item_present_throughout_a_walk_appears_once_whatever_comes_and_goes(
    inventory: Inventory, clock: Clock
) -> None:
    lasting = [(f"app-{number:02}:1", "d") for number in range(20)]
    inventory.take({"a": lasting[:10], "b": lasting[10:]})
    found: list[Item] = []
    after = None
    for step in range(20):
        page = inventory.items(after=after, limit=3)
        if not page:
            break
        found += page
        after = Position(page[-1].context, page[-1].image_tag, page[-1].image_digest)
        clock.advance(MINUTE)
        passing = [(f"app-{step:02}-passing:1", "d")]
        inventory.take({"a": [*lasting[:10], *passing], "b": [*passing, *lasting[10:]]})
    images = [(item.image_tag, item.image_digest) for item in found]
    assert [images.count(image) for image in lasting] == [1] * 20


def test_filters_are_exact_and_combine(inventory: Inventory, clock: Clock) -> None:
    web, db_image = ("nginx:1", "sha256:aa"), ("postgres:16", "sha256:bb")
    inventory.take({"a": [web, db_image], "b": [web]}, cluster_name="one")
    inventory.take({"a": [web]}, cluster_name="arn:aws:eks:eu-west-1:1:cluster/two")
    clock.advance(MINUTE)
    inventory.take({"a": [db_image], "b": [web]}, cluster_name="one")

    def contexts(**conditions: object) -> list[str]:
        return [item.context for item in inventory.items(ItemFilter(**conditions))]  # type: ignore[arg-type]

    two = "arn:aws:eks:eu-west-1:1:cluster/two"
    assert contexts(image_digest="sha256:aa") == [f"{two}/a", "one/a", "one/b"]
    assert contexts(image_digest="sha256:a") == []
    assert contexts(image_tag="postgres:16") == ["one/a"]
    assert contexts(context=f"{two}/a") == [f"{two}/a"]
    assert contexts(context=two) == []
    assert contexts(cluster_name="one", namespace="a") == ["one/a", "one/a"]
    assert contexts(image_digest="sha256:aa", present=True) == [f"{two}/a", "one/b"]
    assert contexts(cluster_name="one", present=False) == ["one/a"]
    assert contexts(inventory_type="kubernetes", context="one/b", image_tag="nginx:1") == ["one/b"]
    assert contexts(image_tag="nginx:1", image_digest="sha256:bb") == []


def test_item_says_where_it_runs_and_since_when(inventory: Inventory, clock: Clock) -> None:
    begun = clock.now
    inventory.take({"a": [("nginx:1", "unknown")]})
    clock.advance(MINUTE)
    inventory.take({"a": [("nginx:1", "unknown")]})
    assert inventory.items() == [
        Item("kubernetes", "prod/a", "prod", "a", "nginx:1", "unknown", begun, clock.now, True)
    ]
