"""HTTPS: the certificate that the service shows, from files, taken up anew when somebody renews them."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import structlog
from cryptography import x509
from pydantic import SecretStr

from orchestrator.instance import StartRefused
from orchestrator.model.instant import DAY, Instant, format_instant, from_datetime

EXPIRY_WARNING: Final = 14 * DAY
"""Issuers that renew by themselves do so earlier than this before the end."""

_LOOK_AGAIN_SECONDS: Final = 60.0

_log = structlog.get_logger(__name__)


class _NoPassphrase(Exception):
    """The key is encrypted, and OpenSSL asks for a passphrase that nobody gave."""


class ServerTls:
    """The server's side of TLS 1.2 and newer.

    `context` shows the newest certificate to every new connection, those that are open keep theirs. Making one and
    `refresh` block for milliseconds.
    """

    def __init__(self, certificate_file: Path, key_file: Path, passphrase: SecretStr | None) -> None:
        """Raises StartRefused where the pair cannot be read, is none, or its halves do not belong together."""
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._passphrase = passphrase
        self._seen = self._signature()
        self.context, self._ends = self._load()
        self._newest = self.context
        self.context.sni_callback = self._show_newest

    def expiry_warning(self, now: Instant) -> str | None:
        """What to tell of a certificate that has expired or soon will."""
        if self._ends > now + EXPIRY_WARNING:
            return None
        tense = "expired" if self._ends <= now else "expires"
        return f"the certificate in {self._certificate_file} {tense} at {format_instant(self._ends)}"

    def refresh(self) -> None:
        """Take up the files if they changed. A pair that cannot be used changes nothing but the log: its other half
        may be about to be written."""
        signature = self._signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._newest, self._ends = self._load()
        except StartRefused as problem:
            _log.warning("the renewed certificate cannot be used, the old one stays", problem=str(problem))
        else:
            _log.info("a renewed certificate is in use", file=str(self._certificate_file))

    async def keep_fresh(self, clock: Callable[[], Instant], *, every_seconds: float = _LOOK_AGAIN_SECONDS) -> None:
        """Refresh until cancelled, and warn of a certificate that is about to expire: at once, and then every day."""
        warn_at = clock()
        while True:
            await anyio.to_thread.run_sync(self.refresh)
            now = clock()
            warning = self.expiry_warning(now)
            if warning is not None and now >= warn_at:
                _log.warning(warning, remedy="put a renewed one into its place: no restart is needed")
                warn_at = now + DAY
            await anyio.sleep(every_seconds)

    def _show_newest(self, connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _signature(self) -> list[tuple[int, int, int] | None]:
        """What tells a changed file. Behind Kubernetes' links it is another file each time."""
        found: list[tuple[int, int, int] | None] = []
        for path in (self._certificate_file, self._key_file):
            try:
                status = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return found

    def _load(self) -> tuple[ssl.SSLContext, Instant]:
        """A context with the pair as it is now, and when its certificate ends. Raises StartRefused."""
        chain = _read("ORCHESTRATOR_TLS_CERTIFICATE_FILE", self._certificate_file)
        _read("ORCHESTRATOR_TLS_KEY_FILE", self._key_file)
        try:
            certificate = x509.load_pem_x509_certificates(chain)[0]
        except ValueError:
            raise StartRefused(
                f"ORCHESTRATOR_TLS_CERTIFICATE_FILE: {self._certificate_file} holds no certificate in PEM"
            ) from None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate_file, self._key_file, self._give_passphrase)
        except _NoPassphrase:
            raise StartRefused(
                f"ORCHESTRATOR_TLS_KEY_FILE: the key in {self._key_file} is encrypted; "
                "set ORCHESTRATOR_TLS_KEY_PASSPHRASE_FILE"
            ) from None
        except (OSError, ValueError) as error:
            raise StartRefused(self._in_words(error)) from None
        return context, from_datetime(certificate.not_valid_after_utc)

    def _give_passphrase(self) -> str:
        # Without this OpenSSL would ask for it on the terminal.
        if self._passphrase is None:
            raise _NoPassphrase
        return self._passphrase.get_secret_value()

    def _in_words(self, error: Exception) -> str:
        reason = getattr(error, "reason", None) or type(error).__name__
        if reason == "KEY_VALUES_MISMATCH":
            return f"the key in {self._key_file} does not belong to the certificate in {self._certificate_file}"
        if self._passphrase is not None:
            return f"ORCHESTRATOR_TLS_KEY_PASSPHRASE does not open the key in {self._key_file} ({reason})"
        return f"ORCHESTRATOR_TLS_KEY_FILE: {self._key_file} cannot be used as a private key in PEM ({reason})"


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartRefused(f"{variable}: cannot read {path}: {error.strerror}") from None
