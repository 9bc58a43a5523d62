"""Requests straight at an ASGI app: with bytes that no well-behaved client would send, seeing each message."""

from collections.abc import Iterable, Mapping

import anyio
import httpx
from starlette.types import ASGIApp, Message

from tests.integration.api.conftest import PASSWORD

SIGNED = httpx.BasicAuth("admin", PASSWORD)._auth_header


async def exchange(
    app: ASGIApp,
    messages: list[Message],
    *,
    raw_path: str,
    method: str = "GET",
    query: bytes = b"",
    headers: Mapping[str, str | bytes] | None = None,
    chunks: Iterable[bytes] = (),
) -> None:
    """Send a signed request; what the app sends is appended to `messages`, what it raises comes through."""
    signed = {"authorization": SIGNED, **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        # As uvicorn makes it.
        "path": httpx.URL("http://test" + raw_path).path,
        "raw_path": raw_path.encode("ascii"),
        "query_string": query,
        "root_path": "",
        "headers": [(name.encode(), _bytes(value)) for name, value in signed.items()],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    parts.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        if not parts:
            await anyio.sleep_forever()
        return parts.pop(0)

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
