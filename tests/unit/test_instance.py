"""What a process makes sure of before it serves."""

import socket
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.instance import StartRefused, is_loopback, listen, make_data_dir, only_service_in, url_of


def test_a_data_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    make_data_dir(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.chmod(0o750)
    make_data_dir(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartRefused, match=r"cannot make the data directory .*--data-dir"):
        make_data_dir(tmp_path / "file" / "data")


def test_one_service_at_a_time_in_a_directory(tmp_path: Path) -> None:
    with only_service_in(tmp_path):
        with pytest.raises(StartRefused, match="another service runs in"), only_service_in(tmp_path):
            pass
        assert stat.S_IMODE((tmp_path / "service.lock").stat().st_mode) == 0o600
    with only_service_in(tmp_path):
        pass


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "service.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartRefused, match="cannot open"), only_service_in(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_listens_on_any_free_port_and_says_which() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        assert is_loopback(listener)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with pytest.raises(StartRefused, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*--port"):
            listen("127.0.0.1", port)


def test_an_address_for_everybody_is_told_by_one_that_can_be_used() -> None:
    with listen("0.0.0.0", 0) as listener:  # noqa: S104
        assert url_of(listener).startswith("http://127.0.0.1:")
        assert not is_loopback(listener)


def test_an_address_of_another_machine_is_refused() -> None:
    # Of the range that is reserved for documentation.
    with pytest.raises(StartRefused, match=r"cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_an_ipv6_address_stands_in_brackets() -> None:
    listener = cast(Any, SimpleNamespace(getsockname=lambda: ("::1", 8228, 0, 0)))
    assert url_of(listener) == "http://[::1]:8228"
    assert is_loopback(listener)
    listener.getsockname = lambda: ("fe80::1%eth0", 8228, 0, 2)
    assert not is_loopback(listener)
