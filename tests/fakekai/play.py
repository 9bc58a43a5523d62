"""Starts bin/fake-kai on a scenario, as the service would."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fakekai.stage import CA, FAKE_KAI, KEY, TOKEN, WRONG_TOKEN, b64

TIMEOUT = 30.0  # seconds; far more than any of these runs takes


class Play:
    """Starts the stand-in on scenarios, with the files that the service renders (JSON, which is YAML too)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def command(self, scenario: str, user: dict[str, str] | None = None, **config: Any) -> list[str]:
        """The command line for a host, or for a whole URL."""
        cluster = {"server": f"https://{scenario}.fake-kai.test" if ":" not in scenario else scenario}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "look", "cluster": cluster | {"certificate-authority-data": b64(CA)}}],
            "users": [{"name": "look", "user": {"token": TOKEN} if user is None else user}],
            "contexts": [{"name": "look", "context": {"cluster": "look", "user": "look"}}],
            "current-context": "look",
        }
        (self.directory / "kubeconfig").write_text(json.dumps(document))
        settings = {
            "kubeconfig": {"path": str(self.directory / "kubeconfig"), "cluster": "prod-é"},
            "namespaces": ["all"],
            "verbose-inventory-reports": True,
            "log": {"structured": True, "level": "error"},
        }
        (self.directory / "kai.yaml").write_text(json.dumps(settings | config, indent=2, ensure_ascii=False))
        return [sys.executable, "-I", "-S", str(FAKE_KAI), "-c", str(self.directory / "kai.yaml")]

    def run(
        self, scenario: str, user: dict[str, str] | None = None, **config: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """A whole run. No credential is ever printed."""
        command = self.command(scenario, user, **config)
        run = subprocess.run(command, env=self.environment, capture_output=True, timeout=TIMEOUT, check=False)
        for secret in (TOKEN, WRONG_TOKEN, b64(KEY)):
            assert secret.encode() not in run.stdout + run.stderr
        return run

    def report(self, scenario: str, **config: Any) -> dict[str, Any]:
        """The report of a run that succeeds."""
        run = self.run(scenario, **config)
        assert (run.returncode, run.stderr) == (0, b"")
        return dict(json.loads(run.stdout))

    def images(self, scenario: str, **config: Any) -> dict[str, list[tuple[str, str]]]:
        """(tag, digest or "") by namespace, sorted."""
        results = self.report(scenario, **config)["results"]
        assert len({result["namespace"] for result in results}) == len(results)
        found = {result["namespace"]: result["images"] for result in results}
        return {name: sorted((one["tag"], one.get("repoDigest", "")) for one in found[name]) for name in sorted(found)}

    def failure(self, scenario: str, user: dict[str, str] | None = None, **config: Any) -> str:
        """The message of a run that fails as kai does."""
        run = self.run(scenario, user, **config)
        assert (run.returncode, run.stdout) == (1, b"")
        message = json.loads(run.stderr.splitlines()[-1])
        assert message["level"] == "error"
        return str(message["msg"])

    def start(self, scenario: str, **config: Any) -> subprocess.Popen[bytes]:
        """A run that is still going on, in a session of its own."""
        command = self.command(scenario, log={"level": "info"}, **config)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, start_new_session=True)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "HOME": str(self.directory)}
