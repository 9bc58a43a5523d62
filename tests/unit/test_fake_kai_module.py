"""Inside bin/fake-kai: its YAML reader, and that its docstring tells what there is."""

import importlib.machinery
import importlib.util
import json
import re
import sys
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fakekai.stage import FAKE_KAI


@pytest.fixture(scope="session")
def fake_kai() -> ModuleType:
    """The stand-in as a module."""
    loader = importlib.machinery.SourceFileLoader("fake_kai", str(FAKE_KAI))
    spec = importlib.util.spec_from_loader("fake_kai", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def test_every_scenario_and_option_is_documented(fake_kai: ModuleType) -> None:
    assert fake_kai.__doc__ is not None
    documented = set(re.findall(r"[a-z][a-z0-9-]+", fake_kai.__doc__))
    assert {*fake_kai.FAILURES, *fake_kai.CLUSTERS, *fake_kai.PLAYS} <= documented
    for option in fake_kai.OPTIONS:
        assert re.search(rf"^    .*\b{option}-", fake_kai.__doc__, re.MULTILINE), option


TEXT = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=30)


def documents(keys: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    return st.recursive(
        st.none() | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


@given(documents(TEXT))
def test_reads_json(fake_kai: ModuleType, document: object) -> None:
    styles: tuple[dict[str, Any], ...] = ({}, {"indent": 2}, {"ensure_ascii": False}, {"separators": (",", ":")})
    for style in styles:
        assert fake_kai.Yaml(json.dumps(document, **style)).read() == document


@given(documents(st.from_regex(r"[a-z][a-z0-9.-]{0,15}", fullmatch=True)))
def test_reads_yaml(fake_kai: ModuleType, document: object) -> None:
    styles: tuple[dict[str, Any], ...] = (
        {},
        {"default_flow_style": False, "allow_unicode": True},
        {"explicit_start": True},
    )
    for style in styles:
        text = yaml.safe_dump({"document": document}, width=10**6, **style)
        assert fake_kai.Yaml(text).read() == {"document": document}


@pytest.mark.parametrize(
    "text", ["a: [b", "a: {b: c", 'a: "b', "a: b: c", "a:\n\tb: c", "a: 1\n  b: 2", "a: *b", "a\x07"]
)
def test_refuses_what_is_no_yaml(fake_kai: ModuleType, text: str) -> None:
    with pytest.raises(fake_kai.YamlError):
        fake_kai.Yaml(text).read()
