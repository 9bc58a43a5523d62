"""Files that only their owner may read, made whole or not at all: sealing keys, a generated password."""

import os
import secrets
from pathlib import Path


def write_new_private_file(path: Path, content: str) -> bool:
    """Make the file with mode 0600, durably; returns False, and changes nothing, when there is one of that name.

    A reader finds it whole or not at all, also after a crash. Raises OSError when it cannot be made.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write(temporary, content)
        # A link, unlike a rename, fails where the name is taken: a key must never be overwritten.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return True


def _write(path: Path, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
