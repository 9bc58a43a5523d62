"""Looks at clusters of every kind with bin/fake-kai: the report, or the right reason, and nothing left behind."""

import errno
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from pydantic import SecretStr
from structlog.testing import capture_logs
from structlog.typing import EventDict

from orchestrator.kai.reasons import ReasonCode
from orchestrator.kai.runner import KaiRunner, Look
from orchestrator.kai.workdir import Workdirs
from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.network import NetworkRules
from orchestrator.model.report import UNKNOWN_DIGEST
from orchestrator.model.run import RunState
from tests.integration.kai.conftest import open_descriptors, processes_in, wait_until
from tests.integration.kai.looks import CANARY, FAKE_KAI, PATH, cluster, make_runner

pytestmark = pytest.mark.anyio

VERSIONS = ("0.2.1", "0.2.2", "0.3.0", "0.3.2", "0.4.0", "0.5.0")


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def workdirs(tmp_path: Path) -> Iterator[Workdirs]:
    parent = tmp_path / "shm"
    parent.mkdir(mode=0o700)
    with Workdirs.open(parent) as opened:
        yield opened
    assert list(parent.iterdir()) == []


@pytest.fixture(autouse=True)
async def nothing_left(workdirs: Workdirs, logs: list[EventDict]) -> AsyncIterator[None]:
    """After each test: no file, no process, no descriptor, no secret in a log."""
    before = open_descriptors()
    yield
    assert list(workdirs.root.iterdir()) == []
    await anyio.to_thread.run_sync(wait_until, lambda: not processes_in(workdirs.root))
    assert open_descriptors() <= before + 1
    assert CANARY not in repr(logs)


@pytest.fixture(autouse=True)
def no_blocking(nothing_left: None) -> Iterator[BlockBuster]:
    with blockbuster_ctx("orchestrator") as blockbuster:
        yield blockbuster


@pytest.fixture
async def runner(workdirs: Workdirs) -> KaiRunner:
    return await make_runner(workdirs)


def check_failed(look: Look, code: str) -> None:
    assert look.reason is not None
    assert look.reason.code == code, look
    assert look.report is None
    timed_out = code == "timeout"
    assert look.outcome is (RunState.TIMED_OUT if timed_out else RunState.FAILED)
    assert CANARY not in repr(look)
    assert "\x00" not in repr(look)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [CredentialType.TOKEN, CredentialType.PRIVATE_KEY])
async def test_every_version_of_kai_is_understood(
    tmp_path: Path, workdirs: Workdirs, version: str, kind: CredentialType
) -> None:
    binary = tmp_path / f"kai-{version}"
    binary.symlink_to(FAKE_KAI)
    runner = await make_runner(workdirs, binary=str(binary))
    look = await runner.look(cluster("lab", kind=kind))
    assert look.outcome is RunState.SUCCEEDED, look
    assert look.reason is None
    assert (look.exit_code, look.kai_version) == (0, version)
    assert look.stdout_excerpt == look.stderr_excerpt == ""
    assert look.report is not None
    assert look.report.server_version == "v1.20.2"
    images = {each.namespace: each.images for each in look.report.namespaces}
    assert len(images) == 10
    assert images["empty-ns"] == frozenset()
    assert any(digest != UNKNOWN_DIGEST for _, digest in images["alpha"])
    named = await runner.look(cluster("lab", namespaces=("beta", "alpha", "beta")))
    assert named.report is not None
    assert {each.namespace for each in named.report.namespaces} == {"alpha", "beta"}


FAILURES = {
    "wrong-token": "unauthorized",
    "wrong-ca": "tls_untrusted_ca",
    "wrong-host": "tls_wrong_host",
    "refused": "unreachable",
    "no-such-host": "unreachable",
    "deadline": "timeout",
    "client-timeout": "timeout",
    "tls-timeout": "timeout",
    "connection-lost": "timeout",
    "timed-out-results": "timeout",
    "truncated": "unreachable",
    "forbidden": "forbidden",
    "forbidden-namespaces": "forbidden",
    "forbidden-pods": "forbidden",
    "noisy-failure": "unauthorized",
    "config-error": "config_rejected",
    "silent-exit": "no_output",
    "silent.hurry": "timeout",
    "silent-tcp.hurry": "timeout",
    "blackhole.hurry": "timeout",
    "empty-server": "not_kubernetes",
    "no-version": "not_kubernetes",
    "other-cluster": "other_cluster",
    "nameless-namespace": "report_incomplete",
    "duplicate-namespace": "report_incomplete",
    "nothing": "no_output",
    "half": "not_json",
    "garbage": "not_json",
    "bad-utf8": "not_json",
    "panic": "crashed",
    "killed": "crashed",
}


@pytest.mark.parametrize("version", ["0.2.1", "0.5.0"])
@pytest.mark.parametrize("scenario", FAILURES)
async def test_every_failure_has_its_reason(runner: KaiRunner, scenario: str, version: str) -> None:
    if (scenario, version) == ("other-cluster", "0.2.1"):
        scenario = "nothing"  # kai 0.2 names no cluster: there is nothing to tell another one's report by
    look = await runner.look(cluster(f"{scenario}.v{version.replace('.', '-')}"))
    check_failed(look, FAILURES[scenario])
    exit_codes = {"panic": 2, "killed": -9}
    lies = FAILURES[scenario] in {"other_cluster", "not_kubernetes", "report_incomplete", "not_json"}
    assert look.exit_code == exit_codes.get(scenario, 0 if lies or scenario == "nothing" else 1)


@pytest.mark.parametrize(
    ("scenario", "namespaces", "said"),
    [
        ("forbidden-pods.in-beta", ("alpha", "beta"), "list pods in the namespace beta"),
        ("forbidden-namespaces", (), "list namespaces at the cluster scope"),
        ("ok.only-alpha.user-kai", (), "kai may not list namespaces"),
    ],
)
async def test_the_missing_permission_is_named(
    runner: KaiRunner, scenario: str, namespaces: tuple[str, ...], said: str
) -> None:
    look = await runner.look(cluster(scenario, namespaces=namespaces))
    assert look.reason is not None
    assert said in look.reason.message


@pytest.mark.parametrize("scenario", ["missing-namespace", "extra-namespace", "duplicate-namespace", "empty-server"])
async def test_a_report_that_does_not_answer_the_question_is_refused(runner: KaiRunner, scenario: str) -> None:
    whole = await runner.look(cluster("ok"))
    assert whole.report is not None
    asked = tuple(each.namespace for each in whole.report.namespaces)
    look = await runner.look(cluster(scenario, namespaces=asked))
    check_failed(look, "not_kubernetes" if scenario == "empty-server" else "report_incomplete")
    assert (await runner.look(cluster("ok", namespaces=asked))).outcome is RunState.SUCCEEDED


@pytest.mark.parametrize("scenario", ["flood", "flood.size-100m"])
async def test_a_flood_is_cut_off(workdirs: Workdirs, scenario: str) -> None:
    runner = await make_runner(workdirs, stdout_limit_bytes=4 * 1024 * 1024)
    look = await runner.look(cluster(scenario))
    check_failed(look, "output_too_large")
    assert len(look.stdout_excerpt) <= 2048


@pytest.mark.parametrize("scenario", ["hang", "deaf"])
async def test_what_hangs_is_ended_at_the_deadline(workdirs: Workdirs, scenario: str) -> None:
    runner = await make_runner(workdirs, timeout_seconds=2)
    assert await runner.version() is not None
    look = await runner.look(cluster(scenario))
    check_failed(look, "timeout")
    assert look.exit_code == (-15 if scenario == "hang" else -9)
    assert look.reason is not None
    assert "2 s" in look.reason.message


async def test_what_gives_way_is_no_failure_of_the_cluster_alone(runner: KaiRunner) -> None:
    give_way = anyio.Event()
    give_way.set()
    look = await runner.look(cluster("hang"), give_way=give_way)
    assert look.outcome is RunState.GAVE_WAY
    assert look.report is None
    assert look.reason is not None
    assert look.reason.code == "gave_way"


@pytest.mark.parametrize("scenario", ["noisy", "orphan", "orphan-group", "orphan-session"])
async def test_what_only_behaves_badly_succeeds(runner: KaiRunner, workdirs: Workdirs, scenario: str) -> None:
    look = await runner.look(cluster(scenario))
    assert look.outcome is RunState.SUCCEEDED, look
    assert look.seconds < 50
    assert len(look.stderr_excerpt) < 17_000
    for pid in processes_in(workdirs.root):
        os.kill(pid, 9)


async def test_a_large_report_is_read_whole(runner: KaiRunner) -> None:
    look = await runner.look(cluster("ok.images-20000.namespaces-40"))
    assert look.report is not None
    assert look.report.image_count > 15_000


async def test_the_credential_is_sought_in_vain_while_kai_runs(workdirs: Workdirs) -> None:
    runner = await make_runner(workdirs)
    seen = []

    def read_process_list() -> None:
        wait_until(lambda: bool(processes_in(workdirs.root)))
        [pid] = processes_in(workdirs.root)
        seen.extend([Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")])

    async def watch() -> None:
        await anyio.to_thread.run_sync(read_process_list)
        tasks.cancel_scope.cancel()

    assert await runner.version() is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.look, cluster("hang"))
        tasks.start_soon(watch)
    assert seen
    assert not [each for each in seen if CANARY.encode() in each]


@pytest.mark.parametrize("scenario", ["hang", "deaf", "ok.delay-2s"])
async def test_a_cancelled_look_leaves_nothing(runner: KaiRunner, workdirs: Workdirs, scenario: str) -> None:
    assert await runner.version() is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.look, cluster(scenario))
        await anyio.to_thread.run_sync(wait_until, lambda: bool(processes_in(workdirs.root)))
        tasks.cancel_scope.cancel()
    assert processes_in(workdirs.root) == []


async def test_looks_run_side_by_side(runner: KaiRunner) -> None:
    looks: dict[str, Look] = {}

    async def one(name: str) -> None:
        looks[name] = await runner.look(cluster(f"ok.seed-{name}", name=name))

    async with anyio.create_task_group() as tasks:
        for name in ("anton", "berta", "caesar", "dora"):
            tasks.start_soon(one, name)
    assert [look.outcome for look in looks.values()] == [RunState.SUCCEEDED] * 4
    assert {look.report and look.report.cluster_name for look in looks.values()} == set(looks)


async def test_refused_addresses_are_not_looked_at(workdirs: Workdirs) -> None:
    runner = await make_runner(workdirs, network_rules=NetworkRules.parse([], ["127.0.0.0/8", "::1", "169.254.0.0/16"]))
    for server in ("https://localhost:6443", "https://169.254.169.254", "https://[::ffff:127.0.0.1]", "https://1"):
        check_failed(await runner.look(cluster("", server=server)), "address_refused")
    check_failed(await runner.look(cluster("", server="https://a..b")), "unreachable")


async def test_a_bug_in_writing_the_files_leaves_none_behind(
    runner: KaiRunner, workdirs: Workdirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_config: ClusterConfig) -> bytes:
        raise ZeroDivisionError

    assert await runner.version() is not None
    monkeypatch.setattr("orchestrator.kai.runner.render_kubeconfig", broken)
    with pytest.raises(ZeroDivisionError):
        await runner.look(cluster("ok"))
    assert list(workdirs.root.iterdir()) == []


async def test_without_room_for_files_the_reason_says_so(tmp_path: Path) -> None:
    parent = tmp_path / "full"
    parent.mkdir(mode=0o700)
    full = Workdirs(parent)
    runner = await make_runner(full)
    assert await runner.version() is not None
    parent.rmdir()
    look = await runner.look(cluster("ok"))
    check_failed(look, "workdir_unusable")
    assert look.exit_code is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("step", ["create", "write"])
async def test_a_shortage_of_the_system_is_not_taken_for_a_full_directory(
    workdirs: Workdirs, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    runner = await make_runner(workdirs)
    assert await runner.version() is not None

    def run_short(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Workdirs, step, run_short)
    look = await runner.look(cluster("ok"))
    check_failed(look, "kai_not_started")
    assert look.reason is not None
    assert os.strerror(number) in look.reason.message
    assert "open files" in look.reason.remedy


async def test_an_absent_binary_is_said(workdirs: Workdirs) -> None:
    runner = await make_runner(workdirs, binary="kai-nowhere")
    check_failed(await runner.look(cluster("ok")), "kai_not_found")
    assert await runner.version() is None
    described = await anyio.to_thread.run_sync(runner.describe)
    assert described is not None
    assert described.code is ReasonCode.KAI_NOT_FOUND
    assert "ORCHESTRATOR_KAI_BINARY" in described.remedy


async def test_a_binary_that_vanishes_between_two_looks_and_comes_back(tmp_path: Path, workdirs: Workdirs) -> None:
    binary = tmp_path / "kai"
    binary.write_bytes(FAKE_KAI.read_bytes())
    binary.chmod(0o755)
    runner = await make_runner(workdirs, binary=str(binary))
    assert (await runner.look(cluster("ok"))).outcome is RunState.SUCCEEDED
    binary.chmod(0o644)
    check_failed(await runner.look(cluster("ok")), "kai_not_executable")
    binary.unlink()
    check_failed(await runner.look(cluster("ok")), "kai_not_found")
    other = tmp_path / "kai-0.3.2"
    other.symlink_to(FAKE_KAI)
    binary.write_text(f'#!/bin/sh\nexec {other} "$@"\n')
    binary.chmod(0o755)
    assert (await runner.look(cluster("ok"))).kai_version == "0.3.2"


async def test_a_binary_that_vanishes_after_it_was_found(tmp_path: Path, workdirs: Workdirs) -> None:
    binary = tmp_path / "kai"
    binary.write_text('#!/bin/sh\nrm "$0"\necho \'{"version": "0.5.0"}\'\n')
    binary.chmod(0o755)
    runner = await make_runner(workdirs, binary=str(binary))
    check_failed(await runner.look(cluster("ok")), "kai_not_found")


@pytest.mark.parametrize("content", [b"plain text, no program\n", b"\x7fELF of no machine", b""])
async def test_what_is_no_program_is_said(tmp_path: Path, workdirs: Workdirs, content: bytes) -> None:
    binary = tmp_path / "kai"
    binary.write_bytes(content)
    binary.chmod(0o755)
    runner = await make_runner(workdirs, binary=str(binary))
    check_failed(await runner.look(cluster("ok")), "kai_not_executable")


async def test_a_directory_is_said_to_be_one(tmp_path: Path, workdirs: Workdirs) -> None:
    look = await (await make_runner(workdirs, binary=str(tmp_path))).look(cluster("ok"))
    check_failed(look, "kai_not_executable")
    assert look.reason is not None
    assert look.reason.message == f"the kai binary {tmp_path} cannot be executed: it is a directory"


@pytest.mark.parametrize("before", ["the version is known", "nothing is known"])
async def test_a_missing_interpreter_is_said(tmp_path: Path, workdirs: Workdirs, before: str) -> None:
    binary, interpreter = tmp_path / "kai", tmp_path / "sh"
    binary.write_text(f'#!{interpreter}\nexec {FAKE_KAI} "$@"\n')
    binary.chmod(0o755)
    runner = await make_runner(workdirs, binary=str(binary))
    if before == "the version is known":
        interpreter.symlink_to("/bin/sh")
        assert (await runner.look(cluster("ok"))).kai_version is not None
        interpreter.unlink()
    look = await runner.look(cluster("ok"))
    check_failed(look, "kai_not_executable")
    assert look.reason is not None
    assert "its interpreter is missing" in look.reason.message
    assert str(binary) in look.reason.message


async def test_the_version_is_asked_for_once_a_file(tmp_path: Path, workdirs: Workdirs) -> None:
    asked = tmp_path / "asked"
    binary = tmp_path / "kai"
    script = f'#!/bin/sh\necho x >> {asked}\necho \'{{"version": "v0.5.0", "gitCommit": "b3073f9"}}\'\n'
    binary.write_text(script)
    binary.chmod(0o755)
    runner = await make_runner(workdirs, binary=str(binary))
    for _ in range(3):
        version = await runner.version()
        assert version is not None
        assert (version.version, version.commit) == ("0.5.0", "b3073f9")
    assert asked.read_text() == "x\n"
    binary.write_text(script.replace("v0.5.0", "0.4.0"))
    version = await runner.version()
    assert version is not None
    assert version.version == "0.4.0"
    assert asked.read_text() == "x\nx\n"


@pytest.mark.parametrize("answer", ["echo kai 0.5.0", "exit 1", "echo '{\"version\": 5}'", "echo '[]'", "kill -9 $$"])
async def test_a_binary_that_does_not_tell_its_version_is_used_all_the_same(
    tmp_path: Path, workdirs: Workdirs, answer: str
) -> None:
    binary = tmp_path / "kai"
    binary.write_text(f'#!/bin/sh\n[ "$1" = version ] && {{ {answer}; exit; }}\nexec {FAKE_KAI} "$@"\n')
    binary.chmod(0o755)
    look = await (await make_runner(workdirs, binary=str(binary))).look(cluster("ok"))
    assert look.outcome is RunState.SUCCEEDED, look
    assert look.kai_version is None


SPY = """#!{python} -IS
import json, os, sys
if sys.argv[1] == "version":
    seen = {{"cwd": os.getcwd(), "home": os.listdir(os.environ["HOME"])}}
    print('{{"version": "0.5.0"}}')
else:
    files = {{name: oct(os.stat(name).st_mode)[-4:] for name in sorted(os.listdir("."))}}
    seen = {{"cwd": os.getcwd(), "home": os.listdir(os.environ["HOME"]), "files": files, "umask": oct(os.umask(0)),
            "mode": oct(os.stat(".").st_mode)[-4:], "sid": os.getsid(0) == os.getpid(),
            "config": open(sys.argv[2]).read(), "stdin": sys.stdin.read()}}
    print(open("kubeconfig").read(), open("kubeconfig").read()[40:700], file=sys.stderr)
    print(open("kubeconfig").read())
with open({log!r}, "a") as log:
    log.write(json.dumps({{"argv": sys.argv, "env": dict(os.environ), **seen}}) + "\\n")
"""


async def test_kai_gets_a_clean_environment_and_private_files(
    tmp_path: Path, workdirs: Workdirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KAI_ANCHORE_URL", "KUBERNETES_SERVICE_HOST", "KUBECONFIG", "HTTPS_PROXY", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "stray")
    spy, log = tmp_path / "kai", tmp_path / "log"
    spy.write_text(SPY.format(python=sys.executable, log=str(log)))
    spy.chmod(0o755)
    runner = await make_runner(workdirs, binary=str(spy), extra_env={"https_proxy": "http://proxy.test:3128"})
    look = await runner.look(cluster("ok"))
    check_failed(look, "report_incomplete")
    assert "******" in look.stderr_excerpt
    assert "******" in look.stdout_excerpt
    text = log.read_text()
    assert CANARY not in text
    assert "stray" not in text
    for line in text.splitlines():
        seen = json.loads(line)
        home = f"{seen['cwd']}/home"
        assert seen["cwd"].startswith(str(workdirs.root))
        assert seen["home"] == []
        # LC_CTYPE is Python's own doing.
        assert {name: value for name, value in seen["env"].items() if name != "LC_CTYPE"} == {
            "https_proxy": "http://proxy.test:3128",
            "PATH": PATH,
            "HOME": home,
            "TMPDIR": f"{seen['cwd']}/tmp",
            "XDG_CONFIG_HOME": f"{home}/.config",
            "XDG_CONFIG_DIRS": f"{home}/.config",
            "XDG_DATA_HOME": f"{home}/.local",
            "XDG_DATA_DIRS": f"{home}/.local",
            "XDG_CACHE_HOME": f"{home}/.cache",
            "XDG_RUNTIME_DIR": f"{home}/.run",
        }
    assert seen["argv"] == [str(spy), "-c", f"{seen['cwd']}/kai.yaml"]
    assert seen["files"] == {"home": "0700", "kai.yaml": "0600", "kubeconfig": "0600", "tmp": "0700"}
    assert (seen["mode"], seen["sid"], seen["stdin"]) == ("0700", True, "")
    assert f"{seen['cwd']}/kubeconfig" in seen["config"]


@pytest.mark.parametrize("name", ["KAI_MODE", "HOME", "PATH", "KUBECONFIG", "LD_PRELOAD"])
async def test_other_variables_are_not_passed_on(workdirs: Workdirs, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        await make_runner(workdirs, extra_env={name: "x"})


LEAKS = [
    "echo {} >&2; exit 1",
    "echo {}; exit 1",
    "echo {}",
    "printf '%s' '{}' | base64 -w0 >&2; exit 1",
    """echo '{{"level":"error","msg":"User {} cannot list resource pods at the cluster scope"}}' >&2; exit 1""",
    "echo 'panic: {}' >&2; exit 2",
    'echo \'{{"results": [], "cluster_name": "{}"}}\'',
    'echo \'{{"results": [{{"namespace": "{}", "images": 5}}]}}\'',
]


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("kind", [CredentialType.TOKEN, CredentialType.PRIVATE_KEY])
async def test_a_kai_that_prints_the_credential_is_not_quoted(
    tmp_path: Path, workdirs: Workdirs, leak: str, kind: CredentialType
) -> None:
    binary = tmp_path / "kai"
    config: ClusterConfig = cluster("ok", kind=kind)
    secret = next(line for line in config.credential.get_secret_value().splitlines() if CANARY in line)
    binary.write_text(f"#!/bin/sh\n{leak.format(secret)}\n")
    binary.chmod(0o755)
    look = await (await make_runner(workdirs, binary=str(binary))).look(config)
    assert look.outcome is RunState.FAILED
    assert look.reason is not None
    assert CANARY not in repr(look)
    assert CANARY[:10] not in repr(look)
    assert "******" in repr(look)


@pytest.mark.parametrize("credential", ["tok", "the", "token", "report", "namespaces", "Kubernetes", "certificate"])
@pytest.mark.parametrize(
    "scenario", ["wrong-token", "empty-server", "nothing", "garbage", "extra-namespace", "wrong-ca"]
)
async def test_a_credential_that_is_a_word_takes_nothing_from_our_sentences(
    runner: KaiRunner, scenario: str, credential: str
) -> None:
    config = cluster(scenario, namespaces=("alpha", "beta") if scenario == "extra-namespace" else ())
    usual = await runner.look(config)
    look = await runner.look(replace(config, credential=SecretStr(credential)))
    assert look.reason is not None
    assert look.reason == usual.reason
