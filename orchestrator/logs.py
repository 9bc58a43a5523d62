"""Logging: one line an event, as JSON or as text, in one shape for our own loggers and the libraries'.

Ours are structlog's (`structlog.get_logger(__name__)`, then `log.info("what happened", cluster=name)`); they and those
of the standard library end in one handler. Whatever a value holds, it cannot begin a new line. Secrets are masked by
their type: pydantic's SecretStr shows stars in every rendering used here, however deep it lies.
"""

import json
import logging
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orchestrator.settings import LogFormat, LogLevel

# At DEBUG these print every statement with its parameters, and so what is stored.
_TALKATIVE = ("peewee", "psycopg", "psycopg.pool")


def configure_logging(level: LogLevel, log_format: LogFormat, stream: TextIO) -> None:
    """Send all logging of this process to `stream`, replacing what was configured before.

    Requests are not logged: probes would drown the rest. Python's warnings are.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _put_in_order,
                structlog.processors.JSONRenderer() if log_format == "json" else _text_line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))
    logging.getLogger("uvicorn.access").disabled = True
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _put_in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event", "logger") if key in event}
    return {**first, **event}


def _text_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    timestamp, level = event.pop("timestamp"), event.pop("level").upper()
    message = _one_line(str(event.pop("event")))
    rest = [f"{_one_line(key)}={_text_value(value)}" for key, value in event.items()]
    return "  ".join([f"{timestamp} {level:<8} {message}", *rest])


def _text_value(value: Any) -> str:
    if isinstance(value, dict | list):
        value = json.dumps(value, default=repr)
    text = _one_line(str(value))
    return json.dumps(text) if " " in text or '"' in text or not text else text


def _one_line(text: str) -> str:
    """The text with everything escaped that a terminal or a line reader would act on."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
