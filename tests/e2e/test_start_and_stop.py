"""How the service starts, refuses to start, and ends."""

import signal
import socket
import sqlite3
import ssl
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.model.instant import SECOND, parse_instant
from tests.certificates import make_pair
from tests.e2e.server import CLUSTERS, Server, environment, processes_in, running_server, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_0_and_its_children_with_it(server: Server, number: int) -> None:
    for name in ("hang", "deaf"):
        server.add(name, name)
    for name in ("hang", "deaf"):
        server.wait_until_looking(name)
    (root,) = server.workdir_roots()
    until(lambda: len(processes_in(root)) >= 2 or None)
    began = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - began < 10
    assert processes_in(root) == []
    assert not Path(root).exists()


def test_a_signal_answers_those_who_wait_for_a_look(server: Server) -> None:
    server.add("deaf", "deaf")
    server.wait_until_looking("deaf")
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)) as waiting:
        credentials = httpx.BasicAuth("admin", "")._build_auth_header("admin", "a password for tests")
        waiting.sendall(
            f"POST {CLUSTERS}/deaf/sync?wait=50 HTTP/1.1\r\nHost: x\r\nAuthorization: {credentials}\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        until(lambda: any(run["state"] == "queued" for run in server.runs("deaf")) or None)
        assert server.stop() == 0
        assert waiting.recv(12) == b"HTTP/1.1 202"


def test_a_signal_ends_it_even_while_the_database_holds_it_up(data_dir: Path) -> None:
    env = environment(ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC="1")
    with running_server(data_dir, env=env) as server:
        server.add("shop", "one")
        server.wait_for_health("shop", "healthy")
        database = sqlite3.connect(data_dir / "orchestrator.db", isolation_level=None)
        with closing(database):
            until(lambda: begins_to_write(database))
            newest = server.runs("shop")[0]["id"]
            # Nothing can be claimed any more, though it is due for some seconds already.
            until(lambda: overdue_seconds(server.status("shop")) > 2 or None)
            assert server.runs("shop")[0]["id"] == newest
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 10


def begins_to_write(database: sqlite3.Connection) -> bool | None:
    """Take SQLite's only write lock, and keep it."""
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return None
    return True


def overdue_seconds(status: dict[str, Any]) -> float:
    return time.time() - parse_instant(status["next_due_at"]) / SECOND


def test_a_signal_ends_it_while_it_still_waits_for_its_database(data_dir: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{free.getsockname()[1]}/none"
        with running_server(data_dir, env=environment(ORCHESTRATOR_DATABASE_URL=url), ready=False) as server:
            until(lambda: "cannot be used yet" in server.output or None, process=server.process, what=server.log)
            assert server.stop() == 0


def test_the_next_start_goes_on_with_what_was_stored(data_dir: Path) -> None:
    with running_server(data_dir) as server:
        server.add("shop", "one")
        server.add("hanging", "hang")
        server.wait_for_health("shop", "healthy")
        server.wait_until_looking("hanging")
        due = server.status("shop")["next_due_at"]
        items = server.items()
        assert server.stop() == 0
    with running_server(data_dir) as server:
        assert server.items() == items
        assert server.status("shop")["next_due_at"] == due
        server.wait_until_looking("hanging")
        assert [run["state"] for run in server.runs("hanging")] == ["running", "interrupted"]


def test_the_death_of_the_loop_ends_the_process(data_dir: Path, tmp_path: Path) -> None:
    trigger = tmp_path / "break-the-loop"
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from orchestrator.cli import main\n"
        "from orchestrator.collector.ledger import Ledger\n"
        "whole = Ledger.seconds_until_due\n"
        "async def breakable(self, room):\n"
        f"    if Path({str(trigger)!r}).exists():\n"
        "        raise ZeroDivisionError\n"
        "    return await whole(self, room)\n"
        "Ledger.seconds_until_due = breakable\n"
        "sys.exit(main())\n"
    )
    env = environment(PYTHONPATH=str(Path(__file__).parents[2]))
    with running_server(data_dir, command=[str(launcher)], env=env) as server:
        server.add("hanging", "hang")
        server.wait_until_looking("hanging")
        (root,) = server.workdir_roots()
        assert server.http.get("/health").status_code == 200
        trigger.touch()
        assert server.process.wait(15) == 1
        assert "ZeroDivisionError" in server.output
        assert processes_in(root) == []
        assert not Path(root).exists()


def test_a_second_service_in_the_same_directory_is_refused(server: Server) -> None:
    with running_server(server.data_dir, ready=False) as second:
        assert second.process.wait(20) == 2
        assert "another service runs in" in second.output
    assert server.http.get("/ready").status_code == 200


def test_a_port_in_use_is_refused(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with running_server(data_dir, args=["--port", port], ready=False) as server:
            assert server.process.wait(20) == 2
            assert f"cannot listen on 127.0.0.1:{port}" in server.output


def test_a_wrong_sealing_key_is_refused(data_dir: Path) -> None:
    with running_server(data_dir) as server:
        server.add("shop", "one")
        server.stop()
    (data_dir / "sealing.key").unlink()
    with running_server(data_dir, ready=False) as server:
        assert server.process.wait(20) == 2
        assert "sealed" in server.output


def test_a_database_of_a_newer_version_is_refused(data_dir: Path) -> None:
    with running_server(data_dir) as server:
        server.stop()
    with sqlite3.connect(data_dir / "orchestrator.db") as database:
        database.execute("UPDATE schema_migration SET name = '9999_from_the_future'")
    database.close()
    with running_server(data_dir, ready=False) as server:
        assert server.process.wait(20) == 2
        assert "newer version" in server.output


def test_without_kai_it_starts_warns_and_every_status_says_so(data_dir: Path) -> None:
    with running_server(data_dir, env=environment(ORCHESTRATOR_KAI_BINARY="/nowhere/kai")) as server:
        assert any(event["level"] == "warning" and "problem" in event for event in server.events())
        server.add("shop", "ok")
        status = server.wait_for_health("shop", "failing")
        assert "kai binary not found" in status["reason"]["message"]
        assert status["reason"]["remedy"]


def test_a_password_is_made_once_and_put_in_a_file_that_only_its_owner_reads(data_dir: Path) -> None:
    with running_server(data_dir, env=environment(ANCHORE_ADMIN_PASSWORD=""), ready=False) as server:
        server.url = until(server._url, process=server.process, what=server.log)
        path = data_dir / "admin-password"
        assert str(path) in server.output
        password = path.read_text().strip()
        assert password not in server.output
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((data_dir / "orchestrator.db").stat().st_mode) == 0o600
        assert httpx.get(f"{server.url}{CLUSTERS}", auth=("admin", password)).status_code == 200
        assert httpx.get(f"{server.url}{CLUSTERS}", auth=("admin", "other")).status_code == 401


def test_plain_http_for_everybody_is_warned_of(data_dir: Path) -> None:
    with running_server(data_dir, args=["--host", "0.0.0.0"]) as server:  # noqa: S104
        assert any("plain HTTP" in event["event"] for event in server.events())


def test_https_with_a_certificate_from_files_that_may_be_renewed(data_dir: Path, tmp_path: Path) -> None:
    pair = make_pair(tmp_path, days=3, passphrase="c4nary of a passphrase")
    env = environment(**pair.environment(), ORCHESTRATOR_TLS_KEY_PASSPHRASE="c4nary of a passphrase")
    with running_server(data_dir, args=["--host", "0.0.0.0"], env=env, ready=False) as server:  # noqa: S104
        server.url = until(server._url, process=server.process, what=server.log)
        assert server.url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=str(pair.certificate))
        assert httpx.get(f"{server.url}/health", verify=trust).json() == {"status": "ok"}
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/health".replace("https", "http"))
        # What is not TLS disturbs nobody else.
        assert httpx.get(f"{server.url}/ready", verify=trust).status_code == 200
        events = [event["event"] for event in server.events()]
        assert any("expires at" in event for event in events)
        assert not any("plain HTTP" in event for event in events)
        assert "c4nary" not in server.output
        assert server.stop() == 0


def test_a_pair_of_tls_files_that_do_not_belong_together_is_refused(data_dir: Path, tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    (tmp_path / "other").mkdir()
    make_pair(tmp_path / "other").key.replace(pair.key)
    with running_server(data_dir, env=environment(**pair.environment()), ready=False) as server:
        assert server.process.wait(20) == 2
        assert "does not belong to the certificate" in server.output
        assert "Traceback" not in server.output


def test_the_demo_shows_good_clusters_and_a_broken_one_and_starts_again(data_dir: Path) -> None:
    env = environment(ANCHORE_ADMIN_PASSWORD="", ORCHESTRATOR_KAI_BINARY="")
    for _ in range(2):
        began = time.monotonic()
        with running_server(data_dir, env=env, args=["--demo"], ready=False) as server:
            server.url = until(server._url, process=server.process, what=server.log)
            until(lambda: "Ctrl-C" in server.output or None)
            password = (data_dir / "demo" / "admin-password").read_text().strip()
            assert f"-u admin:{password} {server.url}" in server.output
            assert "stand-in" in server.output
            server.http = httpx.Client(base_url=server.url, auth=("admin", password))
            assert server.http.get("/ready").status_code == 200
            assert time.monotonic() - began < 10
            server.wait_for_health("shop-production", "healthy")
            server.wait_for_health("shop-staging", "healthy")
            status = server.wait_for_health("edge-lyon", "failing")
            assert status["reason"]["code"] == "forbidden"
            assert server.items()
            assert server.stop() == 0


def test_the_demo_never_touches_a_database_that_was_chosen(data_dir: Path, tmp_path: Path) -> None:
    env = environment(ORCHESTRATOR_DATABASE_URL=f"sqlite:///{tmp_path}/real.db")
    with running_server(data_dir, env=env, args=["--demo"], ready=False) as server:
        assert server.process.wait(20) == 2
        assert "ORCHESTRATOR_DATABASE_URL" in server.output
