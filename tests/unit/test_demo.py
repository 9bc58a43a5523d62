"""The demo keeps to itself, and its clusters are such as the API would take."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.config_file import SettingsError
from orchestrator.demo import BROKEN_CLUSTER, CHANGING_CLUSTER, banner, demo_clusters, demo_settings
from orchestrator.model.cluster import check_cluster
from orchestrator.model.credential import warnings_for
from orchestrator.model.instant import parse_instant
from orchestrator.settings import Settings


def test_keeps_a_database_of_its_own_and_looks_often() -> None:
    changed = demo_settings(Settings(data_dir=Path("/somewhere"), port=1))
    assert changed.data_dir == Path("/somewhere/demo")
    assert changed.database_url.get_secret_value() == "sqlite:////somewhere/demo/orchestrator.db"
    assert changed.kai_binary.endswith("bin/fake-kai")
    assert changed.report_interval_sec == 15
    assert changed.port == 1


def test_an_interval_that_was_set_stays() -> None:
    assert demo_settings(Settings(report_interval_sec=300)).report_interval_sec == 300


def test_a_database_that_was_chosen_is_not_touched() -> None:
    with pytest.raises(SettingsError, match="ORCHESTRATOR_DATABASE_URL"):
        demo_settings(Settings(database_url=SecretStr("sqlite:////real.db")))
    with pytest.raises(SettingsError, match="ANCHORE_DB_"):
        demo_settings(Settings(db_host="real"))


def test_its_clusters_are_valid_and_give_nothing_to_warn_of() -> None:
    now = parse_instant("2026-01-01T00:00:00Z")
    for config in demo_clusters():
        assert check_cluster(config) is config
        assert warnings_for(config, now) == []
    assert {BROKEN_CLUSTER, CHANGING_CLUSTER} <= {config.cluster_name for config in demo_clusters()}


def test_the_banner_can_be_pasted(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("made-up\n")
    text = banner(url="http://127.0.0.1:1", username="admin", password_file=file)
    assert "curl -u admin:made-up http://127.0.0.1:1/v1/enterprise/inventories\n" in text
    for given in (None, tmp_path / "missing"):
        text = banner(url="http://127.0.0.1:1", username="admin", password_file=given)
        assert 'curl -u admin:"$ANCHORE_ADMIN_PASSWORD" http://127.0.0.1:1/v1' in text
