"""Reading kai's reports, and telling a good look from one that proves nothing."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.report import (
    MalformedReport,
    UnprovenReport,
    check_look,
    fingerprint,
    image_key,
    parse_report,
)

OLD: dict[str, Any] = {
    "timestamp": "2026-11-23T03:12:28Z",
    "results": [
        {"namespace": "a", "images": [{"tag": "nginx:1", "repoDigest": "sha256:aa"}, {"tag": "nginx:1"}]},
        {"namespace": "empty", "images": []},
    ],
    "serverVersionMetadata": {"major": "1", "minor": "20", "gitVersion": "v1.20.2"},
}
NEW = OLD | {"cluster_name": "prod", "inventory_type": "kubernetes"}


def parsed(**changes: Any) -> Any:
    return parse_report(json.dumps(NEW | changes).encode())


def test_report_of_kai_since_0_3_is_read() -> None:
    report = parsed()
    assert (report.cluster_name, report.inventory_type) == ("prod", "kubernetes")
    assert report.server_version == "v1.20.2"
    assert report.timestamp == 1_795_403_548_000_000
    assert [(each.namespace, each.images) for each in report.namespaces] == [
        ("a", {("nginx:1", "sha256:aa"), ("nginx:1", "unknown")}),
        ("empty", frozenset()),
    ]
    assert (report.image_count, report.left_out) == (2, 0)


def test_report_of_kai_0_2_names_no_cluster() -> None:
    report = parse_report(json.dumps(OLD).encode())
    assert (report.cluster_name, report.inventory_type) == (None, None)


def test_images_are_counted_once_and_empty_digests_are_unknown() -> None:
    images = [{"tag": "x"}, {"tag": "x", "repoDigest": ""}, {"tag": "x", "repoDigest": None}]
    report = parsed(results=[{"namespace": "a", "images": images}])
    assert report.namespaces[0].images == {("x", "unknown")}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "nginx",
        {},
        {"tag": ""},
        {"tag": 1},
        {"tag": None, "repoDigest": "sha256:aa"},
        {"tag": "x\0y"},
        {"tag": "x" * 4097},
        {"tag": "é" * 2049},
        {"tag": "x", "repoDigest": 7},
        {"tag": "x", "repoDigest": "y" * 4097},
    ],
)
def test_entry_that_cannot_be_taken_is_left_out_and_counted(entry: Any) -> None:
    report = parsed(results=[{"namespace": "a", "images": [entry, {"tag": "good"}]}])
    assert report.namespaces[0].images == {("good", "unknown")}
    assert report.left_out == 1


@pytest.mark.parametrize(
    ("document", "position"),
    [
        (b"", "line 1 column 1"),
        (b'{"results": [', "line 1 column 14"),
        (b"\xff{}", "line 1 column 1"),
        (b"[]", "the report"),
        (b"null", "the report"),
        (b"{}", "results"),
        (b'{"results": null}', "results"),
        (b'{"results": [1]}', "results[0]"),
        (b'{"results": [{"images": []}]}', "results[0].namespace"),
        (b'{"results": [{"namespace": "", "images": []}]}', "results[0].namespace"),
        (b'{"results": [{"namespace": "a/b", "images": []}]}', "results[0].namespace"),
        (b'{"results": [{"namespace": "a"}]}', "results[0].images"),
        (b'{"results": [{"namespace": "a", "images": null}]}', "results[0].images"),
        (b'{"results": [], "timestamp": 5}', "timestamp"),
        (b'{"results": [], "timestamp": "now"}', "timestamp"),
        (b'{"results": [], "cluster_name": 5}', "cluster_name"),
        (b'{"results": [], "serverVersionMetadata": "v1"}', "serverVersionMetadata"),
        (b'{"results": [], "serverVersionMetadata": {"gitVersion": 1}}', "serverVersionMetadata.gitVersion"),
    ],
)
def test_malformed_frame_is_refused_with_its_position(document: bytes, position: str) -> None:
    with pytest.raises(MalformedReport) as caught:
        parse_report(document)
    assert caught.value.position == position


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*NEW, "unknown"]), json_values), st.lists(json_values))
def test_any_json_is_read_or_refused(top: dict[str, Any], results: list[Any]) -> None:
    for document in (top, top | {"results": results}, top | {"results": [{"namespace": "a", "images": results}]}):
        with suppress(MalformedReport):
            parse_report(json.dumps(document).encode("utf-8", "surrogatepass"))


def test_look_at_what_was_asked_for_is_good() -> None:
    check_look(parsed(), cluster_name="prod", asked=None)
    check_look(parsed(), cluster_name="prod", asked={"a", "empty"})
    check_look(parse_report(json.dumps(OLD).encode()), cluster_name="prod", asked=None)


@pytest.mark.parametrize(
    ("changes", "asked", "problem"),
    [
        ({"cluster_name": "other"}, None, "about another cluster"),
        ({"cluster_name": ""}, None, "about another cluster"),
        ({"inventory_type": "ecs"}, None, "another inventory type"),
        ({"serverVersionMetadata": {"gitVersion": ""}}, None, "told no version"),
        ({"serverVersionMetadata": {}}, None, "told no version"),
        ({"serverVersionMetadata": None}, None, "told no version"),
        ({"results": []}, None, "names no namespace"),
        ({"results": [{"namespace": "a", "images": []}] * 2}, None, "names a namespace twice"),
        ({}, {"a"}, "not asked for: empty"),
        ({}, {"a", "empty", "x", "y"}, "lacks namespaces that were asked for: x, y"),
    ],
)
def test_look_that_proves_nothing_is_refused(changes: Any, asked: set[str] | None, problem: str) -> None:
    with pytest.raises(UnprovenReport, match=problem):
        check_look(parsed(**changes), cluster_name="prod", asked=asked)


images = st.tuples(st.text(max_size=5), st.text(max_size=5)).filter(lambda image: "\0" not in "".join(image))


@given(st.lists(images), st.lists(images))
def test_fingerprints_are_equal_exactly_when_the_sets_are(one: list[Any], other: list[Any]) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (set(one) == set(other))


@given(images, images)
def test_keys_are_equal_exactly_when_the_images_are(one: Any, other: Any) -> None:
    assert (image_key(one) == image_key(other)) == (one == other)
