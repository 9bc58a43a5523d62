"""Every scenario of bin/fake-kai does, as a process, what its docstring says."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakekai.play import TIMEOUT, Play
from tests.fakekai.stage import CERTIFICATE, FAKE_KAI, KEY, WRONG_TOKEN, b64

VERSIONS = ("0.2.1", "0.2.2", "0.3.0", "0.3.2", "0.4.0", "0.5.0")


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def test_ok_is_a_realistic_cluster(play: Play) -> None:
    found = play.images("ok")
    everything = [image for images in found.values() for image in images]
    tags = [tag for tag, _ in everything]
    assert len(found) > 5
    assert not all(found.values())
    assert len({digest for tag, digest in everything if tag == "ghcr.io/acme/api:stable"}) == 2
    assert any(digest and tag.endswith(digest.removeprefix("sha256:")) for tag, digest in everything)
    assert any(not digest and not tag.endswith(":") for tag, digest in everything)
    assert any(not digest and tag.endswith(":") for tag, digest in everything)
    assert not "".join(tags).isascii()
    assert play.images("ok") == found


def test_reports_come_in_another_order_in_every_run(play: Play) -> None:
    orders = {tuple(result["namespace"] for result in play.report("ok")["results"]) for _ in range(5)}
    assert len(orders) > 1


def test_a_seed_makes_another_cluster(play: Play) -> None:
    assert play.images("ok.seed-web") != play.images("ok")
    assert play.images("ok.seed-web").keys() == play.images("ok").keys()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_host_name_chooses_the_version(version: str, play: Play) -> None:
    report = play.report("one.v" + version.replace(".", "-"))
    assert report.get("cluster_name") == (None if version < "0.3" else "prod-é")
    digests = [image.get("repoDigest") for result in report["results"] for image in result["images"]]
    assert any(digests) == (version != "0.2.1")


def test_sizes(play: Play) -> None:
    found = play.images("ok.images-500.namespaces-20")
    assert len(found) == 20
    assert len({image for images in found.values() for image in images}) == 500
    assert not any(play.images("empty").values())
    assert list(play.images("one")) == ["default"]


def test_namespaces_asked_for(play: Play) -> None:
    every = play.images("ok")
    assert play.images("ok", namespaces=[]) == play.images("ok", namespaces=["shop", "all"]) == every
    assert play.images("ok", namespaces=["shop", "none"]) == {"none": [], "shop": every["shop"]}
    twice = play.report("ok", namespaces=["shop", "shop"])["results"]
    assert [result["namespace"] for result in twice] == ["shop", "shop"]
    nameless = play.report("ok", namespaces=[""])["results"]
    assert [result.keys() for result in nameless] == [{"images"}]
    assert len(nameless[0]["images"]) == sum(map(len, every.values()))


def test_images_that_come_and_go(play: Play) -> None:
    deadline = time.monotonic() + TIMEOUT
    for scenario in ("churn.period-100ms", "cron.period-100ms"):
        seen: set[tuple[tuple[str, str], ...]] = set()
        while len(seen) < 2:
            seen.add(tuple(play.images(scenario)["batch"]))
            assert time.monotonic() < deadline
    codes: set[int] = set()
    while len(codes) < 2:
        codes.add(play.run("flaky.period-100ms").returncode)
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("scenario", "part"),
    [
        ("wrong-token", "failed to list namespaces: Unauthorized"),
        ("rejected", "the server rejected our request for an unknown reason (get namespaces)"),
        ("wrong-ca", "x509: certificate signed by unknown authority"),
        ("wrong-host", "x509: certificate is valid for kubernetes, kubernetes.default, not wrong-host.fake-kai.test"),
        ("refused", "connect: connection refused"),
        ("no-such-host", "lookup no-such-host.fake-kai.test: no such host"),
        ("deadline", "context deadline exceeded"),
        ("client-timeout", "Client.Timeout exceeded"),
        ("tls-timeout", "TLS handshake timeout"),
        ("connection-lost", "http2: client connection lost"),
        ("timed-out-results", "Failed to get Image Results: timed out waiting for results"),
        ("truncated", "unexpected EOF"),
        ("unroutable", "i/o timeout"),
        ("bad-header", 'invalid header field value for "Authorization"'),
        ("forbidden", 'namespaces is forbidden: User "system:serviceaccount:default:kai" cannot list resource'),
        ("forbidden-namespaces.user-me", 'namespaces is forbidden: User "system:serviceaccount:default:me"'),
        ("forbidden-pods.in-shop", 'pods is forbidden: User "system:serviceaccount:default:kai" cannot list resource'),
        ("noisy-failure", "Unauthorized"),
        ("silent.hurry", "context deadline exceeded"),
        ("silent-tcp.hurry", "TLS handshake timeout"),
        ("blackhole.hurry", "i/o timeout"),
        ("ok.token-00000000", "Unauthorized"),
        ("ok.ca-00000000", "x509: certificate signed by unknown authority"),
        ("https://10.0.0.1:6443", "dial tcp 10.0.0.1:6443: connect: connection refused"),
        ("https://kubernetes.example", "dial tcp: lookup kubernetes.example: no such host"),
        ("http://ok.fake-kai.test", "the server rejected our request for an unknown reason"),
    ],
)
def test_failures(scenario: str, part: str, play: Play) -> None:
    assert part in play.failure(scenario)


def test_rights(play: Play) -> None:
    assert "namespaces is forbidden" in play.failure("ok.only-shop")
    assert 'in the namespace "batch"' in play.failure("ok.only-shop", namespaces=["shop", "batch"])
    assert play.images("ok.only-shop", namespaces=["shop"])["shop"]
    assert play.images("forbidden-namespaces", namespaces=["shop"])["shop"]
    assert 'in the namespace "shop"' in play.failure("forbidden", namespaces=["shop"])
    assert 'User "system:anonymous" cannot list' in play.failure("ok", user={})


def test_an_incomplete_kubeconfig_falls_back_to_the_one_at_home(play: Play) -> None:
    play.command("one")
    (play.directory / ".kube").mkdir()
    (play.directory / "kubeconfig").rename(play.directory / ".kube" / "config")
    (play.directory / "incomplete").write_text("{}")
    found = play.images("refused", kubeconfig={"path": str(play.directory / "incomplete")})
    assert list(found) == ["default"]


def test_client_certificates(play: Play) -> None:
    pair = {"client-certificate-data": b64(CERTIFICATE), "client-key-data": b64(KEY)}
    assert play.run("ok", user=pair).returncode == 0
    assert "find any PEM data in key" in play.failure("ok", user=pair | {"client-key-data": b64(b"garbage")})
    assert "illegal base64 data at input byte 0" in play.failure("ok", user=pair | {"client-key-data": "abc"})
    assert 'User "me" cannot list' in play.failure("forbidden.user-me", user=pair)
    assert "Unauthorized" in play.failure("ok.token-00000000", user={"token": WRONG_TOKEN})


@pytest.mark.parametrize(
    ("scenario", "added", "taken"),
    [
        ("missing-namespace", 0, 1),
        ("extra-namespace", 1, 0),
        ("duplicate-namespace", 1, 0),
        ("nameless-namespace", 1, 0),
    ],
)
def test_lies_about_namespaces(scenario: str, added: int, taken: int, play: Play) -> None:
    asked = ["shop", "batch"]
    names = [result.get("namespace") for result in play.report(scenario, namespaces=asked)["results"]]
    assert len(names) == 2 + added - taken
    assert set(names) != set(asked) or len(names) != len(set(names))


def test_lies_about_the_cluster(play: Play) -> None:
    assert play.report("other-cluster")["cluster_name"] != "prod-é"
    no_version = play.report("no-version")
    assert no_version["serverVersionMetadata"]["gitVersion"] == ""
    assert len(no_version["results"]) > 5
    empty = play.report("empty-server")
    assert (empty["results"], empty["serverVersionMetadata"]["gitVersion"]) == ([], "")
    assert play.report("empty-server", namespaces=["shop"])["results"] == [{"namespace": "shop", "images": []}]


def test_entries_that_cannot_be_taken(play: Play) -> None:
    assert max(len(tag) for tag, _ in play.images("oversize-tag")["batch"]) > 4096
    assert any("\0" in tag for tag, _ in play.images("nul-tag")["batch"])


def test_broken_output(play: Play) -> None:
    assert play.run("nothing").stdout == b""
    for scenario in ("half", "garbage", "bad-utf8"):
        run = play.run(scenario)
        assert run.returncode == 0
        with pytest.raises(ValueError):  # noqa: PT011  (of JSON or of UTF-8)
            json.loads(run.stdout)
    assert len(play.run("noisy").stderr) > 1024 * 1024
    assert len(play.run("noisy-failure").stderr) > 1024 * 1024
    assert len(play.run("flood.size-3m").stdout) >= 3 * 1024 * 1024


def test_other_ends(play: Play) -> None:
    config_error = play.run("config-error")
    assert (config_error.returncode, config_error.stderr) == (1, b"")
    assert config_error.stdout.startswith(b"failed to load application config:")
    panic = play.run("panic")
    assert panic.returncode == 2
    assert b"goroutine 1 [running]" in panic.stderr
    silent = play.run("silent-exit")
    assert (silent.returncode, silent.stdout, silent.stderr) == (1, b"", b"")
    assert play.run("killed").returncode == -signal.SIGKILL


def test_a_flood_without_end(play: Play) -> None:
    with play.start("flood") as process:
        assert process.stdout is not None
        assert len(process.stdout.read(8 * 1024 * 1024)) == 8 * 1024 * 1024
        process.terminate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_hanging_run_ends_at_a_signal(number: signal.Signals, play: Play) -> None:
    with play.start("hang") as process:
        read_start_up(process)
        process.send_signal(number)
        assert process.wait(TIMEOUT) == -number


def read_start_up(process: subprocess.Popen[bytes]) -> None:
    """Wait for the two lines that kai 0.5.0 logs before it asks the server."""
    assert process.stderr is not None
    assert [b"INFO" in process.stderr.readline() for _ in range(2)] == [True, True]


def test_a_deaf_run_ends_by_kill_only(play: Play) -> None:
    wanted = sum(1 << (number - 1) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    deadline = time.monotonic() + TIMEOUT
    with play.start("deaf") as process:
        while ignored_signals(process.pid) & wanted != wanted:
            assert time.monotonic() < deadline
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()
        assert process.wait(TIMEOUT) == -signal.SIGKILL


def ignored_signals(pid: int) -> int:
    """The mask of signals that a process ignores."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^SigIgn:\s*(\w+)", status, re.MULTILINE)[0], 16)


@pytest.mark.parametrize(
    ("scenario", "same_group", "same_session"),
    [("orphan", True, True), ("orphan-group", False, True), ("orphan-session", False, False)],
)
def test_an_orphan_holds_the_pipes(scenario: str, same_group: bool, same_session: bool, play: Play) -> None:
    with play.start(scenario) as process:
        assert process.wait(TIMEOUT) == 0
        (orphan,) = processes_about(play.directory)
        assert (os.getpgid(orphan) == process.pid, os.getsid(orphan) == process.pid) == (same_group, same_session)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        report = process.stdout.read()
        assert process.stdout.read() is None  # nothing more to read, but not at its end either
        os.kill(orphan, signal.SIGKILL)
    json.loads(report)


def processes_about(directory: Path) -> list[int]:
    """The processes whose command line names something in a directory."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if str(directory).encode() in command_line(pid)]


def command_line(pid: int) -> bytes:
    """Empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_delay(play: Play) -> None:
    started = time.monotonic()
    play.report("ok.delay-300ms")
    assert time.monotonic() - started > 0.3


def test_only_a_deadline_ends_a_server_that_never_answers(play: Play) -> None:
    endless = {"kubernetes": {"request-timeout-seconds": 0}}
    with play.start("silent.hurry", **endless) as process:
        read_start_up(process)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()
    assert "timed out waiting for results" in play.failure("silent.hurry", namespaces=["shop"])


def test_periodic_mode_never_ends(play: Play) -> None:
    with play.start("one", mode="periodic", **{"polling-interval-seconds": "0.05"}) as process:
        assert process.stdout is not None
        reports = 0
        while reports < 3:
            reports += b'"timestamp"' in process.stdout.readline()
        process.terminate()


@pytest.mark.parametrize("scenario", ["nonsense", "ok.nonsense", "ok.v9-9-9", "ok.images-many"])
def test_a_misspelt_scenario_is_not_taken_for_a_failing_cluster(scenario: str, play: Play) -> None:
    run = play.run(scenario)
    assert run.returncode == 70
    assert run.stderr.startswith(b"fake-kai: ")


def test_it_runs_as_a_single_file_in_an_empty_environment(tmp_path: Path) -> None:
    copy = tmp_path / "kai"
    copy.write_bytes(FAKE_KAI.read_bytes())
    copy.chmod(0o755)
    path = f"{Path(sys.executable).parent}:{os.defpath}"
    run = subprocess.run([copy, "version", "-o", "json"], env={"PATH": path}, capture_output=True, check=True)
    assert json.loads(run.stdout)["version"] == "0.5.0"
    help_text = subprocess.run([copy, "stand-in"], env={"PATH": path}, capture_output=True, check=True)
    assert b"It is not kai" in help_text.stdout
