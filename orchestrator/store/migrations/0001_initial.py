"""The first schema: accounts, clusters with their schedule, inventory as presence, runs, audit.

Instants are microseconds since 1970 (bigint). Text that is sorted or compared is sorted by its bytes on both
databases: SQLite does so by itself, PostgreSQL by the collation "C". Whatever is indexed is short enough for a
PostgreSQL index entry (2,704 bytes): tags and digests may have 4 KiB, so a hash and a prefix of them are indexed.
"""

from typing import Any

from peewee import PostgresqlDatabase

SCHEMA = """
CREATE TABLE account (
    id {id},
    name {text} NOT NULL,
    created_at bigint NOT NULL
);
CREATE UNIQUE INDEX account_name ON account (name);

CREATE TABLE account_user (
    id {id},
    account_id bigint NOT NULL REFERENCES account (id),
    username {text} NOT NULL,
    password_hash text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
);
CREATE UNIQUE INDEX account_user_username ON account_user (username);

CREATE TABLE setting (
    name {text} NOT NULL PRIMARY KEY,
    value {bytes} NOT NULL
);

CREATE TABLE cluster (
    id {id},
    account_id bigint NOT NULL REFERENCES account (id),
    inventory_type {text} NOT NULL,
    cluster_name {text} NOT NULL,
    server text NOT NULL,
    cluster_certificate text,
    client_certificate text,
    credential_type text NOT NULL,
    credential {bytes} NOT NULL,
    namespaces text NOT NULL,
    generation bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    due_at bigint NOT NULL,
    claim bigint NOT NULL,
    lease_until bigint,
    run_id bigint,
    queued_run_id bigint,
    timeouts integer NOT NULL,
    failures integer NOT NULL,
    last_run_id bigint,
    last_success_id bigint,
    last_success_at bigint
);
CREATE UNIQUE INDEX cluster_name ON cluster (account_id, inventory_type, cluster_name);
CREATE INDEX cluster_due ON cluster ((coalesce(lease_until, due_at)));

CREATE TABLE run (
    id {id},
    account_id bigint NOT NULL REFERENCES account (id),
    cluster_id bigint,
    inventory_type {text} NOT NULL,
    cluster_name {text} NOT NULL,
    sender {text} NOT NULL,
    state text NOT NULL,
    requested_at bigint NOT NULL,
    started_at bigint,
    finished_at bigint,
    exit_code integer,
    reason_code text,
    reason text,
    remedy text,
    stdout_excerpt text,
    stderr_excerpt text,
    namespaces integer,
    images integer,
    appeared integer,
    gone integer,
    left_out integer,
    kai_version text,
    server_version text
);
CREATE INDEX run_of_cluster ON run (account_id, inventory_type, cluster_name, id);
CREATE INDEX run_of_account ON run (account_id, id);
CREATE INDEX run_requested_at ON run (requested_at);

CREATE TABLE source (
    id {id},
    account_id bigint NOT NULL REFERENCES account (id),
    inventory_type {text} NOT NULL,
    cluster_name {text} NOT NULL
);
CREATE UNIQUE INDEX source_name ON source (account_id, inventory_type, cluster_name);

CREATE TABLE sender (
    id {id},
    source_id bigint NOT NULL REFERENCES source (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    report_at bigint NOT NULL,
    received_at bigint NOT NULL,
    covered_since bigint,
    failures integer NOT NULL,
    last_run_id bigint,
    last_success_id bigint,
    last_success_at bigint,
    traces text NOT NULL
);
CREATE UNIQUE INDEX sender_name ON sender (source_id, name);

CREATE TABLE context (
    id {id},
    account_id bigint NOT NULL REFERENCES account (id),
    source_id bigint NOT NULL REFERENCES source (id) ON DELETE CASCADE,
    sender_id bigint NOT NULL REFERENCES sender (id),
    namespace {text} NOT NULL,
    name {text} NOT NULL,
    report_at bigint NOT NULL,
    received_at bigint NOT NULL,
    covered_since bigint NOT NULL,
    fingerprint {bytes},
    gone integer NOT NULL
);
CREATE UNIQUE INDEX context_namespace ON context (source_id, namespace);
CREATE UNIQUE INDEX context_name ON context (account_id, name, source_id);

CREATE TABLE item (
    id {id},
    context_id bigint NOT NULL REFERENCES context (id) ON DELETE CASCADE,
    image_key {bytes} NOT NULL,
    image_tag {text} NOT NULL,
    image_digest {text} NOT NULL,
    created_at bigint NOT NULL,
    present_since bigint NOT NULL,
    last_seen bigint
);
CREATE UNIQUE INDEX item_image ON item (context_id, image_key);
CREATE INDEX item_digest ON item (substr(image_digest, 1, 80));
CREATE INDEX item_tag ON item (substr(image_tag, 1, 80));

CREATE TABLE presence (
    id {id},
    item_id bigint NOT NULL REFERENCES item (id) ON DELETE CASCADE,
    started_at bigint NOT NULL,
    ended_at bigint NOT NULL
);
CREATE INDEX presence_item ON presence (item_id);
CREATE INDEX presence_ended_at ON presence (ended_at);

CREATE TABLE coverage (
    id {id},
    context_id bigint NOT NULL REFERENCES context (id) ON DELETE CASCADE,
    started_at bigint NOT NULL,
    ended_at bigint NOT NULL
);
CREATE INDEX coverage_context ON coverage (context_id);
CREATE INDEX coverage_ended_at ON coverage (ended_at);

CREATE TABLE audit (
    id {id},
    at bigint NOT NULL,
    account_id bigint NOT NULL REFERENCES account (id),
    username {text} NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail text NOT NULL
);
CREATE INDEX audit_at ON audit (at);
"""

# AUTOINCREMENT: a cluster that is deleted and made again must never get the number that a running look still holds.
SQLITE = {"id": "integer PRIMARY KEY AUTOINCREMENT", "text": "text", "bytes": "blob"}
POSTGRESQL = {
    "id": "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    "text": 'text COLLATE "C"',
    "bytes": "bytea",
}


def up(_migrator: Any, db: Any) -> None:
    """Make every table."""
    types = POSTGRESQL if isinstance(db, PostgresqlDatabase) else SQLITE
    for statement in SCHEMA.format(**types).split(";"):
        if statement.strip():
            db.execute_sql(statement)
