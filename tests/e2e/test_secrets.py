"""A canary for a credential: after every kind of failure it is in no file, log, answer, process list or leftover."""

import base64
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.certificates import make_pair
from tests.e2e.server import (
    CLUSTERS,
    INVENTORIES,
    Server,
    cluster_body,
    environment,
    processes_in,
    running_server,
    until,
)

FAILURES = (
    "ok",
    "wrong-token",
    "forbidden",
    "wrong-ca",
    "refused",
    "connection-lost",
    "config-error",
    "noisy-failure",
    "silent-exit",
    "nothing",
    "half",
    "garbage",
    "bad-utf8",
    "other-cluster",
    "empty-server",
    "flood.size-2m",
    "panic",
    "killed",
    "deaf",
)


def forms(canary: str) -> list[bytes]:
    """The canary as it may be written: plain, base64, hex."""
    plain = canary.encode()
    return [plain, base64.b64encode(plain)[:-4], plain.hex().encode()]


def files_holding(canary: str, *directories: Path) -> list[str]:
    """The files below these directories in which the canary is found."""
    found = []
    for directory in directories:
        for path in directory.rglob("*"):
            with suppress(OSError):
                content = path.read_bytes() if path.is_file() else b""
                found += [str(path) for form in forms(canary) if form in content]
    return found


def processes_telling(canary: str) -> list[str]:
    """The processes whose arguments or environment hold the canary."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            for file in ("cmdline", "environ"):
                with suppress(OSError):
                    content = (entry / file).read_bytes()
                    found += [f"{entry.name}/{file}" for form in forms(canary) if form in content]
    return found


def answers(server: Server, names: list[str]) -> list[str]:
    """Everything that can be asked about these clusters."""
    paths = [INVENTORIES, CLUSTERS, "/health", "/ready", "/version"]
    for name in names:
        paths += [f"{CLUSTERS}/{name}", f"{CLUSTERS}/{name}/status", f"{CLUSTERS}/{name}/runs?limit=100"]
    return [server.http.get(path).text for path in paths]


def test_a_credential_is_nowhere_but_in_kais_own_hands(data_dir: Path) -> None:
    canary = f"canary{secrets.token_hex(16)}"
    key = f"-----BEGIN EC PRIVATE KEY-----\n{canary}\n-----END EC PRIVATE KEY-----\n"
    env = environment(ORCHESTRATOR_KAI_TIMEOUT_SEC="3", ORCHESTRATOR_KAI_OUTPUT_LIMIT_BYTES="1000000")
    with running_server(data_dir, env=env) as server:
        (root,) = server.workdir_roots()
        names = []
        for scenario in FAILURES:
            name = scenario.partition(".")[0]
            names += [name, f"{name}-key"]
            server.add(name, scenario, credential=canary)
            server.add(
                f"{name}-key",
                scenario,
                credential_type="private_key",
                client_certificate="not a certificate",
                credential=key,
            )
        assert processes_telling(canary) == []
        for name in names:
            server.wait_for_health(name, "healthy", "failing")
            assert processes_telling(canary) == []
        said = [*answers(server, names), *(refused(server, canary))]
        assert list(Path(root).iterdir()) == []
        assert "Max core file size        0 " in Path(f"/proc/{server.process.pid}/limits").read_text()
        assert server.stop() == 0
        assert not Path(root).exists()
        assert processes_in(root) == []
        said.append(server.output)
    assert [text[:200] for text in said for form in forms(canary) if form in text.encode()] == []
    assert files_holding(canary, data_dir, data_dir.parent) == []


def test_what_a_killed_service_left_of_a_credential_is_gone_after_the_next_start(data_dir: Path) -> None:
    canary = f"canary{secrets.token_hex(16)}"
    with running_server(data_dir) as server:
        server.add("hanging", "hang", credential=canary)
        server.wait_until_looking("hanging")
        (root,) = server.workdir_roots()
        server.process.kill()
        server.process.wait()
    with running_server(data_dir) as server:
        assert not Path(root).exists()
        assert processes_in(root) == []
        assert server.stop() == 0
    assert files_holding(canary, data_dir, data_dir.parent) == []


def test_the_services_own_secrets_are_told_to_nobody(data_dir: Path, tmp_path: Path) -> None:
    canary = f"canary{secrets.token_hex(16)}"
    files = tmp_path / "secrets"
    files.mkdir()
    (files / "secret").write_text(canary)
    (files / "key").write_text(base64.b64encode(canary[:32].encode()).decode())
    pair = make_pair(files, passphrase=canary)
    own = {
        "ANCHORE_ADMIN_PASSWORD": "",
        "ANCHORE_ADMIN_PASSWORD_FILE": str(files / "secret"),
        "ORCHESTRATOR_TLS_KEY_PASSPHRASE_FILE": str(files / "secret"),
        "ORCHESTRATOR_SEALING_KEYS_FILE": str(files / "key"),
        "ANCHORE_LOG_LEVEL": "DEBUG",
    }
    with closed_port() as port:
        database = {"ANCHORE_DB_HOST": "127.0.0.1", "ANCHORE_DB_PORT": str(port)}
        database["ANCHORE_DB_PASSWORD_FILE"] = str(files / "secret")
        env = environment(**own, **pair.environment(), **database)
        with running_server(data_dir, env=env, ready=False) as server:
            until(lambda: "cannot be used yet" in server.output or None, process=server.process, what=server.log)
            assert processes_telling(canary) == []
            assert server.stop() == 0
            assert canary not in server.output
    with running_server(data_dir, env=environment(**own, **pair.environment()), ready=False) as server:
        until(lambda: "listening" in server.output or None, process=server.process, what=server.log)
        assert processes_telling(canary) == []
        assert server.stop() == 0
        said = server.output
    assert [form for form in forms(canary) if form in said.encode()] == []
    assert files_holding(canary, data_dir) == []


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else gets meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def refused(server: Server, canary: str) -> list[str]:
    """The answers to requests that are refused, with the canary in all kinds of wrong places."""
    good = cluster_body("refused", "ok", credential=canary)

    def body(**changes: Any) -> dict[str, Any]:
        return good | changes

    bodies: list[Any] = [
        body(cluster_name="a/b"),
        body(cluster_config=good["cluster_config"] | {"credential": {"token": canary}}),
        body(cluster_config=good["cluster_config"] | {"credential": [canary]}),
        body(cluster_config=good["cluster_config"] | {"cluster_server": f"https://user:{canary}@10.0.0.1"}),
        body(cluster_config=good["cluster_config"] | {"namespaces": [canary.upper()]}),
        body(cluster_config=good["cluster_config"] | {"credential_type": canary}),
        body(cluster_config=canary),
        [canary],
        canary,
    ]
    responses = [server.http.post(CLUSTERS, json=each) for each in bodies]
    responses.append(server.http.post(CLUSTERS, content=f'{{"credential": "{canary}"', headers=JSON))
    # The stored credential must not follow a change of the server.
    masked = cluster_body("ok", "one", credential="******")
    responses.append(server.http.put(f"{CLUSTERS}/ok", json=masked))
    assert [each.status_code for each in responses] == [400] * len(responses)
    return [each.text for each in responses]


JSON = {"content-type": "application/json"}
