"""The kai binary itself: where it is, which file it is, what version it says it is."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import orjson

from orchestrator.kai import reasons
from orchestrator.model.run import Reason

_WORD = re.compile(r"[\w.+-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Binary:
    """An executable file, and what tells it from another one put in its place."""

    path: str
    key: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KaiVersion:
    """What `kai version` says, such as `0.5.0`; `commit` is what it was built from, empty when it does not say."""

    version: str
    commit: str


def find_binary(name: str, path: str) -> Binary | Reason:
    """The file that would run under this name or path, or why there is none. Blocks for a moment."""
    found = shutil.which(name, path=path)
    if found is None:
        if shutil.which(name, mode=os.F_OK, path=path) is None:
            return reasons.kai_is_directory(name) if _is_directory(name) else reasons.kai_not_found(name)
        return reasons.kai_not_executable(name, "no permission to run it")
    # kai runs in another directory than we do. A link stays a link: it may be moved on to another version.
    found = os.path.abspath(found)  # noqa: PTH100
    try:
        status = Path(found).stat()
    except OSError:
        return reasons.kai_not_found(name)
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return Binary(found, key)


def read_version(stdout: bytes) -> KaiVersion | None:
    """What `kai version -o json` printed, None when that is something else."""
    try:
        told = orjson.loads(stdout)
    except orjson.JSONDecodeError:
        return None
    version = _word(told.get("version")) if isinstance(told, dict) else ""
    return KaiVersion(version.removeprefix("v"), _word(told.get("gitCommit"))) if version else None


def _is_directory(name: str) -> bool:
    # Only where it is a path: a name alone is sought on PATH and not here.
    return os.sep in name and os.path.isdir(name)  # noqa: PTH112 - unlike Path's, raises nothing


def _word(value: object) -> str:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""
