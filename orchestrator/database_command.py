"""`database copy`: takes an installation from SQLite to PostgreSQL."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TextIO

from pydantic import SecretStr

from orchestrator.config_file import SettingsError
from orchestrator.instance import StartRefused, only_service_in
from orchestrator.settings import Settings
from orchestrator.settings_loader import load_settings
from orchestrator.store.copying import CopyRefused, copy_all
from orchestrator.store.database import Database, DatabaseUnavailable, SchemaMismatch
from orchestrator.store.postgres import UnusableDatabase, UnusableUrl

_EXIT_FAILED: Final = 1
_EXIT_USAGE: Final = 2
_BAR: Final = 30


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    made = argparse.ArgumentParser(prog="bin/serve database", allow_abbrev=False)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    copy = commands.add_parser(
        "copy",
        help="copy the SQLite database that is configured to an empty PostgreSQL one",
        description="Copies the SQLite database that is configured to an empty PostgreSQL one, all of it or nothing. "
        "The service must not run. The source stays as it is.",
        epilog="What is given as an argument is seen by everybody on this machine: leave the password out of the URL, "
        "and have it in PGPASSWORD or in ~/.pgpass.",
        allow_abbrev=False,
    )
    copy.add_argument("--to", metavar="URL", required=True, help="postgresql://USER@HOST:PORT/NAME")
    copy.add_argument("--data-dir", metavar="DIRECTORY", help="the service's data directory (./data)")
    return made


def main(argv: Sequence[str]) -> int:
    """Copy, and return the exit code: 0 when all of it was copied, 1 when a database does not answer, 2 when it was
    refused."""
    arguments = vars(parser().parse_args(argv))
    target = SecretStr(arguments.pop("to"))
    try:
        settings, _ = load_settings(os.environ, arguments)
        counts = _copy(settings, target)
    except (SettingsError, StartRefused, SchemaMismatch, CopyRefused, UnusableUrl, UnusableDatabase) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return _EXIT_USAGE
    except DatabaseUnavailable as error:
        print(f"a database cannot be used, and nothing was copied: {error}", file=sys.stderr)  # noqa: T201
        return _EXIT_FAILED
    sys.stdout.write(_summary(settings, counts))
    return 0


def _copy(settings: Settings, url: SecretStr) -> dict[str, int]:
    source, target = Database(settings.database_url), Database(url)
    file = Path(settings.database_url.get_secret_value().removeprefix("sqlite:///"))
    if source.is_sqlite and not (settings.data_dir.is_dir() and file.is_file()):
        raise CopyRefused(f"there is no database {file}: say with --data-dir where the service keeps its data")
    with only_service_in(settings.data_dir), closing(source), closing(target):
        return copy_all(source, target, Progress(sys.stderr))


class Progress:
    """A line for each table: on a terminal a bar that grows, elsewhere only what it came to."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, table: str, copied: int, total: int) -> None:
        """Show that so many rows of the table have been copied."""
        done = copied == total
        if self._out.isatty():
            bar = "#" * (_BAR * copied // total if total else _BAR)
            self._out.write(f"\r{table:<14}[{bar:<{_BAR}}] {copied}/{total}{chr(10) if done else ''}")
        elif done:
            self._out.write(f"{table:<14}{copied}\n")
        self._out.flush()


def _summary(settings: Settings, counts: dict[str, int]) -> str:
    key = settings.data_dir / "sealing.key"
    keys = "the same ORCHESTRATOR_SEALING_KEYS as until now"
    if settings.sealing_keys is None:
        keys = f"ORCHESTRATOR_SEALING_KEYS_FILE={key}, or its content as ORCHESTRATOR_SEALING_KEYS"
    return (
        f"Copied {sum(counts.values())} rows of {len(counts)} tables, and counted them there.\n"
        f"Start the service with ORCHESTRATOR_DATABASE_URL set to that database, and {keys}:\n"
        "credentials stay sealed with the same key.\n"
    )
