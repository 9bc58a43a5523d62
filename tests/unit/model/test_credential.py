"""Credentials as people paste them, and what is warned of."""

import base64
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.credential import certificate_data, normalise_token, warnings_for
from orchestrator.model.instant import from_datetime

TODAY = datetime(2026, 3, 1, tzinfo=UTC)
NOW = from_datetime(TODAY)


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> str:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def make_certificate(key: ec.EllipticCurvePrivateKey, *, days: float = 365, since: float = -10) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kai")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(TODAY + timedelta(days=since))
        .not_valid_after(TODAY + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def jwt(**claims: object) -> str:
    parts = [orjson.dumps({"alg": "RS256", "kid": ""}), orjson.dumps({"iss": "kubernetes/serviceaccount", **claims})]
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


KEY = make_key()
CERTIFICATE = make_certificate(KEY)


def config(
    *,
    ca: str | None = CERTIFICATE,
    client: str | None = None,
    credential: str = "opaque-token",
    kind: CredentialType = CredentialType.TOKEN,
) -> ClusterConfig:
    return ClusterConfig(
        cluster_name="prod",
        server="https://10.0.0.1:6443",
        cluster_certificate=ca,
        client_certificate=client,
        credential_type=kind,
        credential=SecretStr(credential),
    )


def key_config(client: str, credential: str) -> ClusterConfig:
    return config(client=client, credential=credential, kind=CredentialType.PRIVATE_KEY)


WAYS_TO_GIVE_A_TOKEN: dict[str, Callable[[str], str]] = {
    "raw": lambda token: token,
    "with a newline": lambda token: f"{token}\n",
    "base64": b64,
    "base64, wrapped by GNU": lambda token: "\n".join(textwrap.wrap(b64(token), 76)) + "\n",
    "base64, unpadded": lambda token: b64(token).rstrip("="),
    "base64, url-safe": lambda token: base64.urlsafe_b64encode(token.encode()).decode(),
    "base64 of a line": lambda token: b64(token + "\n"),
}


@pytest.mark.parametrize("way", WAYS_TO_GIVE_A_TOKEN)
@pytest.mark.parametrize("claims", [{}, {"a": "x"}, {"a": "xy"}, {"a": "xyz"}])
def test_a_jwt_is_found_however_it_is_given(way: str, claims: dict[str, str]) -> None:
    token = jwt(**claims)
    assert normalise_token(WAYS_TO_GIVE_A_TOKEN[way](token)) == token


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("jkl", "jkl"),
        ("  my static token ", "mystatictoken"),
        ("kubeconfig-user-x9:abcdef", "kubeconfig-user-x9:abcdef"),
        # Base64 of something that is no JWT stays as given: an opaque token may well look like base64.
        (b64("not-a-jwt"), b64("not-a-jwt")),
        (b64("a.b.c"), b64("a.b.c")),
        ("a.b.c", "a.b.c"),
        ("", ""),
    ],
)
def test_another_token_stays_as_it_is(given_text: str, expected: str) -> None:
    assert normalise_token(given_text) == expected


def test_a_certificate_is_taken_as_pem_and_as_base64_in_any_form() -> None:
    expected = b64(CERTIFICATE)
    assert certificate_data(CERTIFICATE) == expected
    assert certificate_data(expected) == expected
    assert certificate_data("\n".join(textwrap.wrap(expected, 76))) == expected
    assert certificate_data(expected.rstrip("=")) == expected
    assert certificate_data(base64.urlsafe_b64encode(CERTIFICATE.encode()).decode()) == expected
    assert base64.b64decode(certificate_data(f"\n{CERTIFICATE}\n\n")).decode().strip() == CERTIFICATE.strip()


@pytest.mark.parametrize("text", ["abc", "not base64!", b64("no pem")])
def test_what_is_no_certificate_is_given_without_white_space(text: str) -> None:
    assert certificate_data(f" {text}\n") == "".join(text.split())


def test_a_good_config_has_no_warnings() -> None:
    assert warnings_for(config(), NOW) == []
    assert warnings_for(config(credential=jwt(exp=NOW / 1e6 + 86400 * 365)), NOW) == []
    assert warnings_for(key_config(b64(CERTIFICATE), b64(key_pem(KEY))), NOW) == []
    assert warnings_for(key_config(CERTIFICATE, key_pem(KEY)), NOW) == []


def test_the_documented_example_bodies_give_warnings() -> None:
    example_token = warnings_for(config(ca="abc", credential="jkl"), NOW)
    assert any("cluster_certificate" in warning for warning in example_token)
    example_key = config(ca="abc", client="def", credential="ghi", kind=CredentialType.PRIVATE_KEY)
    fields = " ".join(warnings_for(example_key, NOW))
    assert "cluster_certificate" in fields
    assert "client_certificate" in fields
    assert "credential" in fields


@pytest.mark.parametrize(
    ("given_config", "expected"),
    [
        (config(ca=None), "system's own CAs"),
        (config(ca="  "), "system's own CAs"),
        (config(ca="not base64!"), "cluster_certificate: is no base64"),
        (config(ca=b64("hello")), "cluster_certificate: is base64, but not of PEM"),
        (config(ca=key_pem(make_key())), "cluster_certificate: the PEM holds no certificate"),
        (config(ca=make_certificate(KEY, days=-1)), "cluster_certificate: the certificate expired on 2026-02-28"),
        (config(ca=make_certificate(KEY, days=29)), "cluster_certificate: the certificate expires on 2026-03-30"),
        (config(ca=make_certificate(KEY, since=2)), "not valid before 2026-03-03"),
        (
            config(ca=CERTIFICATE + make_certificate(KEY, days=-1)),
            "cluster_certificate (2 of 2): the certificate expired",
        ),
        (
            config(ca="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "cluster_certificate: the certificate cannot be read",
        ),
        (key_config("def!", key_pem(KEY)), "client_certificate: is no base64"),
        (key_config(make_certificate(KEY, days=-3), key_pem(KEY)), "client_certificate: the certificate expired"),
        (key_config(CERTIFICATE, key_pem(make_key())), "does not belong to client_certificate"),
        (key_config(CERTIFICATE, key_pem(KEY, password=b"x")), "with a password"),
        (key_config(CERTIFICATE, CERTIFICATE), "credential: the PEM holds no private key"),
        (key_config(CERTIFICATE, "!"), "credential: is no base64"),
        (config(credential=jwt(exp=NOW / 1e6 - 1)), "the token expired on 2026-02-28"),
        (config(credential=b64(jwt(exp=NOW / 1e6 - 1))), "the token expired on 2026-02-28"),
        (config(credential=jwt(exp=NOW / 1e6 + 86400)), "the token expires on 2026-03-02"),
        (config(credential=jwt(nbf=NOW / 1e6 + 86400)), "the token is not valid before 2026-03-02"),
        (config(credential="Bearer " + jwt()), "give the token alone"),
        (config(credential="to\x01ken"), "control characters"),
    ],
)
def test_what_will_not_work_is_said(given_config: ClusterConfig, expected: str) -> None:
    assert [warning for warning in warnings_for(given_config, NOW) if expected in warning], warnings_for(
        given_config, NOW
    )


def test_an_opaque_token_is_no_reason_to_warn() -> None:
    assert warnings_for(config(credential="0123456789abcdef"), NOW) == []


@pytest.mark.parametrize(
    "exp", [True, "tomorrow", 1e300, float(10**18), -5, 2**63, None, [], 253_402_300_799, 253_402_300_799.9]
)
def test_an_odd_expiry_is_passed_over(exp: object) -> None:
    assert warnings_for(config(credential=jwt(exp=exp)), NOW) == []


PASTED = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=200).map(b64),
    st.text(max_size=60).map(lambda text: f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----"),
    st.binary(max_size=90).map(
        lambda der: (
            f"-----BEGIN CERTIFICATE-----\n{b64(der)}\n-----END CERTIFICATE-----\n"
            f"-----BEGIN EC PRIVATE KEY-----\n{b64(der)}\n-----END EC PRIVATE KEY-----"
        )
    ),
    st.tuples(st.integers(0, len(CERTIFICATE) - 1), st.characters(codec="ascii")).map(
        lambda change: CERTIFICATE[: change[0]] + change[1] + CERTIFICATE[change[0] + 1 :]
    ),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=5)),
        lambda inner: st.dictionaries(st.sampled_from(["exp", "nbf", "alg"]), inner, max_size=3),
        max_leaves=4,
    ).map(lambda claims: jwt(**claims) if isinstance(claims, dict) else f"{b64('{')}.{b64('[]')}.x"),
)


@given(ca=st.none() | PASTED, client=st.none() | PASTED, credential=PASTED, kind=st.sampled_from(CredentialType))
@example(ca="\ud800", client="\ud800", credential="\ud800-----BEGIN ", kind=CredentialType.PRIVATE_KEY)
def test_no_text_whatsoever_raises(ca: str | None, client: str | None, credential: str, kind: CredentialType) -> None:
    given_config = config(ca=ca, client=client, credential=credential, kind=kind)
    assert all(isinstance(warning, str) for warning in warnings_for(given_config, NOW))
    normalise_token(credential)
    certificate_data(credential)


@pytest.mark.parametrize("wrap", [str, b64])
@pytest.mark.parametrize("kind", list(CredentialType))
def test_no_warning_repeats_a_secret(kind: CredentialType, wrap: Callable[[str], str]) -> None:
    for secret in ("canary-c4n4ry-secret!", jwt(exp=1), key_pem(make_key())):
        given = config(client=CERTIFICATE, credential=wrap(secret), kind=kind)
        text = " ".join(warnings_for(given, NOW))
        assert all(line not in text for line in (*secret.split(), wrap(secret)))
