"""The command line: a few flags; everything else is set by the environment and config.yaml."""

import argparse
import os
import sys
from collections.abc import Sequence

from orchestrator import app, database_command
from orchestrator.config_file import SettingsError
from orchestrator.logs import configure_logging
from orchestrator.settings_loader import load_settings

EXIT_USAGE = 2


def parser() -> argparse.ArgumentParser:
    """The flags. Their values stay text here: settings.py checks them as it checks the same option elsewhere."""
    made = argparse.ArgumentParser(
        prog="bin/serve",
        description="Inventory of the container images that run in Kubernetes clusters.",
        epilog="`database copy --help` tells how to go from SQLite to PostgreSQL. Other options are environment "
        "variables or stand in config.yaml: see the table in README.md.",
        allow_abbrev=False,
    )
    made.add_argument("--host", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    made.add_argument("--port", metavar="NUMBER", help="port to listen on (8228)")
    made.add_argument("--data-dir", metavar="DIRECTORY", help="where database, keys and passwords are kept (./data)")
    made.add_argument("--role", metavar="ROLE", help="what this process does: all, api or collector (all)")
    made.add_argument("--demo", action="store_true", help="show it with three clusters that a stand-in for kai plays")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service until it is told to stop; returns the exit code, 2 when it cannot start as configured.

    `argv` are the arguments without the program's name, by default those of this process.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == ["database"]:
        return database_command.main(given[1:])
    arguments = vars(parser().parse_args(given))
    demo = arguments.pop("demo")
    try:
        settings, warnings = load_settings(os.environ, arguments)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 (logging is not configured yet)
        return EXIT_USAGE
    log_format = settings.log_format or ("text" if sys.stdout.isatty() else "json")
    configure_logging(settings.log_level, log_format, sys.stdout)
    return app.run(settings, demo=demo, warnings=warnings)


if __name__ == "__main__":
    sys.exit(main())
