"""Answers as JSON, and the headers that every answer has."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

# An inventory is of the moment and of the caller: no cache between may keep it, and no browser may guess its type.
COMMON_HEADERS: Final[Mapping[str, str]] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class JsonResponse(Response):
    """An answer whose body is JSON."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(orjson.dumps(content), status_code, {**COMMON_HEADERS, **(headers or {})})


def no_content() -> Response:
    """204, with nothing in it."""
    return Response(status_code=204, headers=dict(COMMON_HEADERS))
