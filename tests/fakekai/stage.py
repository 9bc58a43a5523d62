"""Builds what a recorded run of kai found around it, with the stand-in's hosts in the recorded servers' place."""

import base64
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakekai.recordings import REPOSITORY

FAKE_KAI = REPOSITORY / "bin" / "fake-kai"
TOKEN = "token-of-kai-view"
WRONG_TOKEN = "token-that-nobody-knows"


def pem(kind: str, content: str) -> bytes:
    """Something that looks like PEM."""
    body = base64.encodebytes(content.encode()).decode()
    return f"-----BEGIN {kind}-----\n{body}-----END {kind}-----\n".encode()


def b64(content: bytes) -> str:
    """Base64 without line breaks, as a kubeconfig holds it."""
    return base64.b64encode(content).decode()


CA, WRONG_CA = pem("CERTIFICATE", "the lab's authority"), pem("CERTIFICATE", "another authority")
CERTIFICATE, KEY = pem("CERTIFICATE", "inventory-user"), pem("PRIVATE KEY", "inventory-user")


def host(scenario: str, ca: bytes = CA) -> str:
    """The host that plays a server of the recordings: it knows one token and one CA, and hurries."""
    token, authority = (hashlib.sha256(secret).hexdigest()[:8] for secret in (TOKEN.encode(), ca))
    return f"{scenario}.hurry.token-{token}.ca-{authority}.fake-kai.test"


def kubeconfig(server_host: str, user: str, authority: str | None = None) -> str:
    """A kubeconfig as the recordings have it; `user` and `authority` are YAML."""
    authority = f'certificate-authority-data: "{b64(CA)}"' if authority is None else authority
    return f"""apiVersion: "v1"
kind: "Config"
preferences: {{}}
clusters:
- name: "lab-cluster"
  cluster:
    server: "https://{server_host}"
    {authority}
users:
- name: "lab-user"
  user: {user}
contexts:
- name: "lab-context"
  context:
    cluster: "lab-cluster"
    user: "lab-user"
current-context: "lab-context"
"""


def kubeconfigs() -> dict[str, str]:
    """The kubeconfigs that the recordings refer to by name; the originals are not among the recorded files."""
    token, lab = f'{{"token": "{TOKEN}"}}', host("lab")
    certificate = f"\n    client-certificate-data: {b64(CERTIFICATE)}\n    client-key-data: {b64(KEY)}"
    complete = kubeconfig(lab, token)
    return {
        "token": complete,
        "legacy": complete,
        "cert": kubeconfig(lab, certificate),
        "wrong-token": kubeconfig(lab, f'{{token: "{WRONG_TOKEN}"}}'),
        "anonymous": kubeconfig(lab, "{}"),
        "userpass": kubeconfig(lab, "{username: admin, password: 'secret'}"),
        "none": kubeconfig(host("forbidden.user-kai-none"), token),
        "nobody-cert": kubeconfig(host("forbidden.user-nobody-user"), certificate),
        "alpha": kubeconfig(host("lab.only-alpha.user-kai-alpha"), token),
        "insecure": kubeconfig(lab, token, "insecure-skip-tls-verify: true"),
        "no-ca": kubeconfig(lab, token, ""),
        "wrong-ca": kubeconfig(lab, token, f"certificate-authority-data: {b64(WRONG_CA)}"),
        "closed-port": kubeconfig(host("refused"), token),
        "blackhole": kubeconfig(host("blackhole"), token),
        "hang": kubeconfig(host("silent-tcp"), token),
        "hang-after-tls": kubeconfig(host("silent"), token),
        "hang-h2": kubeconfig(host("silent"), token),
        "srv-trunc": kubeconfig(host("truncated"), token),
        "empty": "",
        "malformed": "apiVersion: v1\nkind: Config\nclusters: [ {bad",
        "no-current-context": complete.replace('current-context: "lab-context"\n', ""),
    }


# What the recordings write in place of secrets and certificates.
SUBSTITUTES = {
    "<redacted:token kai-view>": TOKEN,
    "<redacted:token wrong>": WRONG_TOKEN,
    "<cert ca base64>": b64(CA),
    "<cert wrong-ca base64>": b64(WRONG_CA),
    "<cert inventory-user base64>": b64(CERTIFICATE),
    "<redacted:key inventory-user>": b64(KEY),
    "127.0.0.1:16443": host("lab"),
    "127.0.0.1:16999": host("refused"),
}
SECRETS = (TOKEN, WRONG_TOKEN, b64(KEY), KEY.decode())


@dataclass(frozen=True, slots=True)
class Stage:
    """The directories that a recorded run names: <workdir>, <home> and <kubeconfigs>."""

    root: Path

    def actual(self, text: str) -> str:
        """A recorded text with this stage's paths, secrets and servers in it."""
        for placeholder, value in SUBSTITUTES.items():
            text = text.replace(placeholder, value)
        for name in ("workdir", "home", "kubeconfigs"):
            text = text.replace(f"<{name}>", str(self.root / name))
        return text

    def recorded(self, text: str) -> str:
        """A text of a run here, as the recorder would have written it."""
        for name in ("workdir", "home", "kubeconfigs"):
            text = text.replace(str(self.root / name), f"<{name}>")
        return text

    def build(self, case: str, run: dict[str, Any]) -> None:
        """Write the files that the recorded run found."""
        for name in ("workdir", "home", "kubeconfigs"):
            (self.root / name).mkdir()
        for name, text in kubeconfigs().items():
            (self.root / "kubeconfigs" / name).write_text(text)
        for name, text in run["files"].items():
            path = self.root / "workdir" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if case == "o-config-unreadable":
                path.mkdir()  # file modes do not stop root, but nobody can read a directory
            elif case == "d-inline-ca-newlines":
                # The CA stands in full in this recording, and is the one to know.
                encoded = text.partition("cluster-cert: |")[2].partition("server:")[0]
                own_host = host("lab", base64.b64decode(encoded))
                path.write_text(self.actual(text.replace("127.0.0.1:16443", own_host)))
            else:
                path.write_text(self.actual(text))
        if case.startswith("x-statusless"):
            (self.root / "kubeconfigs" / "token").write_text(kubeconfig(host("statusless"), f"{{token: {TOKEN}}}"))

    def play(self, version: str, run: dict[str, Any], timeout: float, **streams: int) -> dict[str, Any]:
        """Run the stand-in, as this version, as the recorded run ran; what happened, in the recordings' shape.

        `streams` may put a descriptor in place of stdout or stderr, or name one that is `closed`.
        Raises subprocess.TimeoutExpired.
        """
        with self.start(version, run, **streams) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        found = {path: path.read_text() for path in (self.root / "workdir").glob("*.log")}
        return run | {
            "exit_code": process.returncode,
            "stdout": self.recorded(stdout or ""),
            "stderr": self.recorded(stderr or ""),
            "files_written": {path.name: text for path, text in found.items()},
        }

    def start(
        self, version: str, run: dict[str, Any], closed: int | None = None, **streams: int
    ) -> subprocess.Popen[str]:
        """The stand-in, started as `play` does."""
        command = [sys.executable, "-I", "-S", str(self.program(version)), *map(self.actual, run["argv"][1:])]
        if closed is not None:
            command = ["/bin/sh", "-c", f'exec "$@" {closed}>&-', "sh", *command]
        return subprocess.Popen(
            command,
            env={name: self.actual(value) for name, value in run["env"].items()},
            cwd=self.root / "workdir",
            stdin=subprocess.DEVNULL,
            stdout=streams.get("stdout", subprocess.PIPE),
            stderr=streams.get("stderr", subprocess.PIPE),
            text=True,
        )

    def program(self, version: str) -> Path:
        """The stand-in under a file name that makes it act as this version."""
        link = self.root / f"kai-{version}"
        if not os.path.lexists(link):
            link.symlink_to(FAKE_KAI)
        return link
