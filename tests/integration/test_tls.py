"""The certificate of HTTPS: what is refused, what is warned of, and that a renewed one is taken up."""

import shutil
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from socket import create_connection, create_server

import anyio
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from structlog.testing import capture_logs

from orchestrator.instance import StartRefused
from orchestrator.lifetime import wall_clock
from orchestrator.model.instant import DAY, HOUR
from orchestrator.tls import ServerTls
from tests.certificates import Pair, make_pair

pytestmark = pytest.mark.anyio

PASSPHRASE = "c4nary of a passphrase"


def tls_of(pair: Pair, passphrase: str | None = None) -> ServerTls:
    return ServerTls(pair.certificate, pair.key, SecretStr(passphrase) if passphrase else None)


def shown(tls: ServerTls, **versions: ssl.TLSVersion) -> tuple[str, str | None]:
    """The name in the certificate that a client is shown, and the version of TLS; raises SSLError where none is."""
    with create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=_answer, args=(tls, listener))
        answering.start()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        for field, version in versions.items():
            setattr(client, field, version)
        client.set_ciphers("DEFAULT@SECLEVEL=0")  # or OpenSSL itself would not offer what is old
        try:
            with create_connection(listener.getsockname()) as plain, client.wrap_socket(plain) as connection:
                der = connection.getpeercert(binary_form=True)
                version = connection.version()
        finally:
            answering.join()
    assert der is not None
    name = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(name), version


def _answer(tls: ServerTls, listener: ssl.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        try:
            tls.context.wrap_socket(connection, server_side=True).close()
        except ssl.SSLError:
            return


def test_shows_its_certificate_by_a_current_version_of_tls(tmp_path: Path) -> None:
    assert shown(tls_of(make_pair(tmp_path))) == ("first", "TLSv1.3")


def test_speaks_tls_1_2_and_nothing_older(tmp_path: Path) -> None:
    tls = tls_of(make_pair(tmp_path))
    assert shown(tls, maximum_version=ssl.TLSVersion.TLSv1_2) == ("first", "TLSv1.2")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises((ssl.SSLError, ConnectionError)):
        shown(tls, minimum_version=ssl.TLSVersion.TLSv1_1, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_opens_an_encrypted_key_with_its_passphrase(tmp_path: Path) -> None:
    assert shown(tls_of(make_pair(tmp_path, passphrase=PASSPHRASE), PASSPHRASE))[0] == "first"


def missing(pair: Pair) -> None:
    pair.key.unlink()


def a_directory(pair: Pair) -> None:
    pair.certificate.unlink()
    pair.certificate.mkdir()


def no_certificate(pair: Pair) -> None:
    shutil.copy(pair.key, pair.certificate)


def no_key(pair: Pair) -> None:
    shutil.copy(pair.certificate, pair.key)


def no_pem(pair: Pair) -> None:
    pair.certificate.write_bytes(b"\x30\x82\xff\x00")


def broken_certificate(pair: Pair) -> None:
    pair.certificate.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def another_key(pair: Pair) -> None:
    (pair.key.parent / "other").mkdir()
    shutil.copy(make_pair(pair.key.parent / "other").key, pair.key)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (missing, "ORCHESTRATOR_TLS_KEY_FILE: cannot read .*: No such file"),
        (a_directory, "ORCHESTRATOR_TLS_CERTIFICATE_FILE: cannot read .*: Is a directory"),
        (no_certificate, "holds no certificate in PEM"),
        (no_pem, "holds no certificate in PEM"),
        (broken_certificate, "holds no certificate in PEM"),
        (no_key, "ORCHESTRATOR_TLS_KEY_FILE: .* cannot be used as a private key in PEM"),
        (another_key, "key.pem does not belong to the certificate in .*certificate.pem"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused(tmp_path: Path, break_it: Callable[[Pair], None], message: str) -> None:
    pair = make_pair(tmp_path)
    break_it(pair)
    with pytest.raises(StartRefused, match=message):
        tls_of(pair)


def test_an_encrypted_key_is_refused_without_its_passphrase_rather_than_asked_for(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, passphrase=PASSPHRASE)
    with pytest.raises(StartRefused, match="is encrypted; set ORCHESTRATOR_TLS_KEY_PASSPHRASE_FILE"):
        tls_of(pair)
    with pytest.raises(StartRefused, match="PASSPHRASE does not open the key") as caught:
        tls_of(pair, f"not {PASSPHRASE}")
    assert PASSPHRASE not in str(caught.value)


def test_warns_before_and_after_the_end(tmp_path: Path) -> None:
    before = wall_clock()
    tls = tls_of(make_pair(tmp_path, days=20))
    assert tls.expiry_warning(before + 5 * DAY) is None
    assert "expires at" in str(tls.expiry_warning(before + 7 * DAY))
    assert "expires at" in str(tls.expiry_warning(before + 20 * DAY - HOUR))
    assert "expired at" in str(tls.expiry_warning(before + 20 * DAY + HOUR))


def test_takes_up_a_renewed_pair_once_both_halves_are_there(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    tls = tls_of(pair)
    (tmp_path / "renewed").mkdir()
    renewed = make_pair(tmp_path / "renewed", name="second")
    with capture_logs() as said:
        renewed.certificate.replace(pair.certificate)
        tls.refresh()
        assert shown(tls)[0] == "first"
        pair.key.unlink()
        tls.refresh()
        assert shown(tls)[0] == "first"
        renewed.key.replace(pair.key)
        tls.refresh()
        assert shown(tls) == ("second", "TLSv1.3")
        tls.refresh()
    assert [each["event"] for each in said] == [
        "the renewed certificate cannot be used, the old one stays",
        "the renewed certificate cannot be used, the old one stays",
        "a renewed certificate is in use",
    ]


async def test_keeps_fresh_and_warns_once_a_day(tmp_path: Path) -> None:
    tls = tls_of(make_pair(tmp_path, days=-1))
    today = wall_clock()
    times = iter([*[today] * 3, *[today + DAY] * 3])
    done = anyio.Event()

    def clock() -> int:
        try:
            return next(times)
        except StopIteration:
            done.set()
            return today + DAY

    with capture_logs() as said:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: tls.keep_fresh(clock, every_seconds=0.001))
            with anyio.fail_after(10):
                await done.wait()
            tasks.cancel_scope.cancel()
    assert ["expire" in each["event"] for each in said] == [True, True]
