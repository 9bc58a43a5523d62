"""Cursors: where the next page begins, as one opaque word that fits only the filters it was made for."""

import base64
import binascii
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import orjson

from orchestrator.catalog.inventory import Position
from orchestrator.model.fields import InvalidField

_FORMAT: Final = b"\x01"
_CHECK_BYTES: Final = 8


def make_cursor(position: Position, filters: Mapping[str, str]) -> str:
    """The cursor for what follows `position` in the answer to `filters`."""
    # No part of a position holds NUL.
    place = "\0".join(position).encode()
    return base64.urlsafe_b64encode(_FORMAT + _check(place, filters) + place).decode().rstrip("=")


def read_cursor(cursor: str, filters: Mapping[str, str]) -> Position:
    """The position in a cursor. Raises InvalidField unless it was made here, for these filters.

    The check finds accidents, not forgers: a forged cursor shows its maker nothing but their own inventory.
    """
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = Position(*data[1 + _CHECK_BYTES :].decode().split("\0"))
        made = make_cursor(position, filters)
    except (binascii.Error, ValueError, TypeError):
        made = None
    # Made again rather than checked in parts: base64 has more than one spelling of the same bytes.
    if made != cursor:
        raise InvalidField("cursor", "expected the cursor of the page before, unchanged and with the same filters")
    return position


def _check(place: bytes, filters: Mapping[str, str]) -> bytes:
    canonical = orjson.dumps(dict(filters), option=orjson.OPT_SORT_KEYS)
    return blake2b(canonical + b"\0" + place, digest_size=_CHECK_BYTES).digest()
