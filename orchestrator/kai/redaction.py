"""What a child printed, made fit to keep: without secrets, whole or in pieces, and without control characters."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

from orchestrator.kai.process import HeadAndTail

MASK: Final = "******"

# What Go's JSON escapes besides (package encoding/json, HTMLEscape), unless it is told not to.
_AS_GO_ESCAPES: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}

# A piece of a secret this long is masked wherever it stands: Go's JSON reader quotes some bytes of a kubeconfig that
# it cannot read, and so part of a credential.
_PIECE: Final = 8
_SHORTEST_SECRET: Final = 3

_ESCAPE_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Control and format characters (bidirectional overrides too) but for tab and newline, and what is no character.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)

_SHAPES: Final = (
    # A private key, its end or its beginning cut off included.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"\A[A-Za-z0-9+/=\s\\]*-----END [A-Z ]*PRIVATE KEY-----"), MASK),
    # A JWT or its base64; both begin like JSON's `{"`.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}"), MASK),
    (re.compile(r"\bZXlK[A-Za-z0-9+/_-]{16,}={0,2}"), MASK),
    (re.compile(r"\b(bearer)[\s:=\"']+[^\s\"',;}]+", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\b(authorization[\"']?\s*[:=]\s*[\"']?)[^\s\"',;}]+(?: [^\s\"',;}]+)?", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.IGNORECASE), rf"\1{MASK}@"),
)


def redact(text: str, secrets: Iterable[str], *, cut: bool = True) -> str:
    """The text without the secrets, in whatever form they stand there, and without control characters.

    Masked are: each secret as given, without white space, decoded from base64, encoded in it at any offset, escaped
    for JSON or a URL; any piece of these of eight characters; where the text is `cut` out of a longer one, a shorter
    piece at either end of it. A secret that itself is under eight characters may be an ordinary word: it is masked
    as a whole word only, of three characters only where no part of a path or of a name with hyphens, and one under
    three not at all. Besides, whatever has the shape of a private key, a JWT, an Authorization header or a user in
    a URL.
    """
    text = _UNPRINTABLE.sub("", _ESCAPE_SEQUENCES.sub("", text.replace("\r\n", "\n")))
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    forms, words = set[str](), set[str]()
    for secret in secrets:
        (forms if len(secret.strip()) >= _PIECE else words).update(_forms(secret))
    return _mask(text, forms, words, cut=cut)


def excerpt(kept: HeadAndTail, secrets: Iterable[str]) -> str:
    """What was kept of a stream, redacted, with a note of what is missing between its head and its tail."""
    secrets = tuple(secrets)
    if not kept.left_out:
        return redact((kept.head + kept.tail).decode("utf-8", "replace"), secrets)
    head, tail = (redact(part.decode("utf-8", "replace"), secrets) for part in (kept.head, kept.tail))
    return f"{head}\n[... {kept.left_out} bytes left out ...]\n{tail}"


def _forms(secret: str) -> Iterator[str]:
    """The forms a secret may take, without those too short to tell from other text."""
    stripped = secret.strip()
    bare = "".join(secret.split())
    for text in {stripped, bare, *_decoded(bare)}:
        for form in _written(text):
            if len(form) >= _SHORTEST_SECRET:
                yield form


def _written(text: str) -> Iterator[str]:
    # Each line by itself, without PEM's armour: "PRIVATE KEY" is no secret, and errors speak of it.
    yield from (line.strip() for line in text.splitlines() if not line.startswith("-----"))
    if "-----BEGIN " not in text:
        yield text
        for escaped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
            yield escaped
            yield escaped.translate(_AS_GO_ESCAPES)
        yield quote(text, safe="", errors="replace")
    raw = text.encode("utf-8", "replace")
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode()
        # The first and the last characters also hold bits of what stands before and after.
        yield encoded[4 if offset else 0 :].rstrip("=")
        yield encoded[4 if offset else 0 :].rstrip("=").replace("+", "-").replace("/", "_")


def _decoded(bare: str) -> Iterator[str]:
    standard = bare.rstrip("=").replace("-", "+").replace("_", "/")
    if not standard.isascii():
        return
    try:
        decoded = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except binascii.Error:
        return
    text = decoded.decode("utf-8", "replace")
    # Bytes that are no text would make forms of replacement characters.
    if text.strip() and "\ufffd" not in text:
        yield text.strip()


def _mask(text: str, forms: set[str], words: set[str], *, cut: bool) -> str:
    """The text without the forms of secrets, and without those of short ones where these are whole words."""
    pieces = {form[begin : begin + _PIECE] for form in forms | words for begin in range(len(form) - _PIECE + 1)}
    hidden = bytearray(len(text))
    for begin in range(len(text) - _PIECE + 1):
        if text[begin : begin + _PIECE] in pieces:
            hidden[begin : begin + _PIECE] = b"\x01" * _PIECE
    patterns = [re.escape(form) for form in forms if len(form) < _PIECE]
    for pattern in (*patterns, *(_as_word(word) for word in words if len(word) < _PIECE)):
        for match in re.finditer(pattern, text):
            hidden[match.start() : match.end()] = b"\x01" * len(match[0])
    if cut:
        _hide_cut_pieces(text, forms, hidden)
    return re.sub(
        "\x01+",
        MASK,
        "".join("\x01" if mark else character for character, mark in zip(text, hidden, strict=True)),
    )


def _as_word(word: str) -> str:
    beside = r"[\w/-]" if len(word) <= _SHORTEST_SECRET else r"\w"
    return rf"(?<!{beside}){re.escape(word)}(?!{beside})"


def _hide_cut_pieces(text: str, forms: set[str], hidden: bytearray) -> None:
    for size in range(_SHORTEST_SECRET, min(_PIECE, len(text) + 1)):
        if any(form.startswith(text[-size:]) for form in forms):
            hidden[-size:] = b"\x01" * size
        if any(form.endswith(text[:size]) for form in forms):
            hidden[:size] = b"\x01" * size
