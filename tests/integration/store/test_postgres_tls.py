"""PostgreSQL over TLS: whom the service trusts, and as whom it is known, is what the database's URL says."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from orchestrator.settings_loader import load_settings
from orchestrator.store import accounts
from orchestrator.store.database import Database, DatabaseUnavailable
from orchestrator.store.postgres import UnusableDatabase
from tests.certificates import Pair, make_pair
from tests.integration.conftest import postgres_or_skip
from tests.integration.postgres import SUPERUSER, PostgresServer, running_server

pytestmark = pytest.mark.postgres

CERTIFIED = "certified"
# Without TLS nobody comes in, and that user only with a certificate of its name.
ACCESS = f"hostssl all {CERTIFIED} 127.0.0.1/32 cert\nhostssl all {SUPERUSER} 127.0.0.1/32 scram-sha-256\n"
HOW = "SELECT ssl, version, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Site:
    """A server, its certificate, the pair of a client that it takes, and a pair that nobody trusts."""

    server: PostgresServer
    certificate: Path
    client: Pair
    stranger: Pair


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    pairs = [make_pair(tmp_path_factory.mktemp(name), name=name) for name in ("server", CERTIFIED, "stranger")]
    for pair in pairs:
        pair.key.chmod(0o600)  # libpq takes no key that others can read
    own, client, stranger = pairs
    files = {
        "server.crt": own.certificate.read_text(),
        "server.key": own.key.read_text(),
        "clients.crt": client.certificate.read_text(),
        "pg_hba.conf": ACCESS,
    }
    with postgres_or_skip(lambda: running_server(files, ssl="on", ssl_ca_file="clients.crt")) as server:
        with psycopg.connect(server.url("postgres")) as connection:
            connection.execute(f"CREATE ROLE {CERTIFIED} LOGIN")
        yield Site(server, own.certificate, client, stranger)


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with site.server.fresh_database() as address:
        yield address


def strict(trusted: Path) -> str:
    """The parameters of a URL with which a server is checked as strictly as there is."""
    return f"sslmode=verify-full&sslrootcert={trusted}"


def how_connected(url: str) -> Any:
    """Whether by TLS, which version of it, and the name in the client's certificate."""
    with contextlib.closing(Database(SecretStr(url))) as db:
        return db.reading(lambda: db.one(HOW))


def refusal(url: str, server: PostgresServer) -> str:
    """What the service says when it does not come in; never with the password."""
    with pytest.raises(DatabaseUnavailable) as caught:
        how_connected(url)
    assert server.password not in f"{caught.value!r} {caught.value.__cause__!r}"
    return str(caught.value)


def test_it_works_with_a_server_whose_certificate_fits(site: Site, url: str) -> None:
    url = f"{url}?{strict(site.certificate)}"
    with contextlib.closing(Database(SecretStr(url))) as db:
        assert db.migrate()
        made = db.writing(lambda: accounts.ensure_account(db, "admin").id)
        assert db.reading(lambda: db.rows("SELECT id FROM account")) == [(made,)]
    assert how_connected(url) == (True, "TLSv1.3", None)


def test_a_server_that_another_ca_vouches_for_is_refused(site: Site, url: str) -> None:
    assert "certificate verify failed" in refusal(f"{url}?{strict(site.stranger.certificate)}", site.server)


def test_a_server_by_another_name_is_refused(site: Site, url: str) -> None:
    elsewhere = url.replace("@127.0.0.1", "@db.example.com") + f"?hostaddr=127.0.0.1&sslrootcert={site.certificate}"
    assert "does not match host name" in refusal(f"{elsewhere}&sslmode=verify-full", site.server)
    assert how_connected(f"{elsewhere}&sslmode=verify-ca")[0]


def test_what_is_wrong_with_the_trust_ends_the_start_with_its_remedy(site: Site, url: str) -> None:
    elsewhere = url.replace("@127.0.0.1", "@db.example.com") + "?hostaddr=127.0.0.1&"
    for wrong, remedy in [
        (f"{url}?{strict(Path('/nowhere/ca.pem'))}", "as sslrootcert"),
        (f"{url}?{strict(site.stranger.certificate)}", "the CA that signed"),
        (elsewhere + strict(site.certificate), "a name that the server's certificate is for"),
    ]:
        with contextlib.closing(Database(SecretStr(wrong))) as db, pytest.raises(UnusableDatabase, match=remedy):
            db.migrate()


def test_without_tls_the_server_lets_nobody_in(site: Site, url: str) -> None:
    assert "no pg_hba.conf entry" in refusal(f"{url}?sslmode=disable", site.server)


def test_a_client_certificate_stands_for_a_password(site: Site, url: str) -> None:
    certified = url.replace(f"{SUPERUSER}:{site.server.password}@", f"{CERTIFIED}@") + f"?{strict(site.certificate)}"
    ours, others = (f"&sslcert={pair.certificate}&sslkey={pair.key}" for pair in (site.client, site.stranger))
    assert how_connected(certified + ours) == (True, "TLSv1.3", f"/CN={CERTIFIED}")
    assert "requires a valid client certificate" in refusal(certified, site.server)
    refusal(certified + others, site.server)


def parts_of(url: str, server: PostgresServer) -> dict[str, str]:
    """The variables that say the same as the URL."""
    return {
        "ANCHORE_DB_HOST": "127.0.0.1",
        "ANCHORE_DB_PORT": str(server.port),
        "ANCHORE_DB_NAME": url.rpartition("/")[2],
        "ANCHORE_DB_USER": server.user,
        "ANCHORE_DB_PASSWORD": server.password,
    }


def url_from(variables: dict[str, str]) -> str:
    return load_settings(variables, {})[0].database_url.get_secret_value()


def test_enterprises_variables_say_whom_to_trust(site: Site, url: str) -> None:
    parts = parts_of(url, site.server) | {"ANCHORE_DB_SSL": "true"}
    trusting = {"ANCHORE_DB_SSL_ROOT_CERT": str(site.certificate)}
    assert how_connected(url_from(parts | trusting))[0]
    strange = {"ANCHORE_DB_SSL_ROOT_CERT": str(site.stranger.certificate)}
    assert "certificate verify failed" in refusal(url_from(parts | strange), site.server)
    disabled = {"ANCHORE_DB_SSL_MODE": "disable"}
    assert "no pg_hba.conf entry" in refusal(url_from(parts | trusting | disabled), site.server)


def test_libpqs_own_variables_hold_where_the_url_is_given_in_parts(
    site: Site, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As deploy/README.md says."""
    made = url_from(parts_of(url, site.server))
    monkeypatch.setenv("PGSSLROOTCERT", str(site.certificate))
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert "no pg_hba.conf entry" in refusal(made, site.server)
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert how_connected(made)[0]
    monkeypatch.setenv("PGSSLROOTCERT", str(site.stranger.certificate))
    assert "certificate verify failed" in refusal(made, site.server)
