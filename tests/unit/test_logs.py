"""Log lines: one an event, of one shape, that nothing logged can break, forge or use to show a secret."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from pydantic import SecretBytes, SecretStr

from orchestrator.logs import configure_logging
from orchestrator.settings import LogFormat, Settings
from tests.log_state import restored_logging

CANARY = "c4nary-secret"
FORGED = '\n2026-01-01T00:00:00Z INFO forged\r\x1b[2K\u2028\u0085\x00\u202e{"level": "info"}'


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    with restored_logging():
        yield


def lines(log_format: LogFormat, log: Callable[[], object], level: str = "INFO") -> list[str]:
    """The lines that `log` makes, without their ends."""
    stream = io.StringIO(newline="")
    configure_logging(level, log_format, stream)  # type: ignore[arg-type]
    log()
    text = stream.getvalue()
    assert text.endswith("\n") or not text
    return text.split("\n")[:-1]


def event(log: Callable[[], object]) -> dict[str, object]:
    """The one event that `log` makes, read back from JSON."""
    (line,) = lines("json", log)
    read: dict[str, object] = json.loads(line)
    return read


def test_json_has_one_shape_for_ours_and_for_libraries() -> None:
    ours = event(lambda: structlog.get_logger("orchestrator.x").warning("looked", cluster="prod", images=35))
    theirs = event(
        lambda: logging.getLogger("a.library").warning("Started on %s", "here", extra={"color_message": "x"})
    )
    assert list(ours) == ["timestamp", "level", "event", "logger", "cluster", "images"]
    assert list(theirs) == ["timestamp", "level", "event", "logger"]
    assert (ours["level"], ours["event"], ours["cluster"], ours["images"]) == ("warning", "looked", "prod", 35)
    assert (theirs["level"], theirs["event"], theirs["logger"]) == ("warning", "Started on here", "a.library")


def test_times_are_utc() -> None:
    made = datetime.fromisoformat(str(event(lambda: structlog.get_logger().info("x"))["timestamp"]))
    assert made.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - made) < timedelta(minutes=1)


def test_text_is_for_people() -> None:
    (line,) = lines("text", lambda: structlog.get_logger("o.x").info("looked at", cluster="prod", note="a b", empty=""))
    assert line.split(" ", 1)[1] == 'INFO     looked at  logger=o.x  cluster=prod  note="a b"  empty=""'


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize(
    "log",
    [
        lambda: structlog.get_logger().info("x", value=FORGED),
        lambda: structlog.get_logger().info("x", value={FORGED: [FORGED]}),
        lambda: structlog.get_logger().info("x", **{FORGED: 1}),
        lambda: structlog.get_logger().info(FORGED),
        lambda: logging.getLogger("lib").info("got %s", FORGED),
        lambda: structlog.get_logger().info("x", value=FORGED.encode()),
        lambda: structlog.get_logger().info("x", value=ValueError(FORGED)),
        lambda: structlog.get_logger().info("x", value="\ud800"),
    ],
)
def test_nothing_logged_begins_a_line_or_reaches_the_terminal(log_format: LogFormat, log: Callable[[], object]) -> None:
    (line,) = lines(log_format, log)
    assert line.isprintable()
    assert line.encode("utf-8")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_is_part_of_its_line(log_format: LogFormat) -> None:
    def fail() -> None:
        try:
            int("a\nb")
        except ValueError:
            structlog.get_logger().exception("failed")
            logging.getLogger("lib").exception("failed too")

    both = lines(log_format, fail)
    assert len(both) == 2
    assert all("Traceback" in line and "ValueError" in line for line in both)


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize(
    "value",
    [
        SecretStr(CANARY),
        SecretBytes(CANARY.encode()),
        [SecretStr(CANARY)],
        {"deep": ({"er": SecretStr(CANARY)},)},
        Settings(admin_password=SecretStr(CANARY)),
    ],
)
def test_secrets_are_masked_by_type(log_format: LogFormat, value: object) -> None:
    (line,) = lines(log_format, lambda: structlog.get_logger().info("x", value=value))
    assert CANARY not in line
    assert "*****" in line


def test_the_level_holds_for_all() -> None:
    def log() -> None:
        for logger in (structlog.get_logger("a"), logging.getLogger("b")):
            logger.info("too low")
            logger.warning("high enough")

    assert len(lines("json", log, level="WARNING")) == 2


def test_statements_and_their_parameters_are_never_logged() -> None:
    def log() -> None:
        for name in ("peewee", "psycopg", "psycopg.pool"):
            logging.getLogger(name).debug(("INSERT", [CANARY]))
        logging.getLogger("other").debug("shown")

    (line,) = lines("json", log, level="DEBUG")
    assert "shown" in line


def test_requests_are_not_logged() -> None:
    assert lines("json", lambda: logging.getLogger("uvicorn.access").info("GET /health"), level="DEBUG") == []


@pytest.mark.filterwarnings("default")
def test_warnings_of_python_are_events_too() -> None:
    (line,) = lines("json", lambda: warnings.warn("old\nways", DeprecationWarning, stacklevel=1))
    assert json.loads(line)["logger"] == "py.warnings"
