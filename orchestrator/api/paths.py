"""Paths as they were sent: each part decoded by itself, so that `%2F` is no separator.

What servers put into ASGI's `path` is decoded as a whole; from `raw_path` the parts can still be told apart. One
trailing slash is tolerated, without a redirect: clients that POST would not follow it.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.api.errors import error_response, path_not_found

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class StrictPaths:
    """Gives the app a `path` in which every `/` separates; 404 for one that is no UTF-8 or holds control characters."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = decoded_path(scope)
        if path is None:
            await error_response(path_not_found())(scope, receive, send)
            return
        await self._app({**scope, "path": path}, receive, send)


def decoded_path(scope: Mapping[str, Any]) -> str | None:
    """The path of a request, None when nothing can be at it."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"], errors="surrogatepass").encode()
    try:
        parts = [unquote_to_bytes(part).decode() for part in raw.split(b"/")]
    except UnicodeDecodeError:
        return None
    if any("/" in part or _CONTROL.search(part) for part in parts):
        return None
    path = "/".join(parts)
    return path.removesuffix("/") or "/"
