"""The guide's commands work as they stand there; those that need a GPU or a container exist with their flags."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from benchsuite.cli.main import VERBS, cli, main
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "GUIDE.md").read_text("utf-8")
RUN = ("", "two-servers")  # marks of blocks that are run; the others are only read
# what makes a command of the guide small enough for a test; it stays the guide's command
SMALL = ["--max-output-tokens", "3", "--warmup-requests", "0", "--gpu", "off"]
FEW = {"results/first": ["--requests", "12", "--concurrency", "2,4"]}
# what a command may end with besides 0: a machine under test is not a machine to measure on
MAY = {"doctor": {0, 1}, "gate": {0, 5, 6}} | {
    verb: {0, 6} for verb in ("sweep", "demo", "decide", "import", "matrix", "frontier", "plan")
}


@dataclass(frozen=True)
class Block:
    """A fenced block of commands, the section that it is in, and its mark."""

    section: str
    mark: str
    commands: tuple[str, ...]


def blocks() -> Iterator[Block]:
    for section in re.split(r"^## ", GUIDE, flags=re.M)[1:]:
        for mark, text in re.findall(r"^```sh ?([\w-]*)\n(.*?)^```", section, re.M | re.S):
            lines = [line.partition(" #")[0].strip() for line in text.replace("\\\n", " ").splitlines()]
            yield Block(section.splitlines()[0], mark, tuple(line for line in lines if line))


BLOCKS = list(blocks())


def test_the_three_uses_are_there():
    """The guide has its sections, each with commands, and every link into it or METHODS leads somewhere."""
    assert {block.section for block in BLOCKS if block.mark in RUN} >= {"A GPU box", "Your own requests", "CI"}
    headings = {_anchor(line) for line in re.findall(r"^#+ (.*)", GUIDE, re.M)}
    methods = (ROOT / "docs" / "METHODS.md").read_text("utf-8")
    there = {_anchor(line) for line in re.findall(r"^#+ (.*)", methods, re.M)}
    for target in re.findall(r"\]\(([^)\s]+)\)", GUIDE.replace("\n", " ")):
        file, _, anchor = target.partition("#")
        assert (ROOT / "docs" / file).exists(), target
        assert not anchor or anchor in (there if file else headings), target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_verb_is_told_of():
    """Every verb of the command line is in the guide."""
    missing = [verb for verb in VERBS if verb != "tiny-model" and not re.search(rf"`?benchsuite {verb}\b", GUIDE)]
    assert missing == []


def test_exit_codes_are_those_of_the_help():
    """The table and `benchsuite --help` name the same codes."""
    told = re.findall(r"^ {2,}(\d+)  ", cli.epilog or "", re.M)
    assert re.findall(r"^\| (\d+) \|", GUIDE, re.M) == told == ["0", "1", "2", "3", "4", "5", "6", "130"]


def test_every_variable_that_is_read_is_in_the_table():
    """What the code reads from the environment is in the guide."""
    read = set()
    for path in (ROOT / "benchsuite").rglob("*.py"):
        read |= set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", path.read_text("utf-8")))
    assert {"XDG_STATE_HOME", "XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES"} <= read
    assert [name for name in sorted(read) if f"`{name}" not in GUIDE] == []


@pytest.mark.parametrize(
    "command", [c for block in BLOCKS if block.mark not in RUN for c in block.commands], ids=lambda text: text[:40]
)
def test_commands_that_need_more_than_a_test_has_exist(command):
    """Each parses: its verb, its flags and what they take are there."""
    words = shlex.split(command)
    assert words[0] == "benchsuite"
    _parsed(cli, words[1:], None)


def _parsed(command: click.Command, words: list[str], parent: click.Context | None) -> None:
    """Parse as click would, down to the last verb, and call nothing."""
    with command.make_context(command.name, list(words), parent=parent) as context:
        if isinstance(command, click.Group):
            rest = [*getattr(context, "_protected_args", []), *context.args]
            _, found, left = command.resolve_command(context, rest)
            assert found is not None
            _parsed(found, left, context)


def ended(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of `benchsuite WORDS`."""
    monkeypatch.setattr("sys.argv", ["benchsuite", *words])
    with pytest.raises(SystemExit) as found:
        main()
    return int(found.value.code or 0)


def shrunk(words: list[str]) -> list[str]:
    """A sweep made small, by flags behind the guide's own; what the guide itself says of size stays."""
    if words[0] != "sweep" or {"--resume", "--print-spec"} & set(words):
        return words
    small = [*SMALL, *FEW.get(words[words.index("--output") + 1], [])]
    return [*words, *(small if "--max-output-tokens" not in words else small[2:])]


GROUPS = {
    "a GPU box": ("A GPU box", "Going on after a stop"),
    "own requests": ("Your own requests", "What is sent"),
    "CI": ("CI",),
    "the rest": ("Reading the report", "How many GPUs, or an API", "Several servers and a fallback", "In a notebook"),
}


@pytest.mark.parametrize("group", GROUPS)
def test_commands(group, documented, monkeypatch, capsys):
    """The commands of each use end well, in the order in which they stand, in one folder."""
    config = SimulatorConfig(latency=LatencyModel(ttft_s=0.002, itl_s=0.0005))
    commands = [c for s in GROUPS[group] for b in BLOCKS if b.section == s and b.mark in RUN for c in b.commands]
    assert commands
    with simulator(config) as one, simulator(config) as other:
        for command in commands:
            at = command.replace("http://127.0.0.1:8000", one.base_url).replace("http://127.0.0.1:8001", other.base_url)
            words = shlex.split(at)
            if words[0] == "python":
                assert (documented / words[1]).exists()  # tests/test_api.py runs it
                continue
            code = ended(shrunk(words[1:]), monkeypatch)
            said = capsys.readouterr()
            assert code in MAY.get(words[1], {0}), (
                f"{command}\nexit code {code}\n{said.out[-2000:]}\n{said.err[-2000:]}"
            )
    assert not [path for path in documented.glob("results/*") if not path.is_dir()]


def test_the_answer_of_a_plan(documented, monkeypatch, capsys):
    """What the guide prints below the business question is what its command prints."""
    (answer,) = re.findall(r"^```text\n(.*?)^```", GUIDE, re.M | re.S)
    command = next(c for b in BLOCKS for c in b.commands if c.startswith("benchsuite plan results/examples/demo"))
    assert ended(shlex.split(command)[1:], monkeypatch) == 6  # nobody measured the API against the SLO
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in answer.splitlines() if line not in printed] == []


def test_no_section_is_left_out():
    """Every block that is to be run is in a group above."""
    grouped = {section for sections in GROUPS.values() for section in sections}
    assert {block.section for block in BLOCKS if block.mark in RUN} == grouped
