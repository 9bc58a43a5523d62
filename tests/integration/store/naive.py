"""The inventory's rules once more, the slow and obvious way: every item with its sightings, no fingerprints, no SQL.

What this model says is what the store has to return, whatever order reports, sweeps and deletions come in.
"""

from dataclasses import dataclass, field

from orchestrator.model.instant import DAY, MINUTE, Instant
from orchestrator.model.report import Image

Key = tuple[str, str, str]


@dataclass
class NaiveItem:
    created_at: Instant
    last_seen: Instant
    present: bool


@dataclass
class NaiveContext:
    sender: str
    report_at: Instant
    received_at: Instant


@dataclass
class NaiveInventory:
    """One source. `ttl_days` and `gap` as in the settings."""

    ttl_days: int
    gap: int
    items: dict[Key, NaiveItem] = field(default_factory=dict)
    contexts: dict[str, NaiveContext] = field(default_factory=dict)
    newest: dict[str, Instant] = field(default_factory=dict)
    sightings: dict[Key, list[list[Instant]]] = field(default_factory=dict)

    def report(
        self,
        sender: str,
        namespaces: dict[str, set[Image]],
        *,
        timestamp: Instant | None,
        whole_cluster: bool,
        now: Instant,
    ) -> bool:
        """Take a report; False when it was late and changed nothing."""
        if sender == "embedded" or timestamp is None or timestamp > now + 5 * MINUTE:
            timestamp = now
        if timestamp < self.newest.get(sender, timestamp):
            return False
        self.newest[sender] = timestamp
        named = dict(namespaces)
        if whole_cluster:
            for namespace, context in self.contexts.items():
                if context.sender == sender:
                    named.setdefault(namespace, set())
        self._expire(now)
        for namespace, images in named.items():
            self._take(namespace, images, now)
            self.contexts[namespace] = NaiveContext(sender, timestamp, now)
        return True

    def end_presence(self, sender: str, except_namespaces: set[str], now: Instant) -> None:
        """The cluster was deleted, or no longer asks for some namespaces."""
        self._expire(now)
        for namespace, context in self.contexts.items():
            if context.sender == sender and namespace not in except_namespaces:
                self._leave(namespace, set(), now)

    def listed(self, now: Instant) -> dict[Key, NaiveItem]:
        """What is returned at `now`."""
        return {key: item for key, item in self.items.items() if not self._expired(item, now) and self._newest(key)}

    def _newest(self, key: Key) -> bool:
        if self.ttl_days != -1:
            return True
        context = self.contexts[key[0]]
        return context.report_at == self.newest[context.sender]

    def _expired(self, item: NaiveItem, now: Instant) -> bool:
        if self.ttl_days == -1 and not item.present:
            return True
        return self.ttl_days > 0 and now - item.last_seen > self.ttl_days * DAY

    def _expire(self, now: Instant) -> None:
        self.items = {key: item for key, item in self.items.items() if not self._expired(item, now)}

    def _take(self, namespace: str, images: set[Image], now: Instant) -> None:
        self._leave(namespace, images, now)
        for tag, digest in images:
            key = (namespace, tag, digest)
            item = self.items.get(key)
            unbroken = item is not None and item.present
            if item is None:
                item = self.items[key] = NaiveItem(now, now, present=True)
            item.last_seen, item.present = now, True
            intervals = self.sightings.setdefault(key, [])
            if intervals and (unbroken or now - intervals[-1][1] < self.gap):
                intervals[-1][1] = now
            else:
                intervals.append([now, now])
        self._supersede(namespace, now)

    def _leave(self, namespace: str, images: set[Image], now: Instant) -> None:
        for (where, tag, digest), item in self.items.items():
            if where == namespace and (tag, digest) not in images:
                item.present = False
        self._supersede(namespace, now)

    def _supersede(self, namespace: str, now: Instant) -> None:
        with_digest = {
            tag
            for (where, tag, digest), item in self.items.items()
            if where == namespace and digest != "unknown" and not self._expired(item, now)
        }
        for key, item in list(self.items.items()):
            superseded = key[0] == namespace and key[2] == "unknown" and key[1] in with_digest
            if superseded and not item.present and not self._expired(item, now):
                del self.items[key]
                self.sightings.pop(key, None)
