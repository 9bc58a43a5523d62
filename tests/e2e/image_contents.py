"""What is in the image that should not be there: in every layer of ours, in the file system it comes to, in its config.

The base image's own layers are the base image's matter; that pip is hidden in the end is ours.
"""

import json
import re
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

BASE = "docker.io/library/python:3.13-slim-bookworm"

UNWANTED_IN_LAYERS = re.compile(
    r"""
      (^|/)(pip|pip3[.\d]*|pip-[^/]*\.dist-info|setuptools|wheel|ensurepip)(/|$)   # what installs
    | (^|/)(gcc|cc|c\+\+|g\+\+|clang|ld|make|cargo|rustc)$                          # what compiles
    | \.(a|o|h|c|pyx|map|whl|deb|rpm|orig|rej|swp|log)$                             # what is compiled, or left over
    | (^|/)(tests?|testing|\.git|\.github|\.venv[^/]*|\.mypy_cache|\.pytest_cache|\.ruff_cache|fake-kai)(/|$)
    | (^|/)(\.env|\.netrc|\.pypirc|\.npmrc|\.pgpass|\.docker|\.ssh|\.aws|\.kube|id_[a-z0-9]+)(/|$)
    | (^|/)([^/]*\.(key|pem|crt|p12|db|sqlite3?)|sealing\.key|admin-password|kubeconfig)$
    | ^(root|tmp|var/tmp|var/log|home)/.+ | ^var/lib/apt/lists/.+ | ^var/cache/[^/]+/.+
    """,
    re.VERBOSE,
)

ALLOWED_IN_LAYERS = re.compile(
    r"""
      ^etc/ssl/certs/                                            # the system's CAs
    | site-packages/(certifi|pip_system_certs)/cacert\.pem$
    | site-packages/starlette/(__pycache__/)?testclient         # a module that is merely never imported
    """,
    re.VERBOSE,
)

SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|CREDENTIAL", re.IGNORECASE)


def problems(podman: str, image: str) -> list[str]:
    """Everything that should not be there, in words."""
    return [*_in_layers(podman, image), *_in_file_system(podman, image), *_in_config(podman, image)]


def _in_layers(podman: str, image: str) -> Iterator[str]:
    """Files that one of our layers adds, whether or not a later one hides them."""
    base = {layer.removeprefix("sha256:") for layer in _inspect(podman, BASE)["RootFS"]["Layers"]}
    ours = 0
    with _stream(podman, "save", "--format", "docker-archive", image) as archive:
        for entry in archive:
            number = entry.name.partition(".")[0].partition("/")[0]
            is_layer = entry.isfile() and entry.name.endswith(".tar") and number not in base
            layer = archive.extractfile(entry) if is_layer else None
            if layer is None:
                continue
            ours += 1
            with tarfile.open(fileobj=layer, mode="r|") as files:
                for file in files:
                    name = file.name.removeprefix("./")
                    if _is_unwanted(name) and not _is_whiteout(name):
                        yield f"layer {number[:12]} adds {name}"
    assert ours, "no layer above the base was found"


def _is_whiteout(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".wh.")


def _is_unwanted(name: str) -> bool:
    return bool(UNWANTED_IN_LAYERS.search(name)) and not ALLOWED_IN_LAYERS.search(name)


def _in_file_system(podman: str, image: str) -> Iterator[str]:
    """What the layers come to: no way to become somebody else, nothing for others to change, nothing that installs."""
    container = subprocess.run([podman, "create", image], capture_output=True, text=True, check=True).stdout.strip()
    try:
        seen = set()
        with _stream(podman, "export", container) as files:
            for file in files:
                name = file.name.removeprefix("./")
                seen.add(name)
                mode = file.mode
                if file.isfile() and mode & (stat.S_ISUID | stat.S_ISGID):
                    yield f"{name} makes its caller somebody else ({mode:o})"
                if mode & stat.S_IWOTH and (file.isfile() or (file.isdir() and not mode & stat.S_ISVTX)):
                    yield f"{name} can be written by everybody ({mode:o})"
                if name.startswith("usr/local/") and re.search(r"(^|/)(pip\d*|ensurepip|site-packages)(/|$)", name):
                    yield f"{name} is left of what installs software"
                if name.startswith("opt/") and (file.uid, file.gid) != (0, 0):
                    yield f"{name} belongs to {file.uid}:{file.gid}: the service could change its own code"
        wanted = ("usr/bin/tini", "usr/bin/setpriv", "usr/local/bin/kai", "config/config.yaml", "licenses/LICENSE")
        yield from (f"{name} is missing" for name in wanted if name not in seen)
    finally:
        subprocess.run([podman, "rm", container], capture_output=True, check=True)


def _in_config(podman: str, image: str) -> Iterator[str]:
    """How it is run, and what its history tells."""
    found = _inspect(podman, image)
    config = found["Config"]
    if config["User"] != "10001:0":
        yield f"runs as {config['User']}"
    if "8228/tcp" not in config["ExposedPorts"]:
        yield "8228 is not exposed"
    for variable in config["Env"]:
        if SECRET_NAME.search(variable.partition("=")[0]):
            yield f"the environment holds {variable.partition('=')[0]}"
    for step in found["History"]:
        if re.search(r"(PASSWORD|SECRET|TOKEN)\S*=", step.get("created_by", ""), re.IGNORECASE):
            yield f"the history tells of a secret: {step['created_by'][:80]}"
    for label in ("title", "description", "version", "revision", "licenses"):
        if not config["Labels"].get(f"org.opencontainers.image.{label}"):
            yield f"the label {label} is missing"


def _inspect(podman: str, image: str) -> dict[str, Any]:
    done = subprocess.run([podman, "image", "inspect", image], capture_output=True, text=True, check=True)
    return cast(dict[str, Any], json.loads(done.stdout)[0])


@contextmanager
def _stream(podman: str, *arguments: str) -> Iterator[tarfile.TarFile]:
    """The archive that podman writes to its output, read as it comes."""
    with subprocess.Popen([podman, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            yield archive
        process.stdout.read()
    assert process.returncode == 0, f"podman {arguments[0]} failed"
