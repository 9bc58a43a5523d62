"""Which path a request is for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.paths import decoded_path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/a", "/a"),
        (b"/a/", "/a"),
        (b"/a//", "/a/"),
        (b"//a", "//a"),
        (b"/a%20b/c", "/a b/c"),
        (b"/%C3%A4", "/ä"),
        (b"/a%252Fb", "/a%2Fb"),
        (b"/a%zz", "/a%zz"),
        (b"/a%2Fb", None),
        (b"/a%2fb", None),
        (b"/%00", None),
        (b"/a%0A", None),
        (b"/%C2%85", None),
        (b"/%E2%80%A8", None),
        (b"/%FF", None),
        (b"/%C0%AF", None),
        (b"/%ED%A0%80", None),
    ],
)
def test_each_part_is_decoded_by_itself(raw: bytes, path: str | None) -> None:
    assert decoded_path({"raw_path": raw, "path": "/elsewhere"}) == path


@pytest.mark.parametrize(("path", "decoded"), [("/ä/b/", "/ä/b"), ("/a%2Fb", "/a%2Fb"), ("/\ud800", None)])
def test_servers_without_a_raw_path(path: str, decoded: str | None) -> None:
    assert decoded_path({"path": path}) == decoded


@given(st.binary(max_size=60))
def test_a_decoded_path_never_holds_what_no_name_may(raw: bytes) -> None:
    path = decoded_path({"raw_path": b"/" + raw, "path": "/"})
    if path is not None:
        assert path.encode()
        assert path.count("/") <= raw.count(b"/") + 1
        assert not any(ord(character) < 32 for character in path)
