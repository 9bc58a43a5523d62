"""Logging is configured for a whole process: tests that do so put it back."""

import contextlib
import logging
from collections.abc import Iterator

import structlog


@contextlib.contextmanager
def restored_logging() -> Iterator[None]:
    """Undo `configure_logging` at the end of the block."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in ("uvicorn.access", "peewee", "psycopg", "psycopg.pool"):
            logging.getLogger(name).disabled = False
            logging.getLogger(name).setLevel(logging.NOTSET)
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
