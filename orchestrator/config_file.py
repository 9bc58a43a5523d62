"""config.yaml: an Enterprise user's own file, of which only a few sections are ours.

Values are handed on as the text that stands there; what they must be is decided in settings.py. `${ANCHORE_NAME}`
inside a value of ours stands for that environment variable and is put in after YAML was parsed, so that nothing in
a variable can change the file's structure. Foreign sections are neither read nor substituted, only listed.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

FILE_NAME = "config.yaml"

_SUBSTITUTION = re.compile(r"\$\{(ANCHORE_[^}]*)\}")


class _TextLoader(yaml.BaseLoader):
    """Makes every scalar the text that stands there: `0123` may be a password. Only null is None.

    A key that stands twice in a section is refused, where YAML's own loaders would let the last one win in silence.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The section as a dict. Raises ConstructorError at a key that was there before."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(problem=_TWICE, problem_mark=key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_TWICE = "this key stands twice in its section"
_NULL = "tag:yaml.org,2002:null"
_TextLoader.add_implicit_resolver(_NULL, re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_TextLoader.add_constructor(_NULL, lambda loader, node: None)


class SettingsError(Exception):
    """The service cannot start as it is configured.

    The text has one line for each problem; it names the variable, file or key and the remedy, and holds no value.
    """


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What config.yaml says: our values by their dotted path, the variables that were put into each, and what is
    wrong or not for us."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    inserted: dict[str, frozenset[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def read_config_file(directory: Path, paths: Iterable[str], environ: Mapping[str, str]) -> ConfigFile:
    """Read `config.yaml` in that directory; `paths` are all dotted paths that are ours.

    A section that holds one of them directly is ours, and an unknown key there is a problem. Raises SettingsError
    where there is no such file, or it cannot be read as YAML.
    """
    path = directory / FILE_NAME
    known = list(paths)
    found = ConfigFile(path)
    _walk(_parse(path), "", known, found)
    for name, value in found.values.items():
        found.inserted[name] = frozenset(_SUBSTITUTION.findall(value)) if isinstance(value, str) else frozenset()
        found.values[name] = _substituted(value, name, environ, found.problems)
    return replace(found, problems=[f"{path}: {problem}" for problem in found.problems])


def _parse(path: Path) -> Any:
    try:
        document = yaml.load(path.read_bytes(), Loader=_TextLoader)  # noqa: S506 (makes nothing but text)
    except OSError as error:
        raise SettingsError(
            f"ANCHORE_CONFIG_DIR: cannot read {path}: {error.strerror}; put {FILE_NAME} there or unset the variable"
        ) from error
    except yaml.YAMLError as error:
        # The parser's own words are left out: they quote the file, which may hold secrets.
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        if getattr(error, "problem", None) == _TWICE:
            raise SettingsError(f"{path}: the key{where} stands twice in its section; put both together") from None
        raise SettingsError(
            f"{path} is not valid YAML{where}; put values that begin with a special character in quotes"
        ) from None
    return {} if document is None else document


def _walk(node: Any, prefix: str, known: list[str], found: ConfigFile) -> None:
    """Collect values from `node`, the section whose dotted path, with a dot at its end, is `prefix`."""
    if not isinstance(node, dict):
        section = prefix.rstrip(".") or "the file"
        found.problems.append(f"{section}: expected a section of `key: value` lines; correct or remove it")
        return
    ours = any(path.startswith(prefix) and "." not in path.removeprefix(prefix) for path in known)
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in known:
            found.values[name] = value
        elif any(path.startswith(f"{name}.") for path in known):
            if value is not None:
                _walk(value, f"{name}.", known, found)
        elif ours:
            found.problems.append(f"{name}: unknown key; {_hint(name, known)}")
        else:
            found.foreign.append(name)


def _hint(name: str, known: list[str]) -> str:
    section, _, key = name.rpartition(".")
    for path in known:
        if path.endswith(f".{key}"):
            return f"did you mean {path}?"
    here = sorted(path.rpartition(".")[2] for path in known if path.rpartition(".")[0] == section)
    close = difflib.get_close_matches(key, here, n=1)
    return f"did you mean {section}.{close[0]}?" if close else f"remove it, or use one of: {', '.join(here)}"


def _substituted(value: Any, where: str, environ: Mapping[str, str], problems: list[str]) -> Any:
    if isinstance(value, list):
        return [_substituted(entry, where, environ, problems) for entry in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            problems.append(f"{where}: the environment variable {name} is not set; set it or write the value")
        return environ.get(name, "")

    return _SUBSTITUTION.sub(variable, value)
