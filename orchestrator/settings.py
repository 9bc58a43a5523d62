"""What an operator can set, as one typed value.

Every option is one field of `Settings`, and its name, variable, place in config.yaml, default and meaning are said
there once: reading, checking, messages and the README's table are all made from the fields.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast
from urllib.parse import quote

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from orchestrator.model.cluster import check_cluster_name
from orchestrator.model.fields import InvalidField
from orchestrator.model.network import DEFAULT_DENIED, Network
from orchestrator.model.retention import NEWEST_REPORT_ONLY, Retention

Role = Literal["all", "api", "collector"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LogFormat = Literal["json", "text"]

MIB = 1024 * 1024
# A month: a number of milliseconds taken for seconds is found out.
MAX_INTERVAL_SECONDS: Final = 31 * 86_400
MAX_DAYS: Final = 36_500


def _networks(value: object) -> object:
    """A list of networks, from a list, a JSON list or text with commas between."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                raise ValueError("begins like a JSON list but is none") from None
        else:
            value = [entry for entry in value.split(",") if entry.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of networks")  # noqa: TRY004 (pydantic reports ValueError only)
    return tuple(_network(entry, number) for number, entry in enumerate(value, start=1))


def _network(entry: object, number: int) -> Network:
    if isinstance(entry, IPv4Network | IPv6Network):
        return entry
    try:
        return ip_network(entry.strip() if isinstance(entry, str) else "")
    except ValueError:
        raise ValueError(
            f"entry {number} is not a network such as 10.0.0.0/8 or fd00::/8 (all bits after the prefix are 0)"
        ) from None


Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]


def _option(
    default: Any,
    meaning: str,
    *,
    env: str | None = None,
    path: str | None = None,
    flag: str | None = None,
    shown: str | None = None,
    secret: bool = False,
    **limits: Any,
) -> Any:
    """A field of Settings. `env` and `path` replace the usual names, `shown` the default as documentation has it;
    `path=""` keeps the option out of config.yaml; a `secret` may also come from a file, named by NAME_FILE."""
    names: dict[str, Any] = {"env": env, "path": path, "flag": flag, "shown": shown, "secret": secret}
    if callable(default):
        return Field(default_factory=default, description=meaning, json_schema_extra=names, **limits)
    return Field(default, description=meaning, json_schema_extra=names, **limits)


def _null(value: object) -> object:
    """Enterprise's chart sets variables that say nothing to the word `null`."""
    return None if value == "null" else value


SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

DATABASE_PARTS: Final = (
    "db_host",
    "db_port",
    "db_name",
    "db_user",
    "db_password",
    "db_ssl",
    "db_ssl_mode",
    "db_ssl_root_cert",
)


def _default_database(values: dict[str, Any]) -> SecretStr:
    """The PostgreSQL whose parts were given one by one, else SQLite in the data directory."""
    host = values["db_host"]
    if not host:
        return SecretStr(f"sqlite:///{values['data_dir'] / 'orchestrator.db'}")
    # A host may also be an IPv6 address, or the directory of a Unix socket.
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    who = quote(values["db_user"], safe="")
    if values["db_password"] is not None:
        who += ":" + quote(values["db_password"].get_secret_value(), safe="")
    name = quote(values["db_name"], safe="")
    return SecretStr(f"postgresql://{who}@{place}:{values['db_port']}/{name}{_tls_parameters(values)}")


def _tls_parameters(values: dict[str, Any]) -> str:
    """What the URL says of TLS. Enterprise's chart sets mode and certificate also where `db_ssl` is false: they count
    for nothing then. Where nothing is said, libpq's own variables hold."""
    mode, root = values["db_ssl_mode"], values["db_ssl_root_cert"]
    if values["db_ssl"] is False or not (values["db_ssl"] or mode or root):
        return ""
    given = {"sslmode": mode or ("verify-full" if root else "require"), "sslrootcert": root and str(root)}
    return "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items() if value)


class Settings(BaseModel):
    """How the service runs. Made by `load_settings`, or directly in tests; times are in the unit of their names."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = _option("127.0.0.1", "address to listen on", flag="--host", min_length=1)
    port: int = _option(
        8228, "port to listen on (0: any free one)", env="ANCHORE_SERVICE_PORT", flag="--port", ge=0, le=65535
    )
    role: Role = _option(
        "all",
        "what this process does: `api` answers requests and looks at no cluster, `collector` looks at clusters and "
        "answers only probes; with PostgreSQL",
        flag="--role",
    )
    tls_certificate_file: Path | None = _option(
        None,
        "file with the certificate to serve HTTPS with (PEM, with its intermediates); a renewed one is taken up",
        shown="plain HTTP",
    )
    tls_key_file: Path | None = _option(None, "file with that certificate's private key (PEM)", shown="")
    tls_key_passphrase: SecretStr | None = _option(None, "passphrase of that key", shown="", secret=True)
    data_dir: Path = _option(
        Path("data"),
        "directory for what is kept on disk: the SQLite database, generated keys and passwords",
        flag="--data-dir",
        shown="`./data`",
    )
    db_host: str | None = _option(
        None, "host of a PostgreSQL server; with those that follow, instead of a URL", env="ANCHORE_DB_HOST", shown=""
    )
    db_port: int = _option(5432, "its port", env="ANCHORE_DB_PORT", ge=1, le=65535)
    db_name: str = _option("postgres", "name of the database there", env="ANCHORE_DB_NAME")
    db_user: str = _option("postgres", "user to connect as", env="ANCHORE_DB_USER")
    db_password: SecretStr | None = _option(
        None, "that user's password", env="ANCHORE_DB_PASSWORD", shown="", secret=True
    )
    db_ssl: Annotated[bool | None, BeforeValidator(_null)] = _option(
        None,
        "`true`: connect with TLS or not at all; `false`: the next two count for nothing",
        env="ANCHORE_DB_SSL",
        shown="",
    )
    db_ssl_mode: Annotated[SslMode | None, BeforeValidator(_null)] = _option(
        None,
        "what is checked then: `require` nothing, `verify-ca` who signed the server's certificate, `verify-full` also "
        "its name",
        env="ANCHORE_DB_SSL_MODE",
        shown="`verify-full` with the next, else `require`",
    )
    db_ssl_root_cert: Annotated[Path | None, BeforeValidator(_null)] = _option(
        None, "file with the CA's certificate (PEM) that it is checked by", env="ANCHORE_DB_SSL_ROOT_CERT", shown=""
    )
    database_url: SecretStr = _option(
        _default_database,
        "`sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST:PORT/NAME`, special characters percent-encoded",
        shown="`orchestrator.db` in the data directory",
        secret=True,
    )
    sealing_keys: SecretStr | None = _option(
        None,
        "keys that seal stored credentials, newest first, with commas between; required with PostgreSQL",
        shown="made in the data directory of a new SQLite database",
        secret=True,
    )
    admin_password: SecretStr | None = _option(
        None,
        "password of the user `admin`",
        env="ANCHORE_ADMIN_PASSWORD",
        shown="made, and put in a file whose path is printed",
        secret=True,
    )
    report_interval_sec: int = _option(
        300,
        "seconds from one look at a cluster to the next",
        env="ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC",
        ge=1,
        le=MAX_INTERVAL_SECONDS,
    )
    image_ttl_days: int = _option(
        120,
        "days that an image which is not seen any more stays in the inventory; "
        "`-1`: only while the newest report holds it; `0`: for ever",
        path="services.catalog.runtime_inventory.image_ttl_days",
    )
    image_ingest_overwrite: bool = _option(
        False,
        "`true` is the same as an `image_ttl_days` of `-1`, as files of Anchore Enterprise 4 say it",
        path="services.catalog.runtime_inventory.image_ingest_overwrite",
    )
    own_cluster_name: str | None = _option(
        None,
        "in Kubernetes: look at the cluster that the service runs in as well, under this name, with the service "
        "account of its pod",
        shown="it is not looked at",
    )
    kai_binary: str = _option("kai", "the kai program: a path, or a name that is looked up on `PATH`", min_length=1)
    kai_timeout_sec: int = _option(120, "seconds after which a run of kai is stopped", ge=1, le=86_400)
    kai_output_limit_bytes: int = _option(
        64 * MIB, "a run of kai that prints more than this fails", ge=1024, le=4096 * MIB
    )
    kai_request_batch_size: int = _option(500, "objects that kai asks the API server for at a time", ge=1, le=100_000)
    max_concurrent_runs: int = _option(16, "clusters looked at at the same time", ge=1, le=1_000)
    lease_sec: int = _option(
        60,
        "seconds after which another process takes over the clusters of one that died, or that lost the database; "
        "a process that lives renews its claims in a third of them",
        ge=3,
        le=86_400,
    )
    allowed_networks: Networks = _option(
        (),
        "networks that clusters' API servers may be in, as a JSON list or with commas between; empty: all",
        shown="empty",
    )
    denied_networks: Networks = _option(
        DEFAULT_DENIED,
        "networks that clusters' API servers may never be in; `[]`: none is denied",
        shown=f"`{','.join(map(str, DEFAULT_DENIED))}`",
    )
    run_history_days: int = _option(7, "days that finished runs are kept", ge=1, le=MAX_DAYS)
    run_history_per_cluster: int = _option(1000, "finished runs kept of one cluster", ge=1, le=10_000_000)
    presence_days: int = _option(400, "days that the history of what ran where is kept", ge=1, le=MAX_DAYS)
    presence_gap_hours: int = _option(
        24,
        "an image back within so many hours counts as never gone, so that CronJobs do not flood the history",
        ge=0,
        le=24 * MAX_DAYS,
    )
    drain_sec: int = _option(5, "seconds that open requests are given when the service stops", ge=0, le=8)
    log_level: LogLevel = _option(
        "INFO", "least severe level that is logged: DEBUG, INFO, WARNING, ERROR or CRITICAL", env="ANCHORE_LOG_LEVEL"
    )
    log_format: LogFormat | None = _option(None, "`json` or `text`", shown="`text` on a terminal, else `json`")
    config_dir: Path | None = _option(
        None, "directory that holds `config.yaml`", env="ANCHORE_CONFIG_DIR", path="", shown="no file is read"
    )
    env_file: Path | None = _option(
        None,
        "file with variables, one `NAME=VALUE` a line; those that the environment sets itself win",
        env="ANCHORE_ENV_FILE",
        path="",
        shown="no file is read",
    )

    @property
    def retention(self) -> Retention:
        """How long images stay in the inventory."""
        return Retention(NEWEST_REPORT_ONLY if self.image_ingest_overwrite else self.image_ttl_days)

    @field_validator("image_ttl_days")
    @classmethod
    def _known_ttl(cls, days: int) -> int:
        return Retention(days).image_ttl_days

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: SecretStr) -> SecretStr:
        scheme, separator, rest = url.get_secret_value().partition("://")
        if not separator or scheme not in {"sqlite", "postgresql"}:
            raise ValueError("begins neither with sqlite:/// nor with postgresql://")
        if scheme == "sqlite" and (not rest.startswith("/") or rest in {"/", "/:memory:"}):
            raise ValueError("names no database file; four slashes begin an absolute path")
        return url

    @field_validator("own_cluster_name")
    @classmethod
    def _usable_name(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                check_cluster_name(name)
            except InvalidField as error:
                raise ValueError(error.problem) from None
        return name

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        """Options that only make sense together are given together, and those that exclude each other are not."""
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            raise ValueError(
                "ORCHESTRATOR_TLS_CERTIFICATE_FILE and ORCHESTRATOR_TLS_KEY_FILE go together: set both for HTTPS, "
                "or neither"
            )
        if self.tls_key_passphrase is not None and not self.tls_key_file:
            raise ValueError("ORCHESTRATOR_TLS_KEY_PASSPHRASE is set without ORCHESTRATOR_TLS_KEY_FILE")
        parts = [name for name in DATABASE_PARTS if name in self.model_fields_set]
        variables = ", ".join(f"ANCHORE_{name.upper()}" for name in parts)
        if parts and "database_url" in self.model_fields_set:
            raise ValueError(f"ORCHESTRATOR_DATABASE_URL and {variables} both say where the database is: unset one")
        if parts and not self.db_host:
            raise ValueError(f"{variables}: set without ANCHORE_DB_HOST: say which server it is, or unset it")
        if self.role != "all" and self.database_url.get_secret_value().startswith("sqlite:"):
            raise ValueError(
                "ORCHESTRATOR_ROLE: on SQLite one process does everything; leave the role out, or set "
                "ORCHESTRATOR_DATABASE_URL to a PostgreSQL"
            )
        return self

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_by_any_name(cls, level: object) -> object:
        if not isinstance(level, str):
            return level
        name = level.strip().upper()
        return {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(name, name)


@dataclass(frozen=True, slots=True)
class Option:
    """One option as documentation tells it; `file_env` names the variable for a file that holds a secret."""

    field: str
    env: str
    file_env: str | None
    path: str | None
    flag: str | None
    default: str
    meaning: str


def options() -> list[Option]:
    """All options, in the order of documentation."""
    return [_described(name) for name in Settings.model_fields]


def _described(name: str) -> Option:
    info = Settings.model_fields[name]
    names = cast(dict[str, Any], info.json_schema_extra)
    env = names["env"] or f"ORCHESTRATOR_{name.upper()}"
    path = f"orchestrator.{name}" if names["path"] is None else names["path"]
    return Option(
        field=name,
        env=env,
        file_env=f"{env}_FILE" if names["secret"] else None,
        path=path or None,
        flag=names["flag"],
        default=f"`{info.default}`" if names["shown"] is None else names["shown"],
        meaning=str(info.description),
    )
