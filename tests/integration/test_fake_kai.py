"""bin/fake-kai against the recordings of the real kai: same arguments and files in, same outcome."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fakekai import recordings
from tests.fakekai.stage import SECRETS, Stage

CASES = recordings.read_vendored()
ODD_STREAMS = [case for case in CASES if case.startswith("z-")]
SIGNALLED = [case for case in CASES if case.startswith("y-")]
ENDLESS = [case for case, runs in CASES.items() if any(run["exit_code"] is None for run in runs.values())]
TIMEOUT_ZERO = "kubernetes:\n  request-timeout-seconds: 0\n"
TIMEOUT = 30.0  # seconds; far more than any of these runs takes


def versions_of(cases: list[str]) -> list[tuple[str, str]]:
    return [(case, version) for case in cases for version in CASES[case]]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize(
    ("case", "version"), versions_of([case for case in CASES if case not in [*ODD_STREAMS, *SIGNALLED, *ENDLESS]])
)
def test_runs_as_recorded(case: str, version: str, stage: Stage) -> None:
    recorded = CASES[case][version]
    stage.build(case, recorded)
    run = stage.play(version, recorded, TIMEOUT)
    assert recordings.canonical_run(run) == recorded
    assert not [secret for secret in SECRETS if secret in run["stdout"] + run["stderr"]]


def closed_pipe() -> int:
    """The writing end of a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(("case", "version"), versions_of(ODD_STREAMS))
def test_output_that_cannot_be_written(case: str, version: str, stage: Stage) -> None:
    recorded = CASES[case][version]
    stage.build(case, recorded)
    if case == "z-stdout-closed-fd":
        run = stage.play(version, recorded, TIMEOUT, closed=1)
    else:
        descriptor = os.open("/dev/full", os.O_WRONLY) if case == "z-stdout-full" else closed_pipe()
        stream = "stderr" if case == "z-stderr-broken-pipe" else "stdout"
        run = stage.play(version, recorded, TIMEOUT, **{stream: descriptor})
        os.close(descriptor)
    assert recordings.canonical_run(run) == recorded


@pytest.mark.parametrize(("case", "version"), versions_of(ENDLESS))
def test_runs_that_never_end(case: str, version: str, stage: Stage) -> None:
    stage.build(case, CASES[case][version])
    with pytest.raises(subprocess.TimeoutExpired):
        stage.play(version, CASES[case][version], timeout=0.5)


@pytest.mark.parametrize(("case", "number"), list(zip(SIGNALLED, (1, 2, 15), strict=True)))
def test_a_signal_ends_it_at_once(case: str, number: int, stage: Stage) -> None:
    recorded = CASES[case]["0.5.0"]
    hanging = recorded | {"files": {name: text + TIMEOUT_ZERO for name, text in recorded["files"].items()}}
    stage.build(case, hanging)
    with stage.start("0.5.0", hanging) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]  # the second one is written before it hangs
        process.send_signal(signal.Signals(number))
        assert process.wait(TIMEOUT) == recorded["exit_code"] == -number
    assert recordings.canonical_stderr("".join(lines)) == recorded["stderr"]


def test_the_vendored_recordings_are_the_originals() -> None:
    originals = recordings.read_originals()  # none where the repository stands alone
    assert not originals or originals == CASES


def test_every_recording_is_covered_or_left_out_for_a_reason() -> None:
    names = [path.stem for path in recordings.ORIGINALS.glob("*.json")]
    for name in names:
        assert (name in CASES) != bool(recordings.reason_not_covered(name)), name
    for pattern in recordings.NOT_COVERED if names else ():
        assert any(re.fullmatch(pattern, name) for name in names), pattern
