"""Sealing of credentials: authenticated encryption under keys that are kept outside the database.

A sealed value is a format byte, the id of its key, a random nonce and the AES-256-GCM ciphertext. What it belongs to
(account, cluster, field) is authenticated with it, so that a value copied to another row does not open there.
"""

import base64
import binascii
import os
import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import orjson
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.private_files import write_new_private_file

_log = structlog.get_logger(__name__)

KEY_BYTES: Final = 32
CREDENTIAL_FIELD: Final = "credential"

_FORMAT: Final = b"\x01"
_KEY_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = len(_FORMAT) + _KEY_ID_BYTES

_CHECK_NAME: Final = "sealing_check"
_CHECK_TEXT: Final = SecretStr("kai-orchestrator")

_HOW_TO_MAKE: Final = "32 random bytes as base64, such as `openssl rand -base64 32` prints"


class SealingKeyError(Exception):
    """The service must not start with these keys; the text says why and what to do, never the key."""


class InvalidSealingKey(SealingKeyError):
    """What was given is no key."""


class MissingSealingKey(SealingKeyError):
    """No key was given, and none may be made here."""


class WrongSealingKey(SealingKeyError):
    """The keys are not those that the database was sealed with."""


class CannotUnseal(Exception):
    """A sealed value was altered, moved from elsewhere, or sealed with a key that was not given."""


class Sealer:
    """Seals with the first key and opens with any of them."""

    def __init__(self, keys: Sequence[bytes], *, random: Callable[[int], bytes] = os.urandom) -> None:
        """`keys` are 32 bytes each, newest first; `random` gives n unpredictable bytes (tests inject theirs)."""
        if not keys:
            raise InvalidSealingKey(f"sealing key: expected {_HOW_TO_MAKE}, got nothing")
        if any(len(key) != KEY_BYTES for key in keys):
            raise InvalidSealingKey(f"sealing key: expected {_HOW_TO_MAKE}")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._newest = _key_id(keys[0])
        self._random = random

    def seal(self, value: SecretStr, *, account_id: int, cluster_name: str, field: str) -> bytes:
        """The value so that it can be opened only with the key and only in this place."""
        nonce = self._random(_NONCE_BYTES)
        place = _place(account_id, cluster_name, field)
        ciphertext = self._ciphers[self._newest].encrypt(nonce, value.get_secret_value().encode(), place)
        return _FORMAT + self._newest + nonce + ciphertext

    def open(self, sealed: bytes, *, account_id: int, cluster_name: str, field: str) -> SecretStr:
        """What was sealed for this place. Raises CannotUnseal."""
        nonce = sealed[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES]
        cipher = self._ciphers.get(sealed[len(_FORMAT) : _HEAD_BYTES])
        if sealed[: len(_FORMAT)] != _FORMAT or cipher is None or len(nonce) != _NONCE_BYTES:
            raise CannotUnseal("sealed with a key that was not given, or not sealed by this service")
        try:
            opened = cipher.decrypt(
                nonce, sealed[_HEAD_BYTES + _NONCE_BYTES :], _place(account_id, cluster_name, field)
            )
        except InvalidTag as error:
            raise CannotUnseal("altered, or sealed for another account, cluster or field") from error
        return SecretStr(opened.decode())

    def knows(self, sealed: bytes) -> bool:
        """Whether the value names a key that was given."""
        return sealed[: len(_FORMAT)] == _FORMAT and sealed[len(_FORMAT) : _HEAD_BYTES] in self._ciphers

    def is_newest(self, sealed: bytes) -> bool:
        """Whether the value names the key that seals now."""
        return sealed[:_HEAD_BYTES] == _FORMAT + self._newest


def parse_keys(text: SecretStr) -> Sealer:
    """A sealer from keys as base64, newest first, with commas or white space between. Raises InvalidSealingKey."""
    return Sealer([_parse_key(word, number) for number, word in enumerate(_words(text), start=1)])


def open_sealer(db: Database, *, keys: SecretStr | None, key_file: Path) -> Sealer:
    """The sealer for this database, for a unit of work that writes: `await db.write(lambda: open_sealer(...))`.

    `keys` given count alone; otherwise the keys in `key_file`. Where neither is there, a key is made and put into
    that file (mode 0600) if the database is SQLite and holds nothing sealed yet. What older keys sealed is sealed
    again with the newest, so that a key can be retired after one start with both. Raises a SealingKeyError that says
    what to do.
    """
    sealer = _sealer(db, keys, key_file)
    verify_key(db, sealer)
    if resealed := reseal(db, sealer):
        _log.info("credentials that an older key sealed were sealed again with the newest", credentials=resealed)
    return sealer


def verify_key(db: Database, sealer: Sealer) -> None:
    """Raise WrongSealingKey unless the keys are those of what the database holds; remembers a new database's key."""
    unknown = [cluster_id for cluster_id, sealed in _credentials(db) if not sealer.knows(sealed)]
    check = _check(db)
    if unknown or (check is not None and not _opens(sealer, check)):
        raise WrongSealingKey(
            "the sealing key is not the one that this database was sealed with: "
            f"give the key that was in use (several may be given, newest first); clusters concerned: {len(unknown)}"
        )
    if check is None:
        _store_check(db, sealer)
        # Another replica may have been first, with another key.
        check = _check(db)
        if check is None or not _opens(sealer, check):
            raise WrongSealingKey("another replica has just begun to use this database with another sealing key")


def reseal(db: Database, sealer: Sealer) -> int:
    """Seal with the newest key whatever an older one sealed; returns how many credentials that were."""
    resealed = 0
    for cluster_id, sealed in _credentials(db):
        if not sealer.is_newest(sealed):
            _reseal_cluster(db, sealer, cluster_id)
            resealed += 1
    check = _check(db)
    if check is not None and not sealer.is_newest(check):
        db.run(tables.Setting.update(value=_seal_check(sealer)).where(tables.Setting.name == _CHECK_NAME))
    return resealed


def _reseal_cluster(db: Database, sealer: Sealer, cluster_id: int) -> None:
    table = tables.Cluster
    # Locked, since another replica may be replacing this very cluster.
    query = table.select(table.account_id, table.cluster_name, table.credential).where(table.id == cluster_id)
    for row in list(db.run(db.locking(query).dicts())):
        place = {"account_id": row["account_id"], "cluster_name": row["cluster_name"], "field": CREDENTIAL_FIELD}
        value = sealer.open(bytes(row["credential"]), **place)
        db.run(table.update(credential=sealer.seal(value, **place)).where(table.id == cluster_id))


def _sealer(db: Database, keys: SecretStr | None, key_file: Path) -> Sealer:
    if keys is not None:
        return parse_keys(keys)
    text = _read(key_file)
    if text is None:
        text = _make_key_file(db, key_file)
    try:
        return parse_keys(text)
    except InvalidSealingKey as error:
        raise InvalidSealingKey(f"{key_file}: {error}") from error


def _make_key_file(db: Database, key_file: Path) -> SecretStr:
    if _check(db) is not None or _credentials(db):
        held = f"put {key_file} back, or give its content" if db.is_sqlite else "give it"
        raise WrongSealingKey(
            f"the database was sealed with a key, which is not given: {held} as ORCHESTRATOR_SEALING_KEYS"
        )
    if not db.is_sqlite:
        raise MissingSealingKey(f"with PostgreSQL a sealing key must be given: {_HOW_TO_MAKE}")
    write_new_private_file(key_file, base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n")
    # Read back, since another process that starts on the same directory may have been first.
    text = _read(key_file)
    if text is None:
        raise MissingSealingKey(f"{key_file} vanished while the service started")
    return text


def _read(path: Path) -> SecretStr | None:
    try:
        return SecretStr(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise InvalidSealingKey(f"{path}: expected {_HOW_TO_MAKE}") from None


def _words(text: SecretStr) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text.get_secret_value()) if word]


def _parse_key(word: str, number: int) -> bytes:
    try:
        key = base64.b64decode(word.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        # No cause: its text could tell something of the key.
        raise InvalidSealingKey(f"sealing key {number} is not base64: expected {_HOW_TO_MAKE}") from None
    if len(key) != KEY_BYTES:
        raise InvalidSealingKey(f"sealing key {number} has {len(key)} bytes: expected {_HOW_TO_MAKE}")
    return key


def _key_id(key: bytes) -> bytes:
    return blake2b(key, digest_size=_KEY_ID_BYTES, person=b"sealing key id").digest()


def _place(account_id: int, cluster_name: str, field: str) -> bytes:
    return orjson.dumps([account_id, cluster_name, field])


def _seal_check(sealer: Sealer) -> bytes:
    return sealer.seal(_CHECK_TEXT, account_id=0, cluster_name="", field="check")


def _opens(sealer: Sealer, check: bytes) -> bool:
    try:
        opened = sealer.open(check, account_id=0, cluster_name="", field="check")
    except CannotUnseal:
        return False
    return opened == _CHECK_TEXT


def _check(db: Database) -> bytes | None:
    rows = list(db.run(tables.Setting.select(tables.Setting.value).where(tables.Setting.name == _CHECK_NAME).tuples()))
    return bytes(rows[0][0]) if rows else None


def _store_check(db: Database, sealer: Sealer) -> None:
    db.run(tables.Setting.insert(name=_CHECK_NAME, value=_seal_check(sealer)).on_conflict_ignore())


def _credentials(db: Database) -> list[tuple[int, bytes]]:
    rows = list(db.run(tables.Cluster.select(tables.Cluster.id, tables.Cluster.credential).tuples()))
    return [(int(cluster_id), bytes(sealed)) for cluster_id, sealed in rows]
