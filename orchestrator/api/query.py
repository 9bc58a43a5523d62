"""Query strings, read strictly: a filter with a typo in its name must not silently answer a wider question.

A parameter is read by what describes it, so that the API's description cannot say anything else.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import Request

from orchestrator.model.fields import InvalidField

_MAX_PARAMETERS: Final = 100
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a request, each one that its operation is said to take, given once, and not empty."""

    values: dict[str, str]
    known: frozenset[str]

    def get(self, name: str) -> str | None:
        """A parameter as it was given, if it was. LookupError for one that the operation does not say it takes."""
        if name not in self.known:
            raise LookupError(f"the operation is not described as taking {name}")
        return self.values.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextParameter:
    """A parameter that takes any text, or one of its `choices`."""

    name: str
    description: str
    example: str
    choices: tuple[str, ...] = ()

    def read(self, query: Query) -> str | None:
        """The value, None when it was not given. Raises InvalidField."""
        value = query.get(self.name)
        if value is not None and self.choices and value not in self.choices:
            raise InvalidField(self.name, f"expected {' or '.join(self.choices)}")
        return value

    @property
    def schema(self) -> dict[str, Any]:
        """What it takes, as JSON schema."""
        return {"type": "string", "enum": list(self.choices)} if self.choices else {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberParameter:
    """A parameter that takes a whole number from `low` to `high`."""

    name: str
    description: str
    example: int
    low: int
    high: int

    def read(self, query: Query) -> int | None:
        """The value, None when it was not given. Raises InvalidField."""
        value = query.get(self.name)
        if value is None:
            return None
        if not _WHOLE_NUMBER.fullmatch(value) or not self.low <= int(value) <= self.high:
            raise InvalidField(self.name, f"expected a whole number from {self.low} to {self.high}")
        return int(value)

    @property
    def schema(self) -> dict[str, Any]:
        """What it takes, as JSON schema."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class BooleanParameter:
    """A parameter that takes true or false."""

    name: str
    description: str
    example: bool

    def read(self, query: Query) -> bool | None:
        """The value, None when it was not given. Raises InvalidField."""
        value = query.get(self.name)
        if value is None:
            return None
        if value.lower() not in _BOOLEANS:
            raise InvalidField(self.name, "expected true or false")
        return _BOOLEANS[value.lower()]

    @property
    def schema(self) -> dict[str, Any]:
        """What it takes, as JSON schema."""
        return {"type": "boolean"}


QueryParameter: TypeAlias = TextParameter | NumberParameter | BooleanParameter


def parse_query(request: Request, known: frozenset[str]) -> Query:
    """The query of a request. Raises InvalidField for a parameter that is not `known`, empty or given twice."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError as error:
        raise InvalidField("query", f"expected at most {_MAX_PARAMETERS} parameters, percent-encoded UTF-8") from error
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise unknown_parameter(name, known)
        if name in values:
            raise InvalidField(name, "given more than once")
        if not value or "\x00" in value:
            raise InvalidField(name, "expected a value, without NUL")
        values[name] = value
    return Query(values, known)


def unknown_parameter(name: str, known: Collection[str]) -> InvalidField:
    """The refusal of a parameter that an operation does not take."""
    expected = f"expected {', '.join(sorted(known))}" if known else "this operation takes none"
    return InvalidField(_shown(name), f"unknown query parameter: {expected}")


def _shown(name: str) -> str:
    return name if name.isprintable() and 0 < len(name) <= 64 else "query"
