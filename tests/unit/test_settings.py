"""Settings: where each comes from, which wins, and what an operator is told when one is wrong."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from orchestrator.config_file import SettingsError
from orchestrator.model.network import DEFAULT_DENIED
from orchestrator.model.retention import Retention
from orchestrator.settings import DATABASE_PARTS, Option, Settings, options
from orchestrator.settings_loader import load_settings

CANARY = "c4nary-secret"


def config(tmp_path: Path, text: str, **environ: str) -> dict[str, str]:
    """An environment whose config.yaml holds that text."""
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    return {"ANCHORE_CONFIG_DIR": str(tmp_path), **environ}


def loaded(environ: dict[str, str], **overrides: object) -> Settings:
    settings, warnings = load_settings(environ, overrides)
    assert warnings == []
    return settings


def refused(environ: dict[str, str], **overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, overrides)
    return str(caught.value)


def test_defaults() -> None:
    settings = loaded({})
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8228, Path("data"))
    assert settings.database_url.get_secret_value() == "sqlite:///data/orchestrator.db"
    assert (settings.report_interval_sec, settings.image_ttl_days, settings.kai_timeout_sec) == (300, 120, 120)
    assert (settings.max_concurrent_runs, settings.kai_request_batch_size) == (16, 500)
    assert settings.denied_networks == DEFAULT_DENIED
    assert (settings.allowed_networks, settings.admin_password, settings.sealing_keys) == ((), None, None)
    assert (settings.log_level, settings.log_format, settings.config_dir) == ("INFO", None, None)


def test_the_database_lies_in_the_data_directory() -> None:
    settings = loaded({"ORCHESTRATOR_DATA_DIR": "/srv/kai"})
    assert settings.database_url.get_secret_value() == "sqlite:////srv/kai/orchestrator.db"


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    text = "orchestrator: {port: 1, kai_timeout_sec: 11, drain_sec: 1}"
    environ = config(tmp_path, text, ANCHORE_SERVICE_PORT="2", ORCHESTRATOR_KAI_TIMEOUT_SEC="22")
    settings = loaded(environ, port="3", host=None)
    assert (settings.port, settings.kai_timeout_sec, settings.drain_sec) == (3, 22, 1)
    assert settings.host == "127.0.0.1"


PARTNERS = {
    "tls_certificate_file": {"ORCHESTRATOR_TLS_KEY_FILE": "key.pem"},
    "tls_key_file": {"ORCHESTRATOR_TLS_CERTIFICATE_FILE": "certificate.pem"},
    "tls_key_passphrase": {
        "ORCHESTRATOR_TLS_KEY_FILE": "key.pem",
        "ORCHESTRATOR_TLS_CERTIFICATE_FILE": "certificate.pem",
    },
    "role": {"ANCHORE_DB_HOST": "db"},
    **{field: {"ANCHORE_DB_HOST": "db"} for field in DATABASE_PARTS[1:]},
}
"""What has to be set for an option to mean something."""


@pytest.mark.parametrize("option", options(), ids=lambda option: option.field)
def test_every_option_is_read_from_its_variable_and_its_place(tmp_path: Path, option: Option) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("")
    samples = {
        "database_url": "postgresql://db/x",
        "allowed_networks": "10.0.0.0/8",
        "denied_networks": "10.0.0.0/8",
        "log_level": "DEBUG",
        "log_format": "json",
        "config_dir": str(tmp_path),
        "drain_sec": "3",
        "max_concurrent_runs": "43",
        "env_file": str(env_file),
        "role": "api",
        "image_ingest_overwrite": "true",
        "db_ssl": "true",
        "db_ssl_mode": "require",
    }
    partners = PARTNERS.get(option.field, {})
    value = samples.get(option.field, "4321")
    default = getattr(Settings(), option.field)
    from_variable = loaded(config(tmp_path, "", **partners, **{option.env: value}))
    assert getattr(from_variable, option.field) != default
    if option.path:
        *sections, key = option.path.split(".")
        text = "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections))
        from_file = loaded(config(tmp_path, f"{text}{'  ' * len(sections)}{key}: {value}\n", **partners))
        assert getattr(from_file, option.field) == getattr(from_variable, option.field)
    if option.file_env:
        (tmp_path / "secret").write_text(f"{value}\n")
        from_secret_file = loaded({**partners, option.file_env: str(tmp_path / "secret")})
        assert getattr(from_secret_file, option.field) == getattr(from_variable, option.field)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ANCHORE_SERVICE_PORT", "http", "expected a whole number"),
        ("ORCHESTRATOR_KAI_TIMEOUT_SEC", "1.5", "expected a whole number"),
        ("ANCHORE_SERVICE_PORT", "-1", "expected a number from 0 on"),
        ("ANCHORE_SERVICE_PORT", "70000", "expected a number up to 65535"),
        ("ORCHESTRATOR_IMAGE_INGEST_OVERWRITE", "maybe", "expected true or false"),
        ("ORCHESTRATOR_LOG_FORMAT", "xml", "expected 'json' or 'text'"),
    ],
)
def test_what_is_refused_says_what_was_expected(variable: str, value: str, expected: str) -> None:
    assert refused({variable: value}).startswith(f"{variable}: {expected} (it is: ")


@pytest.mark.parametrize("name", ["ANCHORE_SERVICE_PORT", "ORCHESTRATOR_DENIED_NETWORKS", "ANCHORE_CONFIG_DIR"])
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    assert loaded({name: ""}) == loaded({})


def test_an_empty_value_in_the_file_counts_as_not_set(tmp_path: Path) -> None:
    environ = config(tmp_path, "orchestrator: {port: , host: null, admin_password: ~}\nservices:\n")
    assert loaded(environ).model_copy(update={"config_dir": None}) == loaded({})


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert loaded(config(tmp_path, "# nothing yet\n")).port == 8228


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ANCHORE_SERVICE_PORT", "http"),
        ("ANCHORE_SERVICE_PORT", "70000"),
        ("ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC", "0"),
        ("ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC", "300.5"),
        ("ORCHESTRATOR_MAX_CONCURRENT_RUNS", "true"),
        ("ORCHESTRATOR_KAI_TIMEOUT_SEC", "0"),
        ("ORCHESTRATOR_IMAGE_TTL_DAYS", "-2"),
        ("ORCHESTRATOR_IMAGE_TTL_DAYS", "forever"),
        ("ORCHESTRATOR_DATABASE_URL", f"mysql://user:{CANARY}@db/x"),
        ("ORCHESTRATOR_DATABASE_URL", f"sqlite://{CANARY}"),
        ("ORCHESTRATOR_DATABASE_URL", "sqlite:///:memory:"),
        ("ORCHESTRATOR_ALLOWED_NETWORKS", "10.0.0.0/8,10.0.0.1/8"),
        ("ORCHESTRATOR_ALLOWED_NETWORKS", '["10.0.0.0/8", 5]'),
        ("ORCHESTRATOR_DENIED_NETWORKS", "[10.0.0.0/8]"),
        ("ORCHESTRATOR_LOG_FORMAT", "xml"),
        ("ANCHORE_LOG_LEVEL", "LOUD"),
        ("ORCHESTRATOR_DRAIN_SEC", "60"),
    ],
)
def test_a_bad_value_is_refused_by_its_variable_and_never_shown(variable: str, value: str) -> None:
    message = refused({variable: value})
    assert message.startswith(f"{variable}: ")
    assert "\n" not in message
    assert CANARY not in message
    assert f"{value!r}" not in message


@pytest.mark.parametrize(
    "option",
    [option for option in options() if type(getattr(Settings(), option.field)) is int],
    ids=lambda option: option.field,
)
def test_no_number_may_be_too_large_to_be_stored(option: Option) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded({option.env: "99999999999999999999"})
    assert option.env in str(caught.value)


def test_a_bad_flag_is_refused_by_its_name() -> None:
    assert refused({}, port="http").startswith("--port: ")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    environ = config(tmp_path, "orchestrator: {prot: 1}", ANCHORE_SERVICE_PORT="x", ANCHORE_LOG_LEVEL="y")
    lines = refused(environ).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        str(tmp_path / "config.yaml"),
        "ANCHORE_SERVICE_PORT",
        "ANCHORE_LOG_LEVEL",
    ]


@pytest.mark.parametrize("text", ["10.0.0.0/8,fd00::/8", ' ["10.0.0.0/8", "fd00::/8"]', "10.0.0.0/8 , fd00::/8,"])
def test_networks_are_a_list_in_either_form(text: str) -> None:
    settings = loaded({"ORCHESTRATOR_ALLOWED_NETWORKS": text})
    assert settings.allowed_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def test_networks_in_the_file_are_a_list_too(tmp_path: Path) -> None:
    settings = loaded(config(tmp_path, "orchestrator: {allowed_networks: [10.0.0.0/8, 'fd00::/8']}"))
    assert settings.allowed_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def test_no_network_needs_to_be_denied() -> None:
    assert loaded({"ORCHESTRATOR_DENIED_NETWORKS": "[]"}).denied_networks == ()


@pytest.mark.parametrize(("given", "level"), [("debug", "DEBUG"), ("WARN", "WARNING"), ("FATAL", "CRITICAL")])
def test_log_levels_by_the_names_of_enterprise_too(given: str, level: str) -> None:
    assert loaded({"ANCHORE_LOG_LEVEL": given}).log_level == level


@pytest.mark.parametrize("days", [-1, 0, 1, 120])
def test_the_ttl_stands_where_enterprise_has_it(tmp_path: Path, days: int) -> None:
    text = f"services:\n  catalog:\n    runtime_inventory:\n      image_ttl_days: {days}\n"
    assert loaded(config(tmp_path, text)).image_ttl_days == days


def test_the_interval_may_stand_in_the_file(tmp_path: Path) -> None:
    assert loaded(config(tmp_path, "orchestrator:\n  report_interval_sec: 60\n")).report_interval_sec == 60


# config.yaml


def test_foreign_sections_make_one_warning_that_lists_them(tmp_path: Path) -> None:
    text = """
service_dir: ${ANCHORE_SERVICE_DIR}
credentials: {database: {db_connect: "${ANCHORE_DB}"}}
services:
  analyzer: {enabled: true}
  catalog:
    cycle_timers: {image_watcher: 3600}
    runtime_inventory: {image_ttl_days: 7}
"""
    settings, warnings = load_settings(config(tmp_path, text), {})
    assert settings.image_ttl_days == 7
    assert len(warnings) == 1
    assert warnings[0].endswith(
        "these sections mean nothing here: credentials, service_dir, services.analyzer, services.catalog.cycle_timers"
    )


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("orchestrator: {prot: 1}", "orchestrator.prot", "did you mean orchestrator.port?"),
        (
            "orchestrator: {image_ttl_days: 1}",
            "orchestrator.image_ttl_days",
            "services.catalog.runtime_inventory.image",
        ),
        ("orchestrator: {config_dir: x}", "orchestrator.config_dir", "remove it"),
        (
            "services: {catalog: {runtime_inventory: {ttl: 1}}}",
            "runtime_inventory.ttl",
            "overwrite, image_ttl_days",
        ),
    ],
)
def test_an_unknown_key_in_a_section_of_ours_is_refused(tmp_path: Path, text: str, path: str, hint: str) -> None:
    message = refused(config(tmp_path, text))
    assert f"{path}: unknown key" in message
    assert hint in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("orchestrator: {port: 1}\nservices: {}\norchestrator: {host: x}\n", "line 3, column 1"),
        ("orchestrator:\n  port: 1\n  port: 2\n", "line 3, column 3"),
        ("policy_engine: {a: [{b: 1, b: 2}]}", "line 1, column 28"),
    ],
)
def test_a_key_that_stands_twice_is_refused_where_one_would_win_in_silence(
    tmp_path: Path, text: str, place: str
) -> None:
    assert refused(config(tmp_path, text)) == (
        f"{tmp_path / 'config.yaml'}: the key at {place} stands twice in its section; put both together"
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[a, b]", "the file"),
        ("just text", "the file"),
        ("orchestrator: 5", "orchestrator"),
        ("services: {catalog: {runtime_inventory: [1]}}", "services.catalog.runtime_inventory"),
    ],
)
def test_a_section_must_be_one(tmp_path: Path, text: str, path: str) -> None:
    assert refused(config(tmp_path, text)).startswith(f"{tmp_path / 'config.yaml'}: {path}: expected a section")


@pytest.mark.parametrize(("overwrite", "days"), [("true", -1), ("false", 7)])
def test_to_overwrite_at_each_report_is_to_keep_the_newest_only(tmp_path: Path, overwrite: str, days: int) -> None:
    section = f"{{image_ttl_days: 7, image_ingest_overwrite: {overwrite}}}"
    text = f"services: {{catalog: {{runtime_inventory: {section}}}}}"
    assert loaded(config(tmp_path, text)).retention == Retention(days)


def test_a_bad_value_in_the_file_is_refused_by_its_path(tmp_path: Path) -> None:
    text = "services: {catalog: {runtime_inventory: {image_ttl_days: -7}}}"
    message = refused(config(tmp_path, text))
    assert message.startswith(
        f"{tmp_path / 'config.yaml'}: services.catalog.runtime_inventory.image_ttl_days: expected"
    )


@pytest.mark.parametrize("value", ["{a: 1}", "[[10.0.0.0/8]]", "[{a: 1}]"])
def test_a_structure_where_a_value_should_be_is_refused(tmp_path: Path, value: str) -> None:
    assert "orchestrator.allowed_networks: " in refused(
        config(tmp_path, f"orchestrator: {{allowed_networks: {value}}}")
    )


def test_a_missing_file_is_refused_by_its_path(tmp_path: Path) -> None:
    message = refused({"ANCHORE_CONFIG_DIR": str(tmp_path / "nowhere")})
    assert "ANCHORE_CONFIG_DIR" in message
    assert str(tmp_path / "nowhere" / "config.yaml") in message


@pytest.mark.parametrize(
    "line",
    [f"admin_password: *{CANARY}", f"admin_password: @{CANARY}", f"a: b: {CANARY}", f"'{CANARY}", f"[{CANARY}"],
)
def test_broken_yaml_is_refused_by_its_place_without_quoting_it(tmp_path: Path, line: str) -> None:
    message = refused(config(tmp_path, f"orchestrator:\n  {line}\n"))
    assert "is not valid YAML at line" in message
    assert CANARY not in message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    environ = config(tmp_path, "")
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00\xd8orchestrator")
    assert "is not valid YAML" in refused(environ)


@pytest.mark.parametrize("password", ["0123", "1e3", "yes", "2021-01-01", "!secret", "!!int 5 # 5", "nothing"])
def test_a_password_in_the_file_is_the_text_that_stands_there(tmp_path: Path, password: str) -> None:
    quoted = f"'{password}'" if password.startswith("!") else password
    settings = loaded(config(tmp_path, f"orchestrator:\n  admin_password: {quoted}\n"))
    assert settings.admin_password is not None
    assert settings.admin_password.get_secret_value() == password


# ${ANCHORE_*}


def test_variables_are_put_into_values_of_ours(tmp_path: Path) -> None:
    text = """
services: {catalog: {runtime_inventory: {image_ttl_days: "${ANCHORE_TTL}"}}}
orchestrator:
  database_url: postgresql://${ANCHORE_DB_USER}:${ANCHORE_DB_PASSWORD}@db/kai
  allowed_networks: ["${ANCHORE_NET}", fd00::/8]
  denied_networks: ${ANCHORE_NETS}
"""
    variables = {
        "ANCHORE_TTL": "30",
        "ANCHORE_DB_USER": "u",
        "ANCHORE_DB_PASSWORD": "p: [\n#\"'",
        "ANCHORE_NET": "10.0.0.0/8",
        "ANCHORE_NETS": "10.1.0.0/16,10.2.0.0/16",
    }
    settings = loaded(config(tmp_path, text, **variables))
    assert settings.image_ttl_days == 30
    assert settings.database_url.get_secret_value() == "postgresql://u:p: [\n#\"'@db/kai"
    assert settings.allowed_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert len(settings.denied_networks) == 2


def test_a_variable_cannot_add_keys_or_further_variables(tmp_path: Path) -> None:
    text = "orchestrator: {admin_password: '${ANCHORE_A}'}"
    settings = loaded(config(tmp_path, text, ANCHORE_A="x'}\nport: 1\n${ANCHORE_B}", ANCHORE_B="no"))
    assert settings.admin_password is not None
    assert settings.admin_password.get_secret_value() == "x'}\nport: 1\n${ANCHORE_B}"
    assert settings.port == 8228


def test_other_names_are_not_variables(tmp_path: Path) -> None:
    settings = loaded(config(tmp_path, "orchestrator: {kai_binary: '${HOME}/$ANCHORE_A'}", HOME="/h", ANCHORE_A="a"))
    assert settings.kai_binary == "${HOME}/$ANCHORE_A"


@pytest.mark.parametrize("reference", ["ANCHORE_MISSING", "ANCHORE_TTL:-7"])
def test_a_variable_that_is_not_set_is_refused_by_its_name(tmp_path: Path, reference: str) -> None:
    message = refused(config(tmp_path, f"orchestrator: {{port: '${{{reference}}}'}}", ANCHORE_TTL="7"))
    assert f"config.yaml: orchestrator.port: the environment variable {reference} is not set" in message


def test_a_variable_that_is_empty_leaves_the_default(tmp_path: Path) -> None:
    assert loaded(config(tmp_path, "orchestrator: {port: '${ANCHORE_P}'}", ANCHORE_P="")).port == 8228


# secrets


@pytest.mark.parametrize("field", ["admin_password", "sealing_keys", "database_url"])
def test_secrets_never_show(field: str) -> None:
    value = {"database_url": f"postgresql://u:{CANARY}@db/x"}.get(field, CANARY)
    settings = Settings.model_validate({field: value})
    assert CANARY not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert getattr(settings, field).get_secret_value() == value


def test_an_error_does_not_show_what_was_given() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"database_url": f"mysql://u:{CANARY}@db/x"})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "variable", ["ANCHORE_ADMIN_PASSWORD", "ORCHESTRATOR_SEALING_KEYS", "ORCHESTRATOR_DATABASE_URL"]
)
def test_a_secret_and_its_file_together_are_refused(tmp_path: Path, variable: str) -> None:
    (tmp_path / "secret").write_text(CANARY)
    message = refused({variable: CANARY, f"{variable}_FILE": str(tmp_path / "secret")})
    assert f"{variable} and {variable}_FILE are both set; unset one of them" in message.splitlines()
    assert CANARY not in message


def test_only_the_line_end_of_a_secret_file_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b" pass word \r\n")
    settings = loaded({"ANCHORE_ADMIN_PASSWORD_FILE": str(tmp_path / "secret")})
    assert settings.admin_password is not None
    assert settings.admin_password.get_secret_value() == " pass word "


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "cannot read"), (b"\n", "is empty"), (b"\xff\xfe", "is not text in UTF-8")]
)
def test_a_secret_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    message = refused({"ANCHORE_ADMIN_PASSWORD_FILE": str(path)})
    assert message.startswith("ANCHORE_ADMIN_PASSWORD_FILE: ")
    assert complaint in message
    assert str(path) in message


# names that mean nothing


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ORCHESTRATOR_MAX_CONCURENT_RUNS", "did you mean ORCHESTRATOR_MAX_CONCURRENT_RUNS?"),
        ("ORCHESTRATOR_PORT", "did you mean ANCHORE_SERVICE_PORT?"),
        ("ORCHESTRATOR_REPORT_INTERVAL_SEC", "did you mean ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC?"),
        ("ORCHESTRATOR_XYZ", "means nothing here"),
    ],
)
def test_an_unknown_variable_of_ours_is_warned_of(name: str, hint: str) -> None:
    _, warnings = load_settings({name: "1"}, {})
    assert len(warnings) == 1
    assert name in warnings[0]
    assert warnings[0].endswith(hint)


def test_variables_that_kubernetes_makes_for_a_service_are_none_of_ours() -> None:
    links = {
        "ORCHESTRATOR_SERVICE_HOST": "10.0.0.7",
        "ORCHESTRATOR_SERVICE_PORT": "8228",
        "ORCHESTRATOR_SERVICE_PORT_HTTP": "8228",
        "ORCHESTRATOR_PORT": "tcp://10.0.0.7:8228",
        "ORCHESTRATOR_PORT_8228_TCP": "tcp://10.0.0.7:8228",
        "ORCHESTRATOR_PORT_8228_TCP_PROTO": "tcp",
    }
    assert loaded(links) == loaded({})


def test_only_the_given_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORE_SERVICE_PORT", "1")
    assert loaded({}).port == 8228
    assert Settings().port == 8228


def test_the_parts_of_a_database_make_its_url() -> None:
    parts = {"ANCHORE_DB_HOST": "db.example.com", "ANCHORE_DB_PASSWORD": "p@ss:w/rd%?#& ü"}
    url = loaded(parts).database_url.get_secret_value()
    assert url == "postgresql://postgres:p%40ss%3Aw%2Frd%25%3F%23%26%20%C3%BC@db.example.com:5432/postgres"
    assert conninfo_to_dict(url) == {
        "host": "db.example.com",
        "port": "5432",
        "dbname": "postgres",
        "user": "postgres",
        "password": "p@ss:w/rd%?#& ü",
    }


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1", "/var/run/postgresql"])
def test_the_host_of_a_database_may_be_an_address_or_a_socket(host: str) -> None:
    parts = {"ANCHORE_DB_HOST": host, "ANCHORE_DB_PORT": "5433", "ANCHORE_DB_NAME": "a/b", "ANCHORE_DB_USER": "u@x"}
    url = loaded(parts).database_url.get_secret_value()
    assert conninfo_to_dict(url) == {"host": host, "port": "5433", "dbname": "a/b", "user": "u@x"}


def test_the_password_of_a_database_is_never_shown() -> None:
    settings = loaded({"ANCHORE_DB_HOST": "db", "ANCHORE_DB_PASSWORD": CANARY})
    assert CANARY in settings.database_url.get_secret_value()
    assert CANARY not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize(
    ("ssl", "mode", "root", "parameters"),
    [
        ("", "", "", ""),
        ("true", "", "", "?sslmode=require"),
        ("true", "verify-full", "/etc/a ca.pem", "?sslmode=verify-full&sslrootcert=%2Fetc%2Fa%20ca.pem"),
        ("true", "verify-ca", "null", "?sslmode=verify-ca"),
        ("true", "null", "/ca.pem", "?sslmode=verify-full&sslrootcert=%2Fca.pem"),
        # Whoever only says how is taken at their word,
        ("", "verify-full", "", "?sslmode=verify-full"),
        ("", "", "/ca.pem", "?sslmode=verify-full&sslrootcert=%2Fca.pem"),
        # but Enterprise's chart says it also where there is to be none.
        ("false", "verify-full", "/ca.pem", ""),
        ("False", "verify-full", "null", ""),
        ("null", "null", "null", ""),
    ],
)
def test_parts_say_whether_the_database_is_connected_to_by_tls(ssl: str, mode: str, root: str, parameters: str) -> None:
    said = {"ANCHORE_DB_SSL": ssl, "ANCHORE_DB_SSL_MODE": mode, "ANCHORE_DB_SSL_ROOT_CERT": root}
    url = loaded({"ANCHORE_DB_HOST": "db"} | said).database_url.get_secret_value()
    assert url == f"postgresql://postgres@db:5432/postgres{parameters}"


@pytest.mark.parametrize("other", ["ANCHORE_DB_HOST", "ANCHORE_DB_PASSWORD", "ANCHORE_DB_PASSWORD_FILE"])
def test_a_database_given_in_both_ways_is_refused(tmp_path: Path, other: str) -> None:
    (tmp_path / "secret").write_text(CANARY)
    value = str(tmp_path / "secret") if other.endswith("_FILE") else CANARY
    message = refused({"ORCHESTRATOR_DATABASE_URL": "postgresql://db/x", other: value})
    assert "ORCHESTRATOR_DATABASE_URL and " + other.removesuffix("_FILE") in message
    assert CANARY not in message


def test_on_sqlite_the_roles_are_not_split() -> None:
    assert "ORCHESTRATOR_ROLE: on SQLite one process does everything" in refused({}, role="collector")
    assert loaded({"ANCHORE_DB_HOST": "db"}, role="collector").role == "collector"
    assert "'all', 'api' or 'collector'" in refused({"ORCHESTRATOR_ROLE": "leader"})


def test_parts_of_a_database_without_a_host_are_refused() -> None:
    message = refused({"ANCHORE_DB_USER": "u", "ANCHORE_DB_PASSWORD": CANARY})
    assert message.startswith("ANCHORE_DB_USER, ANCHORE_DB_PASSWORD: set without ANCHORE_DB_HOST")
    assert CANARY not in message


def test_a_url_in_the_file_may_be_made_of_the_parts(tmp_path: Path) -> None:
    text = "orchestrator: {database_url: 'postgresql://${ANCHORE_DB_USER}@${ANCHORE_DB_HOST}/kai'}"
    environ = config(tmp_path, text, ANCHORE_DB_USER="u", ANCHORE_DB_HOST="db")
    assert loaded(environ).database_url.get_secret_value() == "postgresql://u@db/kai"
    assert "ANCHORE_DB_NAME both say" in refused(environ | {"ANCHORE_DB_NAME": "other"})


@pytest.mark.parametrize(
    "given",
    [
        {"ORCHESTRATOR_TLS_CERTIFICATE_FILE": "c.pem"},
        {"ORCHESTRATOR_TLS_KEY_FILE": "k.pem"},
        {"ORCHESTRATOR_TLS_KEY_PASSPHRASE": CANARY},
    ],
)
def test_half_of_tls_is_refused(given: dict[str, str]) -> None:
    message = refused(given)
    assert message.startswith("ORCHESTRATOR_TLS_")
    assert CANARY not in message


@pytest.mark.parametrize("name", ["a/b", " x", "..", "x\n"])
def test_a_name_that_no_cluster_can_have_is_refused(name: str) -> None:
    assert refused({"ORCHESTRATOR_OWN_CLUSTER_NAME": name}).startswith("ORCHESTRATOR_OWN_CLUSTER_NAME: expected ")
