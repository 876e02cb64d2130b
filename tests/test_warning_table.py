"""Every warning of the table is raised in a test, renders, names options that exist, and is in docs/WARNINGS.md."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import click
import pytest

from benchsuite.cli.main import VERBS, cli, load_verb
from benchsuite.level import Level
from benchsuite.warning_table import DISTURBING, WARNINGS, Finding, warn, without_asked

TESTS = Path(__file__).parent
LIST = TESTS.parent / "docs" / "WARNINGS.md"
OF_VLLM = {"--max-num-seqs", "--gpu-memory-utilization", "--stream-interval"}
HEAD = """# Warnings

From the table in `benchsuite/warning_table.py`, by `pytest tests/test_warning_table.py --snapshot-update`.

`error`: the figures are not those of the level as it was meant. `warning`: they are in doubt, or mean less than they
seem to. `info`: to know when reading them. Nothing is dropped. What is in braces is filled in; "Sections" in quotes are
those of [METHODS.md](METHODS.md).

| code | severity | when | remedy |
|---|---|---|---|
"""


def options(command: click.Command) -> set[str]:
    """Every option of a command and of those below it."""
    found = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    if isinstance(command, click.Group):
        for below in command.commands.values():
            found |= options(below)
    return found


def test_every_code_is_raised_in_a_test():
    """A code that no test names is a warning that nobody has seen."""
    tests = "\n".join(path.read_text() for path in TESTS.rglob("*.py") if path != Path(__file__))
    assert [code for code in WARNINGS if f'"{code}"' not in tests] == []


@pytest.mark.parametrize("code", WARNINGS)
def test_a_warning_renders(code: str) -> None:
    """With a value for each field of its templates there is a text for the finding and for the remedy."""
    kind = WARNINGS[code]
    fields = {name for text in (kind.finding, kind.remedy) for _, name, _, _ in Formatter().parse(text) if name}
    found = warn(code, Level(8), **dict.fromkeys(fields - {"level"}, 7))
    assert (found.code, found.severity, found.level.users) == (code, kind.severity, 8)
    for text in (found.finding, found.remedy):
        assert text
        assert not re.search(r"[{}]", text)


def test_no_remedy_asks_for_what_the_run_had():
    """With a fixed length none names --fixed-length; with repeats none says that a single run cannot tell."""
    for code, kind in WARNINGS.items():
        if code in ("truncated_by_max_tokens",):
            continue  # not given in a run with a fixed length
        fields = {name for text in (kind.finding, kind.remedy) for _, name, _, _ in Formatter().parse(text) if name}
        found = without_asked(
            warn(code, Level(8), **dict.fromkeys(fields - {"level"}, 7)), fixed_length=True, repeats=True
        )
        assert "--fixed-length" not in found.remedy
        assert "single run" not in found.remedy
        assert found.remedy


def test_a_code_or_value_that_is_missing_is_refused():
    """A Finding is rendered when it is made, so that a wrong one fails where it arises."""
    with pytest.raises(KeyError):
        Finding("no_such_code")
    with pytest.raises(KeyError):
        warn("littles_law", Level(8))


def test_remedies_name_options_that_exist():
    """An option in a remedy is one of the command line's, or of a server that the remedy names."""
    known = options(cli).union(*(options(load_verb(verb)) for verb in VERBS)) | OF_VLLM
    named = {option for kind in WARNINGS.values() for option in re.findall(r"--[a-z][a-z0-9-]+", kind.remedy)}
    assert named
    assert named - known == set()


def test_the_docs_list_the_disturbances():
    """docs/METHODS.md names each code for which a level proves nothing, and no other."""
    text = (LIST.parent / "METHODS.md").read_text().partition("The disturbances are ")[2].partition(". They")[0]
    assert set(re.findall(r"`(\w+)`", text)) == set(DISTURBING)


def test_the_docs_list_the_table(request: pytest.FixtureRequest) -> None:
    """docs/WARNINGS.md has a row for each code, from the table; --snapshot-update writes it."""
    rows = (f"| `{code}` | {kind.severity} | {kind.when} | {kind.remedy} |\n" for code, kind in WARNINGS.items())
    text = HEAD + "".join(rows)
    if request.config.getoption("update_snapshots", False):
        LIST.write_text(text)
    assert LIST.read_text() == text
