"""The environment as it was meant: with the variables of ANCHORE_ENV_FILE, secrets from files, and without those that
Kubernetes or docker put there for other reasons.

ANCHORE_ENV_FILE is as in anchore-engine (its documentation, and `read_config` of its services): one NAME=VALUE a line,
quotes around a value are no part of it, the file is read first, and what is set in the environment itself wins.
Unlike there, a file that is missing or a line that cannot be read ends the start: what was left out in silence would
be found out late.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.config_file import SettingsError

ENV_FILE = "ANCHORE_ENV_FILE"

# A file that a shell sources as well may say `export`.
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_OURS = ("ANCHORE_", "ORCHESTRATOR_")

_SERVICE_LINK = re.compile(r"ORCHESTRATOR_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")


def with_env_file(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment with the variables of its ANCHORE_ENV_FILE where it has none itself, and warnings.

    A variable that is empty counts as not set. Raises SettingsError, which tells no line's content.
    """
    if not environ.get(ENV_FILE):
        return dict(environ), []
    path = Path(environ[ENV_FILE])
    found = _read(path)
    foreign = sorted(name for name in found if not name.startswith(_OURS))
    ours = {name: value for name, value in found.items() if name not in foreign and not environ.get(name)}
    return {**environ, **ours}, [f"{path}: these variables mean nothing here: {', '.join(foreign)}"] if foreign else []


def secret_from_file(variable: str, path: Path, problems: list[str]) -> str | None:
    """The secret in the file that a variable names, without line ends after it; what is wrong goes to `problems`."""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        problems.append(f"{variable}: cannot read {path}: {error.strerror}")
        return None
    except UnicodeDecodeError:
        problems.append(f"{variable}: {path} is not text in UTF-8")
        return None
    if not secret:
        problems.append(f"{variable}: {path} is empty")
    return secret


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes or docker put it there: a Service `anchore-db` beside us makes ANCHORE_DB_PORT a URL."""
    return bool(_SERVICE_LINK.fullmatch(name)) or (name.endswith("_PORT") and "://" in value)


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SettingsError(f"{ENV_FILE}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE}: {path} is not text in UTF-8") from None
    variables: dict[str, str] = {}
    problems = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        assignment = _ASSIGNMENT.fullmatch(line)
        if assignment is None:
            problems.append(f"{ENV_FILE}: line {number} of {path} is not NAME=VALUE; correct or remove it")
        else:
            variables[assignment[1]] = _unquoted(assignment[2])
    if problems:
        raise SettingsError("\n".join(problems))
    return variables


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
