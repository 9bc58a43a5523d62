"""How fresh an answer is, judged by what it covers."""

from orchestrator.model.instant import DAY, MINUTE
from orchestrator.model.retention import Retention
from orchestrator.model.run import RunResult, RunState
from orchestrator.model.slots import Room
from orchestrator.store import claims, clusters
from orchestrator.store.database import Database
from orchestrator.store.freshness import Freshness, freshness
from orchestrator.store.listing import ItemFilter
from orchestrator.store.posts import Post, take_post
from orchestrator.store.sealing import Sealer
from tests.integration.store.builders import config, report
from tests.integration.store.conftest import Clock

INTERVAL = 5 * MINUTE


def test_freshness_is_judged_by_the_clusters_covered(
    db: Database, account_id: int, sealer: Sealer, clock: Clock
) -> None:
    def look(name: str, state: RunState) -> None:
        [claim] = db.writing(lambda: claims.claim_due(db, Room.of(1), lease=MINUTE, interval=INTERVAL))
        assert claim.cluster_name == name
        db.writing(lambda: claims.finish(db, claim, RunResult(state=state), interval=INTERVAL))

    def fresh(wanted: ItemFilter) -> Freshness:
        return db.reading(
            lambda: freshness(db, account_id, wanted, retention=Retention(120), interval=INTERVAL, now=clock.now)
        )

    assert fresh(ItemFilter()) == Freshness(0, 0, None)
    db.writing(lambda: clusters.add(db, sealer, account_id, config("good", namespaces=("a",))))
    look("good", RunState.SUCCEEDED)
    looked_at = clock.now
    clock.advance(MINUTE // 2)
    db.writing(lambda: clusters.add(db, sealer, account_id, config("bad")))
    look("bad", RunState.FAILED)
    assert fresh(ItemFilter()) == Freshness(2, 1, looked_at)
    assert fresh(ItemFilter(cluster_name="good")) == Freshness(1, 0, looked_at)
    assert fresh(ItemFilter(context="bad/x")) == Freshness(1, 1, None)
    assert fresh(ItemFilter(namespace="b")) == Freshness(1, 1, None)
    assert fresh(ItemFilter(context="good/a", namespace="b")) == Freshness(0, 0, None)
    clock.advance(INTERVAL * 4)
    assert fresh(ItemFilter(cluster_name="good")) == Freshness(1, 1, looked_at)


def test_agents_count_until_nothing_of_them_is_left(db: Database, account_id: int, clock: Clock) -> None:
    post = Post(account_id=account_id, inventory_type="kubernetes", cluster_name="edge", sender="user:agent")
    for _ in range(3):
        body = report({"a": [("web:1", "unknown")]}, timestamp=clock.now)
        db.writing(lambda body=body: take_post(db, post, body, retention=Retention(120), gap=DAY))  # type: ignore[misc]
        posted_at = clock.now
        clock.advance(MINUTE)

    def fresh() -> Freshness:
        return db.reading(
            lambda: freshness(db, account_id, ItemFilter(), retention=Retention(120), interval=INTERVAL, now=clock.now)
        )

    assert fresh() == Freshness(1, 0, posted_at)
    clock.advance(4 * MINUTE)
    assert fresh() == Freshness(1, 1, posted_at)
    clock.advance(121 * DAY)
    assert fresh() == Freshness(0, 0, None)
