"""The README names every option as it is."""

from orchestrator.cli import parser
from orchestrator.settings import options
from tests.options_table import README, table, table_in


def test_the_readme_has_the_table_of_options_as_they_are() -> None:
    readme = README.read_text(encoding="utf-8")
    assert table_in(readme) == table(), "make it anew: python -m tests.options_table"


def test_the_table_names_every_variable_flag_and_place() -> None:
    made = table()
    names = [name for option in options() for name in (option.env, option.file_env, option.path, option.flag) if name]
    names += [flag for action in parser()._actions for flag in action.option_strings if action.dest != "help"]
    assert [name for name in names if f"`{name}`" not in made] == []


def test_a_flag_is_an_option_by_its_own_name() -> None:
    fields = {option.flag: option.field for option in options() if option.flag}
    flags = {action.option_strings[0]: action.dest for action in parser()._actions}
    assert {flag: flags.get(flag) for flag in fields} == fields
