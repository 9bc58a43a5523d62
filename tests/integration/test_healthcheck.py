"""The container's health check: it finds the service as it was configured, and believes only a 200."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

from orchestrator.healthcheck import check, main
from orchestrator.settings import Settings
from tests.certificates import Pair, make_pair


@contextmanager
def answering(status: int, pair: Pair | None = None) -> Iterator[int]:
    """The port of a server that answers one request for /health with that status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(b'{"error_type": "loop_not_running"}')

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield server.server_port
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])  # noqa: S104
def test_a_service_that_answers_is_healthy(host: str) -> None:
    with answering(200) as port:
        assert check(Settings(host=host, port=port)) is None


def test_a_service_whose_loop_does_not_run_is_not() -> None:
    with answering(503) as port:
        assert "loop_not_running" in str(check(Settings(port=port)))


def test_a_certificate_for_another_name_is_no_matter(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, days=-1)
    settings = {"tls_certificate_file": pair.certificate, "tls_key_file": pair.key}
    with answering(200, pair) as port:
        assert check(Settings(port=port, **settings)) is None


def test_a_service_that_hangs_or_is_not_there_is_not() -> None:
    with create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "no answer" in str(check(Settings(port=port), timeout=0.2))
    assert "no answer" in str(check(Settings(port=port)))


def test_the_port_is_found_where_the_service_finds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    with answering(200) as port:
        file.write_text("orchestrator: {port: '${ANCHORE_PORT}'}")
        assert main({"ANCHORE_CONFIG_DIR": str(tmp_path), "ANCHORE_PORT": str(port)}) == 0
    assert capsys.readouterr().out == ""
    assert main({"ANCHORE_SERVICE_PORT": str(port)}) == 1
    assert f"no answer from 127.0.0.1:{port}" in capsys.readouterr().out
    assert main({"ANCHORE_SERVICE_PORT": "http"}) == 1
    assert "ANCHORE_SERVICE_PORT" in capsys.readouterr().out
