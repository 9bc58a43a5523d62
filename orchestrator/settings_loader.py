"""Where the settings come from: flags win over the environment, that over config.yaml and defaults.

Variables may also come from the file that ANCHORE_ENV_FILE names; what the environment itself sets wins over it. A
value that is empty counts as not set.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from orchestrator.config_file import SettingsError, read_config_file
from orchestrator.environment import is_service_link, secret_from_file, with_env_file
from orchestrator.settings import DATABASE_PARTS, Settings, options

# Pydantic's kinds of problems that an operator can cause, by the names that its errors give their limits.
_EXPECTED: Final = {
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "bool_parsing": "expected true or false",
    "greater_than_equal": "expected a number from {ge} on",
    "less_than_equal": "expected a number up to {le}",
    "literal_error": "expected {expected}",
}


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Values by field, where each comes from, and what is wrong, from all sources read so far."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, name: str, value: Any, origin: str) -> None:
        """Take a value, over one from an earlier source; an empty one is none."""
        if value is not None and value != "":
            self.values[name] = value
            self.origins[name] = origin


def load_settings(environ: Mapping[str, str], overrides: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """The settings, and warnings to be logged, from an environment and from flags by field name (None: not given).

    Reads the file that ANCHORE_ENV_FILE names, config.yaml in ANCHORE_CONFIG_DIR and secrets' files named by `*_FILE`
    variables, nothing else. Raises SettingsError, which names everything that is wrong at once.
    """
    gathered = _Gathered()
    environ, warnings = with_env_file(environ)
    warnings += _unknown_variables(environ)
    inserted: frozenset[str] = frozenset()
    if environ.get("ANCHORE_CONFIG_DIR"):
        file_warnings, inserted = _gather_file(Path(environ["ANCHORE_CONFIG_DIR"]), environ, gathered)
        warnings += file_warnings
    _gather_environment(environ, gathered, inserted)
    for option in options():
        gathered.put(option.field, overrides.get(option.field), option.flag or option.field)
    problems = list(gathered.problems)
    try:
        settings = Settings.model_validate(gathered.values)
    except ValidationError as error:
        problems += _in_words(error, gathered.origins)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings, warnings


def _gather_file(directory: Path, environ: Mapping[str, str], gathered: _Gathered) -> tuple[list[str], frozenset[str]]:
    """Take config.yaml's values; returns warnings, and the variables that the database's URL there is made of."""
    by_path = {option.path: option.field for option in options() if option.path}
    file = read_config_file(directory, by_path, environ)
    gathered.problems.extend(file.problems)
    for path, value in file.values.items():
        gathered.put(by_path[path], value, f"{file.path}: {path}")
    foreign = ", ".join(sorted(file.foreign))
    warnings = [f"{file.path}: these sections mean nothing here: {foreign}"] if foreign else []
    return warnings, file.inserted.get("orchestrator.database_url", frozenset())


def _gather_environment(environ: Mapping[str, str], gathered: _Gathered, inserted: frozenset[str]) -> None:
    """Take the variables' values. `inserted` are in the database's URL already, and say nothing beside it."""
    for option in options():
        if option.env in inserted and option.field in DATABASE_PARTS:
            continue
        if not is_service_link(option.env, environ.get(option.env, "")):
            gathered.put(option.field, environ.get(option.env), option.env)
        if option.file_env and environ.get(option.file_env):
            if environ.get(option.env):
                gathered.problems.append(f"{option.env} and {option.file_env} are both set; unset one of them")
            secret = secret_from_file(option.file_env, Path(environ[option.file_env]), gathered.problems)
            gathered.put(option.field, secret, option.file_env)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {name for option in options() for name in (option.env, option.file_env) if name}
    fields = {f"ORCHESTRATOR_{option.field.upper()}": option.env for option in options()}
    warnings = []
    for name, value in sorted(environ.items()):
        if not name.startswith("ORCHESTRATOR_") or name in known or is_service_link(name, value):
            continue
        close = [fields[name]] if name in fields else difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        hint = f"; did you mean {close[0]}?" if close else ""
        warnings.append(f"the environment variable {name} means nothing here{hint}")
    return warnings


def _in_words(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    """One line for each problem. Values are left out: a secret may stand in the wrong place."""
    meanings = {option.field: option.meaning for option in options()}
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        if problem["type"] == "default_factory_not_called":
            continue  # follows from another problem
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] in _EXPECTED:
            text = _EXPECTED[problem["type"]].format(**problem.get("ctx", {}))
        if not problem["loc"]:
            lines.append(text)  # of several options, which it names
            continue
        name = str(problem["loc"][0])
        text = text.removeprefix(f"{name}: ")
        lines.append(f"{origins.get(name, name)}: {text[0].lower()}{text[1:]} (it is: {meanings.get(name, name)})")
    return lines
