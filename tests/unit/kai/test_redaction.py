"""Nothing of a secret is kept, however a child prints it."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kai.process import HeadAndTail
from orchestrator.kai.redaction import MASK, excerpt, redact

JWT = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50In0."
    "c2lnbmF0dXJlLW9mLXRoZS10b2tlbi1jNG40cnk"
)
OPAQUE = "c4n4ry-9f8e7d6c5b4a-token"
KEY = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(
    base64.b64encode(bytes((7 * line + column) % 251 for column in range(48))).decode() for line in range(6)
)
KEY += "\n-----END PRIVATE KEY-----\n"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def longest_leak(text: str, secret: str) -> int:
    """The length of the longest piece of the secret in the text."""
    longest = 0
    for begin in range(len(secret)):
        while secret[begin : begin + longest + 1] in text and begin + longest < len(secret):
            longest += 1
    return longest


@pytest.mark.parametrize(
    "secret", [JWT, OPAQUE, b64(JWT), b64(KEY), KEY, f"{b64(OPAQUE)}\n", "pässwörd-c4n4ry", "p&ss<w&rd<c4n&4ry"]
)
@pytest.mark.parametrize(
    "printed",
    [
        lambda secret: secret,
        lambda secret: f"error: {secret}: no",
        lambda secret: f"token={secret}",
        lambda secret: json.dumps({"msg": f"bad {secret}"}),
        lambda secret: json.dumps({"msg": f"bad {secret}"}, ensure_ascii=False),
        lambda secret: json.dumps(f"bad {secret}").replace("&", "\\u0026").replace("<", "\\u003c"),
        b64,
        lambda secret: b64("x" + secret),
        lambda secret: b64("Bearer:" + secret + "--"),
        lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
        quote,
        repr,
        lambda secret: f"|{secret[5:40]}|",
        lambda secret: "\x1b[31m" + secret[:10] + "\x1b[0m" + secret[10:],
        lambda secret: secret.replace("a", "a\x00"),
    ],
)
def test_a_secret_is_masked_in_whatever_form(secret: str, printed: object) -> None:
    assert callable(printed)
    text = redact(printed(secret), [secret])
    assert MASK in text
    lines = [line for line in secret.splitlines() if not line.startswith("-----")]
    for form in (*lines, "".join(lines), b64(secret)):
        assert longest_leak(text.replace(MASK, "\n"), form) < 8, text


def test_the_key_in_a_base64_credential_is_masked_line_by_line() -> None:
    text = redact(f"reading key: {KEY.splitlines()[2]}", [b64(KEY)])
    assert text == f"reading key: {MASK}"


@pytest.mark.parametrize("size", [3, 4, 7, 12, 24])
def test_a_secret_cut_at_an_edge_is_masked(size: int) -> None:
    assert redact(f"it said {OPAQUE[:size]}", [OPAQUE]) == f"it said {MASK}"
    assert redact(f"{OPAQUE[-size:]} it said", [OPAQUE]) == f"{MASK} it said"


def test_both_pieces_of_a_long_stream_are_redacted_at_their_edges() -> None:
    kept = HeadAndTail(20)
    kept.write(b"x" * 15 + OPAQUE.encode() + b"y" * 100 + OPAQUE.encode() + b"z" * 12)
    text = excerpt(kept, [OPAQUE])
    assert text == f"{'x' * 15}{MASK}\n[... 137 bytes left out ...]\n{MASK}{'z' * 12}"


def test_a_short_stream_is_one_piece() -> None:
    kept = HeadAndTail(20)
    kept.write(b"12345678901" + OPAQUE.encode())
    assert excerpt(kept, [OPAQUE]) == f"12345678901{MASK}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a {JWT} b", f"a {MASK} b"),
        (f"a {JWT[:50]}", f"a {MASK}"),
        (f"a {b64(JWT)} b", f"a {MASK} b"),
        (f"a {KEY.strip()} b", f"a {MASK} b"),
        (f"a {KEY[:150]}", f"a {MASK}"),
        (f"{KEY[150:]} b", f"{MASK}\n b"),
        ('"Authorization: Bearer abc-def"', f'"Authorization: {MASK}"'),
        ("authorization=Basic YWRtaW46Zm9v, more", f"authorization={MASK}, more"),
        ("sent bearer abc.def to", f"sent bearer {MASK} to"),
        ('Get "https://admin:foobar@host/x": EOF', f'Get "https://{MASK}@host/x": EOF'),
    ],
)
def test_what_looks_like_a_secret_is_masked_though_it_is_not_known(text: str, expected: str) -> None:
    assert redact(text, []) == expected


@pytest.mark.parametrize(
    "text",
    [
        'pods is forbidden: User "system:serviceaccount:default:kai" cannot list resource "pods" in API group ""',
        'Get "https://127.0.0.1:16443/api/v1/namespaces": net/http: invalid header field value for "Authorization"',
        "tls: failed to find any PEM data in key input",
        "line one\n\tline two: é 日本 😀",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact(text, [JWT, OPAQUE, KEY]) == text


def test_a_short_secret_is_masked_as_a_whole() -> None:
    assert redact("token jkl was, jk was not", ["jkl"]) == f"token {MASK} was, jk was not"
    assert redact("a b c", ["a", ""]) == "a b c"


@pytest.mark.parametrize(
    ("text", "secret", "expected"),
    [
        ("Give a new token: tokens of a broken account", "tok", "Give a new token: tokens of a broken account"),
        ("the tok-en in /tok/ken is 'tok', not tok.", "tok", f"the tok-en in /tok/ken is '{MASK}', not {MASK}."),
        ("secrets of secret, secret-x, my_secret", "secret", f"secrets of {MASK}, {MASK}-x, my_secret"),
        ("base64 c2VjcmV0", "secret", f"base64 {MASK}"),
        ("it is Forbidden", "dentist", "it is Forbidden"),
    ],
)
def test_a_short_secret_is_no_part_of_a_word(text: str, secret: str, expected: str) -> None:
    assert redact(text, [secret]) == expected


def test_only_a_text_that_is_cut_has_pieces_at_its_ends() -> None:
    assert redact(f"said {OPAQUE[:6]}", [OPAQUE], cut=False) == f"said {OPAQUE[:6]}"
    assert redact(f"said {OPAQUE[:8]}", [OPAQUE], cut=False) == f"said {MASK}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("a\x00b\x07c\x7f\x85d", "abcd"),
        ("a\r\nb\tc\n", "a\nb\tc\n"),
        ("\u202eevil\u2066\ufeff\ud800", "evil"),
    ],
)
def test_control_characters_go(text: str, expected: str) -> None:
    assert redact(text, []) == expected


SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z", "Cf", "Cn"]), min_size=8, max_size=60)


@given(SECRETS, st.text(max_size=30), st.text(max_size=30))
def test_no_secret_survives_between_any_text(secret: str, before: str, after: str) -> None:
    assert secret not in redact(before + secret + after, [secret]).replace(MASK, "\n")


@given(st.text(max_size=100), st.lists(st.text(max_size=40), max_size=3))
def test_any_text_can_be_redacted(text: str, secrets: list[str]) -> None:
    assert "\x00" not in redact(text, secrets)
