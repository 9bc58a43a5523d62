"""kai's report: reading every shape that kai prints, and telling a good look from an exit 0 that proves nothing."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeAlias, TypeGuard

import orjson

from orchestrator.model.cluster import INVENTORY_TYPE
from orchestrator.model.fields import InvalidField
from orchestrator.model.instant import Instant, parse_instant

# (tag, digest), both as reported; a plain pair, since reports hold a hundred thousand of them.
Image: TypeAlias = tuple[str, str]

UNKNOWN_DIGEST: Final = "unknown"
MAX_ENTRY_BYTES: Final = 4096
MAX_NAMESPACE_CHARACTERS: Final = 253
# A context, the cluster's name and the namespace's, has to fit into an index entry of PostgreSQL: 2,704 bytes.
MAX_REPORTED_CLUSTER_NAME_BYTES: Final = 1024

_FINGERPRINT_FORMAT: Final = b"1\n"


class MalformedReport(ValueError):
    """The bytes are no report. `position` is where: `line 3 column 7` or `results[2].images`."""

    def __init__(self, position: str, problem: str) -> None:
        super().__init__(f"{position}: {problem}")
        self.position = position
        self.problem = problem


class UnprovenReport(ValueError):
    """A well-formed report that does not prove that this cluster was looked at."""


@dataclass(frozen=True, slots=True)
class NamespaceReport:
    """The images that ran in one namespace, each once."""

    namespace: str
    images: frozenset[Image]


@dataclass(frozen=True, slots=True)
class InventoryReport:
    """One report.

    `cluster_name` and `inventory_type` are None where kai 0.2.x leaves them out; `timestamp` is None when missing.
    `server_version` is `serverVersionMetadata.gitVersion`, None when the report carries no such metadata at all.
    `left_out` counts the image entries that could not be taken.
    """

    cluster_name: str | None
    inventory_type: str | None
    timestamp: Instant | None
    server_version: str | None
    namespaces: tuple[NamespaceReport, ...]
    left_out: int

    @property
    def image_count(self) -> int:
        """How many images were reported, counted once a namespace."""
        return sum(len(each.images) for each in self.namespaces)


def parse_report(document: bytes) -> InventoryReport:
    """Read a report as kai 0.2.1 to 0.5.0 prints or posts it; unknown keys are tolerated.

    Raises MalformedReport when the frame does not hold. A single image entry that cannot be taken (no object, no
    text, over 4 KiB, holding NUL) is left out and counted: it must not blind the cluster.
    """
    try:
        top = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise MalformedReport(f"line {error.lineno} column {error.colno}", f"no JSON: {error.msg}") from error
    if not isinstance(top, dict):
        raise MalformedReport("the report", "expected a JSON object")
    results = top.get("results")
    if not isinstance(results, list):
        raise MalformedReport("results", "expected an array of namespaces")
    namespaces = []
    left_out = 0
    for index, entry in enumerate(results):
        namespace, skipped = _parse_namespace(entry, f"results[{index}]")
        namespaces.append(namespace)
        left_out += skipped
    return InventoryReport(
        cluster_name=_optional_text(top, "cluster_name", MAX_REPORTED_CLUSTER_NAME_BYTES),
        inventory_type=_optional_text(top, "inventory_type", 64),
        timestamp=_parse_timestamp(top.get("timestamp")),
        server_version=_parse_server_version(top),
        namespaces=tuple(namespaces),
        left_out=left_out,
    )


def _parse_namespace(entry: Any, position: str) -> tuple[NamespaceReport, int]:
    if not isinstance(entry, dict):
        raise MalformedReport(position, "expected an object with namespace and images")
    namespace = entry.get("namespace")
    if not isinstance(namespace, str) or not namespace:
        raise MalformedReport(f"{position}.namespace", "expected the namespace's name")
    if len(namespace) > MAX_NAMESPACE_CHARACTERS or "/" in namespace or "\x00" in namespace:
        raise MalformedReport(
            f"{position}.namespace",
            f"expected at most {MAX_NAMESPACE_CHARACTERS} characters, without '/' and NUL",
        )
    images = entry.get("images")
    if not isinstance(images, list):
        raise MalformedReport(f"{position}.images", "expected an array of images")
    taken, left_out = _parse_images(images)
    return NamespaceReport(namespace, taken), left_out


def _parse_images(entries: list[Any]) -> tuple[frozenset[Image], int]:
    taken: set[Image] = set()
    left_out = 0
    for entry in entries:
        if not isinstance(entry, dict):
            left_out += 1
            continue
        image = (entry.get("tag"), entry.get("repoDigest") or UNKNOWN_DIGEST)
        if _is_image(image):
            taken.add(image)
        else:
            left_out += 1
    return frozenset(taken), left_out


def _is_image(pair: tuple[Any, Any]) -> TypeGuard[Image]:
    return _is_entry_text(pair[0]) and _is_entry_text(pair[1])


def _is_entry_text(value: Any) -> bool:
    if not isinstance(value, str) or not value or "\x00" in value:
        return False
    # Four bytes a character at most: counting them is needed only for the few long ones.
    return len(value) * 4 <= MAX_ENTRY_BYTES or len(value.encode()) <= MAX_ENTRY_BYTES


def _optional_text(top: dict[str, Any], key: str, limit: int) -> str | None:
    value = top.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or "\x00" in value or len(value) > limit:
        raise MalformedReport(key, f"expected text of at most {limit} characters, without NUL")
    return value


def _parse_timestamp(value: Any) -> Instant | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise MalformedReport("timestamp", "expected an RFC 3339 date-time as text")
    try:
        return parse_instant(value)
    except (ValueError, OverflowError) as error:
        raise MalformedReport("timestamp", str(error)) from error


def _parse_server_version(top: dict[str, Any]) -> str | None:
    metadata = top.get("serverVersionMetadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise MalformedReport("serverVersionMetadata", "expected an object")
    version = metadata.get("gitVersion", "")
    if not isinstance(version, str) or len(version) > 256 or "\x00" in version:
        raise MalformedReport("serverVersionMetadata.gitVersion", "expected text of at most 256 characters")
    return version


def subject_of(report: InventoryReport, named: str | None) -> str:
    """The cluster that a posted report is about: the one it names, or else the one that its sender `named` beside it.

    Unlike a configured cluster's, the name may hold `/`: agents in EKS post ARNs. Raises InvalidField.
    """
    if report.inventory_type not in (None, INVENTORY_TYPE):
        raise InvalidField("inventory_type", f"expected {INVENTORY_TYPE!r}, the only type there is")
    if report.cluster_name and named is not None and named != report.cluster_name:
        raise InvalidField("cluster_name", "the report names another cluster than the query does")
    name = report.cluster_name or named
    if not name:
        raise InvalidField(
            "cluster_name",
            "the report names no cluster, as those of kai 0.2 that are posted by hand: say which one it is about with "
            "?cluster_name=NAME, or set kubeconfig.cluster in kai's configuration",
        )
    if not is_reported_name(name):
        raise InvalidField(
            "cluster_name",
            f"expected at most {MAX_REPORTED_CLUSTER_NAME_BYTES} bytes of printable text, no white space at its ends",
        )
    return name


def is_reported_name(name: str) -> bool:
    """Whether a cluster of this name can be reported about."""
    return len(name.encode()) <= MAX_REPORTED_CLUSTER_NAME_BYTES and name.isprintable() and name == name.strip()


def check_look(report: InventoryReport, *, cluster_name: str, asked: Set[str] | None) -> None:
    """Raise UnprovenReport unless the report proves a look at this cluster and the namespaces asked for.

    `asked` is None when every namespace was asked for. kai exits 0 with a well-formed report also when the API
    server answers `{}` to everything, or redirects to one that does: what such a report lacks is checked here.
    """
    if report.cluster_name is not None and report.cluster_name != cluster_name:
        raise UnprovenReport(f"the report is about another cluster: it names {report.cluster_name[:253]!r}")
    if report.inventory_type not in (None, INVENTORY_TYPE):
        raise UnprovenReport(f"the report is of another inventory type than {INVENTORY_TYPE}")
    if not report.server_version:
        raise UnprovenReport("the API server told no version: what answered is not a Kubernetes API server")
    named = [each.namespace for each in report.namespaces]
    if len(named) != len(set(named)):
        raise UnprovenReport("the report names a namespace twice")
    if asked is None:
        if not named:
            raise UnprovenReport("the report names no namespace, and every cluster has some")
        return
    missing, surplus = asked - set(named), set(named) - asked
    if missing:
        raise UnprovenReport(f"the report lacks namespaces that were asked for: {_some(missing)}")
    if surplus:
        raise UnprovenReport(f"the report names namespaces that were not asked for: {_some(surplus)}")


def _some(names: Iterable[str], limit: int = 5) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more


def fingerprint(images: Iterable[Image]) -> bytes:
    """16 bytes that are equal exactly when two sets of images are, but for chance of 2**-128.

    Begins with a format number, so that a changed way of reading reports can never take old for equal.
    """
    lines = sorted(f"{tag}\0{digest}\n" for tag, digest in set(images))
    return blake2b(_FINGERPRINT_FORMAT + "".join(lines).encode(), digest_size=16).digest()


def image_key(image: Image) -> bytes:
    """16 bytes that stand for an image inside its namespace: an index holds these in place of 4 KiB tags."""
    return blake2b(f"{image[0]}\0{image[1]}".encode(), digest_size=16).digest()
