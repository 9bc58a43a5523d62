"""What is taken from the environment, from the file that ANCHORE_ENV_FILE names, and what is not meant for us."""

from pathlib import Path

import pytest

from orchestrator.settings_loader import load_settings
from tests.unit.test_settings import CANARY, loaded, refused


@pytest.mark.parametrize("name", ["ANCHORE_DB_PORT", "ANCHORE_SERVICE_PORT", "ORCHESTRATOR_PORT"])
def test_what_kubernetes_says_of_a_service_beside_us_is_not_meant_for_us(name: str) -> None:
    assert loaded({name: "tcp://10.96.0.7:5432"}) == loaded({})


def env_file(tmp_path: Path, text: str, **environ: str) -> dict[str, str]:
    """An environment whose ANCHORE_ENV_FILE holds that text."""
    (tmp_path / "env").write_text(text, encoding="utf-8")
    return {"ANCHORE_ENV_FILE": str(tmp_path / "env"), **environ}


def test_variables_come_from_a_file_and_the_environment_wins(tmp_path: Path) -> None:
    text = """
# a comment
ANCHORE_SERVICE_PORT=1
ANCHORE_LOG_LEVEL = no, this is not how it is written
export ORCHESTRATOR_KAI_TIMEOUT_SEC=11
  ANCHORE_ADMIN_PASSWORD="a # b=c'"
ORCHESTRATOR_HOST='::'
"""
    message = refused(env_file(tmp_path, text))
    assert message == f"ANCHORE_ENV_FILE: line 4 of {tmp_path / 'env'} is not NAME=VALUE; correct or remove it"
    text = text.replace("ANCHORE_LOG_LEVEL = no, this is not how it is written", "ANCHORE_LOG_LEVEL=\n")
    settings = loaded(env_file(tmp_path, text, ANCHORE_SERVICE_PORT="2", ORCHESTRATOR_KAI_TIMEOUT_SEC=""))
    assert (settings.port, settings.kai_timeout_sec, settings.host, settings.log_level) == (2, 11, "::", "INFO")
    assert settings.admin_password is not None
    assert settings.admin_password.get_secret_value() == "a # b=c'"


def test_variables_from_a_file_are_put_into_config_yaml_and_may_name_its_place(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("orchestrator: {port: '${ANCHORE_PORT}', admin_password: '${ANCHORE_PW}'}")
    text = f"ANCHORE_PORT=1234\nANCHORE_PW='{CANARY}'\nANCHORE_CONFIG_DIR={tmp_path}\n"
    settings = loaded(env_file(tmp_path, text))
    assert settings.port == 1234
    assert settings.admin_password is not None
    assert settings.admin_password.get_secret_value() == CANARY


def test_foreign_variables_in_the_file_are_told_by_name_and_left_alone(tmp_path: Path) -> None:
    _, warnings = load_settings(env_file(tmp_path, f"PATH={CANARY}\nKAI_MODE=x\nORCHESTRATOR_HOSTS=x"), {})
    assert warnings == [
        f"{tmp_path / 'env'}: these variables mean nothing here: KAI_MODE, PATH",
        "the environment variable ORCHESTRATOR_HOSTS means nothing here; did you mean ORCHESTRATOR_HOST?",
    ]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", CANARY.encode(), b"=" + CANARY.encode()])
def test_a_file_of_variables_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "env"
    if content is not None:
        path.write_bytes(content)
    message = refused({"ANCHORE_ENV_FILE": str(path)})
    assert message.startswith("ANCHORE_ENV_FILE: ")
    assert str(path) in message
    assert CANARY not in message
