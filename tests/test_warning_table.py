"""Every warning of the table is raised in a test, renders, names options that exist, and is in docs/WARNINGS.md."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import click
import pytest

from benchsuite.cli.main import VERBS, cli, load_verb
from benchsuite.level import Level
from benchsuite.servers import SERVERS
from benchsuite.warning_table import _EFFECTS, DISTURBING, EFFECTS, WARNINGS, Finding, remedy_here, warn

TESTS = Path(__file__).parent
LIST = TESTS.parent / "docs" / "WARNINGS.md"
OF_SERVERS = {
    "--max-num-seqs": {"vLLM"}, "--gpu-memory-utilization": {"vLLM"}, "--stream-interval": {"vLLM", "SGLang"},
}  # fmt: skip
HEAD = """# Warnings

Generated from `benchsuite/warning_table.py` by `pytest tests/test_warning_table.py --snapshot-update`.

Severity `error`: the figures are not those of the intended load. `warning`: they are in doubt, or mean less than they
seem to. `info`: useful when reading them. A warning removes no level. Names in braces are replaced by values. Names in
quotes are sections of [METHODS.md](METHODS.md).

| code | severity | when | effect | remedy |
|---|---|---|---|---|
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


def values_of(fields: set[str]) -> dict[str, object]:
    """A number for each field, a level where its words are named."""
    return {name.split(".")[0]: Level(7) if "." in name else 7 for name in fields - {"level"}}


def fields_of(code: str) -> set[str]:
    """The values that the texts of a code name."""
    texts = WARNINGS[code].finding, EFFECTS[code], WARNINGS[code].remedy
    return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("code", WARNINGS)
def test_a_warning_renders(code: str) -> None:
    """With a value for each field of its templates there is a text for the finding and for the remedy."""
    kind = WARNINGS[code]
    found = warn(code, Level(8), **values_of(fields_of(code)))
    assert (found.code, found.severity, found.level.users) == (code, kind.severity, 8)
    for text in (found.finding, found.effect, found.remedy):
        assert text
        assert not re.search(r"[{}]", text)


def findings() -> list[Finding]:
    """One of each code."""
    return [warn(code, Level(8), **values_of(fields_of(code))) for code in WARNINGS]


@pytest.mark.parametrize("title", [None, *(server.title for server in SERVERS.values())])
def test_a_remedy_works_in_its_run(title: str | None) -> None:
    """With a fixed length none names --fixed-length; with repeats none says that a single run cannot tell; where the
    server is known none names a flag of another, and one that it has stands without its name."""
    had = {"fixed_length": True, "repeats": True, "metrics": True, "local": True}
    for finding in findings():
        remedy = remedy_here(finding, had, title).remedy
        assert remedy
        assert "--metrics-url" not in remedy or finding.code != "prefix_hits_unknown"
        assert "single run" not in remedy
        assert "buffering" not in remedy
        if finding.code != "truncated_by_max_tokens":  # not given in a run with a fixed length
            assert "--fixed-length" not in remedy
        for flag, servers in OF_SERVERS.items():
            assert (flag in remedy) == (flag in finding.remedy and (title is None or title in servers))
            assert title is None or f": {flag}" not in remedy


def test_every_code_has_one_effect() -> None:
    """What it does to the figures; no code twice, and none that is not in the table."""
    assert [code for codes in _EFFECTS.values() for code in codes.split() if code not in WARNINGS] == []
    assert sum(len(codes.split()) for codes in _EFFECTS.values()) == len(EFFECTS) == len(WARNINGS)


def test_a_code_or_value_that_is_missing_is_refused():
    """A Finding is rendered when it is made, so that a wrong one fails where it arises."""
    with pytest.raises(KeyError):
        Finding("no_such_code")
    with pytest.raises(KeyError):
        warn("littles_law", Level(8))


def test_remedies_name_options_that_exist():
    """An option in a remedy is one of the command line's, or of a server that the remedy names."""
    known = options(cli).union(*(options(load_verb(verb)) for verb in VERBS), OF_SERVERS)
    named = {option for kind in WARNINGS.values() for option in re.findall(r"--[a-z][a-z0-9-]+", kind.remedy)}
    assert named
    assert named - known == set()


def test_the_docs_list_the_disturbances():
    """docs/METHODS.md names each code for which a level proves nothing, and no other."""
    text = (LIST.parent / "METHODS.md").read_text().partition("The disturbances are ")[2].partition(". They")[0]
    assert set(re.findall(r"`(\w+)`", text)) == set(DISTURBING)


def test_the_docs_list_the_table(request: pytest.FixtureRequest) -> None:
    """docs/WARNINGS.md has a row for each code, from the table; --snapshot-update writes it."""
    rows = (
        f"| `{code}` | {kind.severity} | {kind.when} | {EFFECTS[code]} | {kind.remedy} |\n"
        for code, kind in WARNINGS.items()
    )
    text = HEAD + "".join(rows)
    if request.config.getoption("update_snapshots", False):
        LIST.write_text(text)
    assert LIST.read_text() == text
