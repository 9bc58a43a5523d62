"""The README's table of options, made from the settings and the command line.

`python -m tests.options_table` writes it into README.md, between its two markers.
"""

from pathlib import Path

from orchestrator.cli import parser
from orchestrator.settings import Option, options

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- options: made by `python -m tests.options_table` -->\n"
END = "<!-- end of options -->\n"


def table() -> str:
    """All options as a table in Markdown."""
    lines = ["| variable | flag | in config.yaml | default | meaning |", "| --- | --- | --- | --- | --- |"]
    lines += [_row(option) for option in options()]
    fields = {option.field for option in options()}
    for action in parser()._actions:
        if action.dest not in fields | {"help"}:
            lines.append(f"| | `{', '.join(action.option_strings)}` | | off | {action.help} |")
    return "\n".join(lines) + "\n"


def table_in(readme: str) -> str:
    """What stands between the markers. Raises ValueError where one is missing."""
    _, begin, rest = readme.partition(BEGIN)
    inside, end, _ = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks {BEGIN.strip()} or {END.strip()}")
    return inside


def _row(option: Option) -> str:
    variables = f"`{option.env}`" + (f" or `{option.file_env}`" if option.file_env else "")
    flag = f"`{option.flag}`" if option.flag else ""
    path = f"`{option.path}`" if option.path else ""
    return f"| {variables} | {flag} | {path} | {option.default} | {option.meaning} |"


def main() -> None:
    """Write the table into README.md."""
    readme = README.read_text(encoding="utf-8")
    README.write_text(readme.replace(BEGIN + table_in(readme) + END, BEGIN + table() + END), encoding="utf-8")


if __name__ == "__main__":
    main()
