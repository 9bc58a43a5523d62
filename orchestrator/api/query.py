"""Query strings, read strictly: a filter with a typo in its name must not silently answer a wider question."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from orchestrator.model.fields import InvalidField

_MAX_PARAMETERS: Final = 100
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a request, each known, given once, and not empty."""

    values: dict[str, str]

    def text(self, name: str) -> str | None:
        """The parameter's value, None when it was not given."""
        return self.values.get(name)

    def number(self, name: str, *, low: int, high: int) -> int | None:
        """The parameter as a whole number from `low` to `high`. Raises InvalidField."""
        value = self.values.get(name)
        if value is None:
            return None
        if not _WHOLE_NUMBER.fullmatch(value) or not low <= int(value) <= high:
            raise InvalidField(name, f"expected a whole number from {low} to {high}")
        return int(value)

    def boolean(self, name: str) -> bool | None:
        """The parameter as true or false. Raises InvalidField."""
        value = self.values.get(name)
        if value is None:
            return None
        if value.lower() not in _BOOLEANS:
            raise InvalidField(name, "expected true or false")
        return _BOOLEANS[value.lower()]


def parse_query(request: Request, known: Collection[str]) -> Query:
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
            expected = f"expected {', '.join(sorted(known))}" if known else "this operation takes none"
            raise InvalidField(_shown(name), f"unknown query parameter: {expected}")
        if name in values:
            raise InvalidField(name, "given more than once")
        if not value or "\x00" in value:
            raise InvalidField(name, "expected a value, without NUL")
        values[name] = value
    return Query(values)


def _shown(name: str) -> str:
    return name if name.isprintable() and 0 < len(name) <= 64 else "query"
