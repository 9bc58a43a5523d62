"""The command line: what it hands to the service, and what it says when it cannot."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from orchestrator import app
from orchestrator.cli import main
from orchestrator.settings import Settings
from tests.log_state import restored_logging

SERVE = Path(__file__).parents[2] / "bin" / "serve"


class Started:
    """Stands in for the service, and remembers how it was started."""

    def __init__(self) -> None:
        self.calls: list[tuple[Settings, bool, list[str]]] = []

    def run(self, settings: Settings, *, demo: bool, warnings: list[str]) -> int:
        self.calls.append((settings, demo, warnings))
        structlog.get_logger("service").info("up", port=settings.port)
        return 7


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """A service that only remembers, and an environment without settings."""
    for name in ("ANCHORE_SERVICE_PORT", "ANCHORE_CONFIG_DIR", "ANCHORE_LOG_LEVEL", "ORCHESTRATOR_LOG_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    started = Started()
    monkeypatch.setattr(app, "run", started.run)
    with restored_logging():
        yield started


def test_flags_become_settings_and_the_exit_code_is_the_services(started: Started) -> None:
    assert main(["--host", "::1", "--port", "9000", "--data-dir", "/srv/kai", "--demo"]) == 7
    ((settings, demo, warnings),) = started.calls
    assert (settings.host, settings.port, settings.data_dir, demo, warnings) == (
        "::1",
        9000,
        Path("/srv/kai"),
        True,
        [],
    )


def test_without_flags_the_environment_counts(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORE_SERVICE_PORT", "9001")
    monkeypatch.setenv("ORCHESTRATOR_PROT", "9002")
    main([])
    ((settings, demo, warnings),) = started.calls
    assert (settings.port, demo) == (9001, False)
    assert len(warnings) == 1
    assert "ORCHESTRATOR_PROT" in warnings[0]


def test_away_from_a_terminal_it_logs_json(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert json.loads(capsys.readouterr().out)["event"] == "up"


def test_the_log_is_as_it_was_asked_for(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_LOG_FORMAT", "text")
    main([])
    assert "INFO     up  " in capsys.readouterr().out
    monkeypatch.setenv("ANCHORE_LOG_LEVEL", "ERROR")
    main([])
    assert capsys.readouterr().out == ""


def test_bad_settings_exit_with_2_and_say_which(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANCHORE_LOG_LEVEL", "LOUD")
    assert main(["--port", "http"]) == 2
    output = capsys.readouterr()
    assert [line.split(": ")[0] for line in output.err.splitlines()] == ["--port", "ANCHORE_LOG_LEVEL"]
    assert output.out == ""
    assert started.calls == []


@pytest.mark.parametrize("arguments", [["--prot", "1"], ["--dem"], ["extra"]])
def test_unknown_arguments_exit_with_2(started: Started, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert started.calls == []


def test_bin_serve_becomes_the_service(tmp_path: Path) -> None:
    """The process that was started is the one that gets the signals, with the arguments as they were given."""
    checkout = tmp_path / "a checkout"
    for directory in ("bin", "environment/bin"):
        (checkout / directory).mkdir(parents=True)
    shutil.copy(SERVE, checkout / "bin" / "serve")
    programs = {"bin/venv": f'echo "{checkout}/environment"', "environment/bin/python": 'echo $$; printf "%s\\n" "$@"'}
    for name, text in programs.items():
        (checkout / name).write_text(f"#!/bin/sh\n{text}\n")
        (checkout / name).chmod(0o755)
    with subprocess.Popen(
        [checkout / "bin" / "serve", "--data-dir", "a b"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        lines = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert lines[0] == str(process.pid)
    assert lines[-4:] == ["-m", "orchestrator.cli", "--data-dir", "a b"]


def test_bin_serve_fails_where_the_environment_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(SERVE, tmp_path / "bin" / "serve")
    (tmp_path / "bin" / "venv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "venv").chmod(0o755)
    assert subprocess.run([tmp_path / "bin" / "serve"], capture_output=True, text=True, check=False).returncode == 1
