"""bin/venv: makes an environment once, notices when it is no longer right, and says what a machine lacks.

The lock files here are empty, so that nothing is fetched.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bin" / "venv"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout, in a directory with a space in its name, that depends on nothing."""
    root = tmp_path / "a checkout"
    (root / "bin").mkdir(parents=True)
    shutil.copy(SCRIPT, root / "bin" / "venv")
    (root / "requirements.lock").write_text("# nothing\n")
    (root / "requirements-dev.lock").write_text("# nothing\n")
    return root


def start(
    checkout: Path, *arguments: str, python: str = sys.executable, wrapper: tuple[str, ...] = (), **environ: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*wrapper, checkout / "bin" / "venv", *arguments],
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHON": python, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    checkout: Path, *arguments: str, python: str = sys.executable, wrapper: tuple[str, ...] = (), **environ: str
) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    with start(checkout, *arguments, python=python, wrapper=wrapper, **environ) as process:
        output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_made_once_and_again_only_when_the_lock_changes(checkout: Path) -> None:
    venv = checkout / ".venv-run"
    code, output, errors = run(checkout)
    assert (code, output) == (0, f"{venv}\n")
    assert errors.splitlines() == [f"installing requirements.lock into {venv} (first use, takes a while)"]
    found = subprocess.run(
        [venv / "bin" / "python", "-I", "-c", "import sys; print(sys.path)"], capture_output=True, text=True, check=True
    )
    assert repr(str(checkout)) in found.stdout

    assert run(checkout) == (0, f"{venv}\n", "")
    (checkout / "requirements.lock").write_text("# nothing new\n")
    assert "installing" in run(checkout)[2]
    assert run(checkout) == (0, f"{venv}\n", "")


def another_python(directory: Path) -> str:
    """A PATH on which another python3 comes first: for a virtual environment, the same one elsewhere is another."""
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", directory], check=True)
    return f"{directory / 'bin'}:{os.environ['PATH']}"


def test_it_stays_whichever_python_comes_first(checkout: Path, tmp_path: Path) -> None:
    venv = checkout / ".venv-run"
    assert run(checkout)[0] == 0
    made = (venv / "pyvenv.cfg").stat()
    assert run(checkout, python="", PATH=another_python(tmp_path / "other")) == (0, f"{venv}\n", "")
    none = tmp_path / "no python"
    none.mkdir()
    program(none / "python3", "exit 1")
    assert run(checkout, python="", PATH=f"{none}:/usr/bin:/bin") == (0, f"{venv}\n", "")
    assert os.path.samestat((venv / "pyvenv.cfg").stat(), made)


def test_a_python_that_is_named_must_be_the_one(checkout: Path, tmp_path: Path) -> None:
    assert run(checkout)[0] == 0
    newer = program(
        tmp_path / "newer",
        f'case "$*" in *sys.executable*) printf "%s\\n" {sys.executable} 3.{sys.version_info.minor}.99 ;;'
        f' *) exec "{sys.executable}" "$@" ;; esac',
    )
    assert "installing" in run(checkout, python=newer)[2]
    same = another_python(tmp_path / "other").partition(":")[0]
    assert run(checkout, python=f"{same}/python3")[2] == ""


def test_one_that_does_not_run_any_more_is_made_anew(checkout: Path) -> None:
    assert run(checkout)[0] == 0
    for name in (checkout / ".venv-run" / "bin").glob("python*"):
        name.unlink()
        name.symlink_to("/nonexistent/python")
    assert "installing" in run(checkout)[2]
    assert run(checkout)[2] == ""


def names(checkout: Path) -> list[str]:
    return sorted(path.name for path in checkout.glob(".venv*"))


def test_one_that_cannot_be_replaced_stays(checkout: Path) -> None:
    venv = checkout / ".venv-run"
    assert run(checkout)[0] == 0
    made = (venv / "pyvenv.cfg").stat()
    (checkout / "requirements.lock").write_text("./nowhere\n")
    assert run(checkout)[0] == 1
    assert os.path.samestat((venv / "pyvenv.cfg").stat(), made)
    assert names(checkout) == [".venv-run"]
    (checkout / "requirements.lock").write_text("# nothing again\n")
    (checkout / ".venv-run.old.1").mkdir()
    assert run(checkout)[0] == 0
    assert names(checkout) == [".venv-run"]


@pytest.mark.parametrize("before", ["none", "stale", "right"])
def test_a_checkout_that_cannot_be_written_is_said_in_one_line(checkout: Path, before: str) -> None:
    venv = checkout / ".venv-run"
    if before != "none":
        assert run(checkout)[0] == 0
    if before == "stale":
        (checkout / "requirements.lock").write_text("# nothing new\n")
    checkout.chmod(0o555)
    # Without these, root is held to the permissions as well.
    wrapper = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    result = run(checkout, wrapper=wrapper)
    checkout.chmod(0o755)
    if before == "right":
        assert result == (0, f"{venv}\n", "")
        return
    assert result == (
        1,
        "",
        f"cannot write to {checkout}: run bin/serve once as its owner, or copy the checkout somewhere you can write\n",
    )
    assert (venv / "stamp").exists() == (before == "stale")


def test_two_at_once_make_it_once_and_both_wait(checkout: Path) -> None:
    with start(checkout, "--dev") as one, start(checkout, "--dev") as other:
        ends = [process.communicate(timeout=60) for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    assert [output for output, _ in ends] == [f"{checkout / '.venv-dev'}\n"] * 2
    assert "".join(errors for _, errors in ends).count("installing") == 1


def test_an_install_that_failed_is_no_install(checkout: Path) -> None:
    (checkout / "requirements.lock").write_text("./nowhere\n")
    code, output, errors = run(checkout)
    assert (code, output) == (1, "")
    assert "nowhere" in errors
    assert "could not be installed" in errors
    assert not (checkout / ".venv-run" / "stamp").exists()


def test_a_python_that_is_too_old_is_refused(checkout: Path, tmp_path: Path) -> None:
    old = program(tmp_path / "python3", "exit 1")
    code, output, errors = run(checkout, python=old)
    assert (code, output) == (1, "")
    assert "Python 3.11 or newer is needed" in errors
    assert "PYTHON=" in errors


def bare_python(path: Path) -> str:
    """What Debian's python3 is without python3-venv."""
    return program(
        path,
        f'case "$*" in *ensurepip*) exit 1 ;; *sys.executable*) "{sys.executable}" "$@" | sed "1s|.*|{path}|"; exit ;;'
        f' esac\nexec "{sys.executable}" "$@"',
    )


def test_without_the_venv_module_the_package_is_named(checkout: Path) -> None:
    code, output, errors = run(checkout, python=bare_python(checkout / "python3"))
    assert (code, output) == (1, "")
    assert f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv" in errors


def test_a_newer_python_beside_an_old_one_is_found(checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "python3", "exit 1")
    newer = bare_python(tmp_path / "python3.12")
    assert run(checkout, python="", PATH=f"{tmp_path}:/usr/bin:/bin")[2].startswith(newer)
