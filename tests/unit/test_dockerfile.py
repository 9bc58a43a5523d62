"""The Dockerfile says the same as the code."""

import re
from pathlib import Path

from orchestrator import __version__
from orchestrator.settings import options

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_has_the_version_of_the_service() -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [__version__]


def test_the_variables_of_the_image_are_options() -> None:
    known = {option.env for option in options()}
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    variables = re.findall(r"([A-Z_]+)=", block)
    assert variables
    assert set(variables) <= known


def test_nothing_but_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied)
