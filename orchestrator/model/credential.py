"""Credentials and certificates as people give them, and as kai wants them; what about them will not work."""

import base64
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.encoding import decode_base64, pem_of
from orchestrator.model.instant import DAY, SECOND, Instant, from_datetime, to_datetime

EXPIRY_WARNING: Final = 30 * DAY

_JWT_PART = re.compile(r"[A-Za-z0-9_-]+")
_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_PEM_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_NO_HEADER_TEXT = re.compile(r"[\x00-\x1f\x7f]")

# Beyond the year 9999, or at infinity, a token's `exp` says nothing that could be warned of.
_LAST_SECOND: Final = 253_402_300_799


def normalise_token(text: str) -> str:
    """The bearer token that kai is to send.

    White space is taken out (GNU base64 wraps its lines, and a newline in a token kills kai). A value that is the
    base64 of a JWT, as `kubectl get secret -o yaml` shows it, becomes that JWT; anything else stays as it is.
    """
    token = "".join(text.split())
    decoded = decode_base64(token)
    if decoded is not None:
        inner = "".join(decoded.decode("latin-1").split())
        if _jwt_claims(inner) is not None:
            return inner
    return token


def certificate_data(text: str) -> str:
    """The text for a `*-data` field of a kubeconfig: base64 of PEM in one line.

    Raw PEM is encoded; base64 that was wrapped, url-safe or unpadded becomes the plain form that kai reads. What is
    neither is given as it is, without its white space.
    """
    pem = pem_of(text)
    if pem is not None:
        return base64.b64encode(pem).decode("ascii")
    return "".join(text.split())


def warnings_for(config: ClusterConfig, now: Instant) -> list[str]:
    """What will not work, or soon will not, in this config: plain sentences without any secret in them.

    Never raises: a config whose contents are wrong is stored all the same, and its looks say what kai makes of it.
    """
    if config.is_own:
        return []  # It is read, and judged, at each look.
    warnings = list(_ca_warnings(config.cluster_certificate, now))
    credential = config.credential.get_secret_value()
    if config.credential_type is CredentialType.TOKEN:
        warnings += _token_warnings(credential, now)
    else:
        warnings += _client_warnings(config.client_certificate or "", credential, now)
    return warnings


def _ca_warnings(text: str | None, now: Instant) -> Iterator[str]:
    if text is None or not text.strip():
        yield "cluster_certificate: none given, so the API server's certificate is held against the system's own CAs"
        return
    yield from _certificate_warnings("cluster_certificate", text, now)


def _certificate_warnings(field: str, text: str, now: Instant) -> Iterator[str]:
    pem = pem_of(text)
    if pem is None:
        yield f"{field}: {_what_is_wrong_with(text)}: expected the base64 of a PEM certificate"
        return
    blocks = _PEM_CERTIFICATE.findall(pem)
    if not blocks:
        yield f"{field}: the PEM holds no certificate"
    for number, block in enumerate(blocks, start=1):
        which = field if len(blocks) == 1 else f"{field} ({number} of {len(blocks)})"
        certificate = _load_certificate(block)
        if certificate is None:
            yield f"{which}: the certificate cannot be read"
        else:
            yield from _validity_warnings(which, certificate, now)


def _validity_warnings(which: str, certificate: x509.Certificate, now: Instant) -> Iterator[str]:
    begins = from_datetime(certificate.not_valid_before_utc)
    ends = from_datetime(certificate.not_valid_after_utc)
    if ends < now:
        yield f"{which}: the certificate expired on {_date(ends)}"
    elif ends < now + EXPIRY_WARNING:
        yield f"{which}: the certificate expires on {_date(ends)}"
    if begins > now:
        yield f"{which}: the certificate is not valid before {_date(begins)}"


def _client_warnings(certificate_text: str, key_text: str, now: Instant) -> Iterator[str]:
    yield from _certificate_warnings("client_certificate", certificate_text, now)
    pem = pem_of(key_text)
    if pem is None:
        yield f"credential: {_what_is_wrong_with(key_text)}: expected the base64 of a PEM private key"
        return
    block = _PEM_KEY.search(pem)
    if block is None:
        yield "credential: the PEM holds no private key"
        return
    public_key = _public_key(block.group())
    if public_key is None:
        yield "credential: the private key cannot be read; a key with a password cannot be used"
        return
    certificate = _first_certificate(certificate_text)
    if certificate is not None and _public_bytes(certificate) not in (None, public_key):
        yield "credential: the private key does not belong to client_certificate"


def _token_warnings(text: str, now: Instant) -> Iterator[str]:
    token = normalise_token(text)
    if token.lower().startswith("bearer"):
        yield "credential: the token begins with 'Bearer': give the token alone"
    if _NO_HEADER_TEXT.search(token):
        yield "credential: the token holds control characters, which no HTTP header can carry"
    claims = _jwt_claims(token)
    if claims is None:
        return
    ends = _claimed_instant(claims, "exp")
    if ends is not None and ends < now:
        yield f"credential: the token expired on {_date(ends)}"
    elif ends is not None and ends < now + EXPIRY_WARNING:
        yield f"credential: the token expires on {_date(ends)}"
    begins = _claimed_instant(claims, "nbf")
    if begins is not None and begins > now:
        yield f"credential: the token is not valid before {_date(begins)}"


def _jwt_claims(token: str) -> dict[str, Any] | None:
    """The claims of a JWT, empty when its second part is no JSON object; None for what is no JWT."""
    parts = token.split(".")
    if len(parts) != 3 or not all(_JWT_PART.fullmatch(part) for part in parts):
        return None
    header = _json_object(parts[0])
    if header is None or "alg" not in header:
        return None
    return _json_object(parts[1]) or {}


def _json_object(part: str) -> dict[str, Any] | None:
    decoded = decode_base64(part)
    if decoded is None:
        return None
    try:
        value = orjson.loads(decoded)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _claimed_instant(claims: dict[str, Any], name: str) -> Instant | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        return None
    return int(value * SECOND)


def _what_is_wrong_with(text: str) -> str:
    return "is no base64" if decode_base64("".join(text.split())) is None else "is base64, but not of PEM"


def _first_certificate(text: str) -> x509.Certificate | None:
    block = _PEM_CERTIFICATE.search(pem_of(text) or b"")
    return _load_certificate(block.group()) if block else None


def _load_certificate(pem: bytes) -> x509.Certificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        # Some fields are read only when asked for.
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    return certificate


def _public_key(pem: bytes) -> bytes | None:
    try:
        # Validating an RSA key of 4096 bits takes half a second. Only its public half is read here, nothing is
        # computed with it; kai's own TLS library validates what it uses.
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
        return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _public_bytes(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _date(instant: Instant) -> str:
    return to_datetime(instant).strftime("%Y-%m-%d %H:%M UTC")
