"""Base64 and PEM in the forms in which people paste them."""

import base64
import binascii
import re

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def decode_base64(text: str) -> bytes | None:
    """The bytes behind base64 of either alphabet, padded or not; None for anything else."""
    if not text.isascii() or not _BASE64.fullmatch(text):
        return None
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        return None


def pem_of(text: str) -> bytes | None:
    """The PEM in a text that is either PEM itself or its base64, wrapped or not; None when it is neither."""
    if "-----BEGIN " in text:
        return text.strip().encode("utf-8", "replace") + b"\n"
    decoded = decode_base64("".join(text.split()))
    return decoded if decoded is not None and b"-----BEGIN " in decoded else None
