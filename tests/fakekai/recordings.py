"""The recordings of the real kai that bin/fake-kai is held against, in a form that can be compared.

Two runs of kai differ in time, in the order of namespaces and images, and in addresses. `canonical_run` takes that
out, and leaves every other character as recorded. tests/recordings/embedded.json holds the canonical runs of the
covered cases, so that the tests need nothing outside the repository; `python -m tests.fakekai.recordings` writes it
anew from the originals beside the repository.
"""

import json
import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
ORIGINALS = REPOSITORY.parent / "shared" / "kai" / "recordings"
VENDORED = REPOSITORY / "tests" / "recordings" / "embedded.json"

NOT_COVERED = {
    r"ext-.*": "posting to Anchore: the stand-in plays the embedded mode only",
    r"w-debug.*|w-vv-flag": "the debug log prints kai's own configuration structures",
    r"y-sigquit": "the Go runtime's dump of its goroutines",
    r"z-stdout-unread": "the outcome depends on the size that the recorder gave its pipe",
}

TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?")
# Which of the two kai prints for a server that never answers varies from run to run.
DIAL_TIMEOUT = re.compile(r"dial tcp \S+: i/o timeout")
ADDRESS = re.compile(r"dial tcp \S+: ")
SERVER = re.compile(r'"https?://[^/"]+/api/')
KLOG = re.compile(r"^E\d{4} [\d:.]+ +\d+ request\.go:\d+\]", re.MULTILINE)
GOROUTINES = re.compile(r"(?<=goroutine 1 \[running\]:\n).*", re.DOTALL)


def reason_not_covered(case: str) -> str | None:
    """Why a case is not held against the stand-in; None if it is."""
    return next((reason for pattern, reason in NOT_COVERED.items() if re.fullmatch(pattern, case)), None)


def canonical_stdout(text: str) -> str:
    """Standard output without its order and time; formatting other than kai's is left as it is, and so found."""
    if text.startswith("IMAGE TAG"):
        return "".join(sorted(text.splitlines(keepends=True)))
    try:
        report = json.loads(text)
    except ValueError:
        return text
    if not isinstance(report, dict) or "results" not in report or to_json(report) != text:
        return text
    report["timestamp"] = TIME.sub("<time>", report["timestamp"])
    for result in report["results"]:
        result["images"].sort(key=to_json)
    report["results"].sort(key=to_json)
    return to_json(report)


def to_json(value: object) -> str:
    """JSON in the very format that kai prints."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def canonical_stderr(text: str) -> str:
    """Standard error without time, addresses, the order in which namespaces were read, and stack frames."""
    text = DIAL_TIMEOUT.sub("context deadline exceeded", TIME.sub("<time>", text))
    text = SERVER.sub('"https://<server>/api/', ADDRESS.sub("dial tcp <address>: ", text))
    text = GOROUTINES.sub("<frames>\n", KLOG.sub("<klog>", text))
    lines = text.splitlines(keepends=True)
    of_namespaces = sorted(line for line in lines if "There are " in line)
    return "".join(of_namespaces.pop(0) if "There are " in line else line for line in lines)


def canonical_run(run: dict[str, Any]) -> dict[str, Any]:
    """A recorded run, or one of the stand-in in the same shape, without what differs between two runs."""
    kept = {key: run[key] for key in ("argv", "env", "cwd", "files", "exit_code")}
    kept["stdout"] = canonical_stdout(run["stdout"])
    kept["stderr"] = canonical_stderr(run["stderr"])
    written = {name: canonical_stderr(text) for name, text in (run.get("files_written") or {}).items()}
    return kept | {"files_written": written}


def read_originals() -> dict[str, dict[str, Any]]:
    """The canonical runs of all covered cases in the originals: case -> version -> run."""
    cases = {}
    for path in sorted(ORIGINALS.glob("*.json")):
        recording = json.loads(path.read_text())
        if reason_not_covered(recording["case"]) is None:
            runs = recording["versions"]
            cases[recording["case"]] = {version: canonical_run(run) for version, run in runs.items()}
    return cases


def read_vendored() -> dict[str, dict[str, Any]]:
    """The same from the repository."""
    document = json.loads(VENDORED.read_text())
    texts = document["texts"]
    cases: dict[str, dict[str, Any]] = {}
    for case, groups in document["cases"].items():
        cases[case] = {}
        for group in groups:
            run = {key: expand(value, texts) for key, value in group["run"].items()}
            cases[case].update(dict.fromkeys(group["versions"], run))
    return cases


def expand(value: Any, texts: list[str]) -> Any:
    """A vendored value with the texts that it refers to."""
    if isinstance(value, dict) and set(value) == {"text"}:
        return texts[value["text"]]
    if isinstance(value, dict):
        return {key: expand(item, texts) for key, item in value.items()}
    return value


def vendor() -> None:
    """Write the vendored selection: versions that ran alike share a run, and long texts are kept once."""
    texts: list[str] = []

    def shorten(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shorten(item) for key, item in value.items()}
        if not isinstance(value, str) or len(value) < 200:
            return value
        if value not in texts:
            texts.append(value)
        return {"text": texts.index(value)}

    cases = {}
    for case, runs in read_originals().items():
        groups: list[dict[str, Any]] = []
        for version, run in runs.items():
            alike = next((group for group in groups if group["run"] == run), None)
            if alike:
                alike["versions"].append(version)
            else:
                groups.append({"versions": [version], "run": run})
        cases[case] = [{**group, "run": shorten(group["run"])} for group in groups]
    document = {"cases": cases, "texts": texts}
    VENDORED.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    vendor()
