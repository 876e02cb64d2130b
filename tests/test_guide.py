"""The commands of README and the guide work as they stand there; those that need a GPU or a container, and those of all
other pages, exist with their flags. `make demo` and `make test` are run by .ci/run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from benchmarks.__main__ import BENCHMARKS
from benchsuite.cli.main import VERBS, cli, main
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator

ROOT = Path(__file__).parent.parent
PAGES = {
    path.stem: path.read_text("utf-8") for path in [*sorted((ROOT / "docs" / "guide").glob("*.md")), ROOT / "README.md"]
}
GUIDE = (ROOT / "docs" / "GUIDE.md").read_text("utf-8") + "".join(
    text for page, text in PAGES.items() if page != "README"
)
RUN = ("", "two-servers")  # marks of blocks that are run: a comment before the fence; the others are only parsed
# what makes a command of the guide small enough for a test; it stays the guide's command
SMALL = ["--max-output-tokens", "3", "--warmup-requests", "0", "--gpu", "off"]
FEW = {
    "results/rates": [
        "--rate",
        "20,40",
        "--duration-s",
        "1",
        "--warmup-s",
        "0.2",
        "--tail-max-s",
        "1",
        "--requests",
        "8",
        "--quiet",
    ],
    "results/users": ["--concurrency", "2,4", "--requests", "8", "--quiet"],
    "results/first": ["--requests", "12", "--concurrency", "2,4"],
}
# what a command may end with besides 0: a machine under test is not a machine to measure on
MAY = {"doctor": {0, 1}, "gate": {0, 5, 6}} | {
    verb: {0, 6} for verb in ("find", "sweep", "demo", "decide", "import", "matrix", "frontier", "plan")
}


@dataclass(frozen=True)
class Block:
    """A fenced block of commands, the page that it is on, and its mark."""

    page: str
    mark: str
    commands: tuple[str, ...]


def blocks() -> Iterator[Block]:
    for page, text in PAGES.items():
        for mark, block in re.findall(r"^(?:<!-- ([\w-]+) -->\n)?```sh\n(.*?)^```", text, re.M | re.S):
            block = re.sub(r"^make .*|^\.venv/bin/", "", block, flags=re.M)
            lines = [line.partition(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
            yield Block(page, mark, tuple(line for line in lines if line))


BLOCKS = list(blocks())


def documents() -> Iterator[Path]:
    """Every page of the repository."""
    yield from (path for folder in (ROOT, ROOT / "workloads", ROOT / "results") for path in folder.glob("*.md"))
    yield from (ROOT / "docs").rglob("*.md")


@pytest.mark.parametrize("page", list(documents()), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    """A link names a file of the repository, and a heading of it."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text.replace("\n", " ")):
        file, _, anchor = target.partition("#")
        if not target.startswith("http"):
            linked = page.parent / file if file else page
            assert linked.exists(), target
            assert not anchor or anchor in {
                _anchor(line) for line in re.findall(r"^#+ (.*)", linked.read_text("utf-8"), re.M)
            }, target


def test_every_command_of_a_page_exists():
    """What a fenced block of any page runs is a verb with its flags, a target of the Makefile, or a module's."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for page in documents():
        text = page.read_text("utf-8")
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if found := re.match(r"(?:\.venv/bin/)?benchsuite (.*)", line.partition(" #")[0]):
                    _parsed(cli, shlex.split(found[1].partition(" > ")[0].partition(" && ")[0]), None)
        for target in re.findall(r"(?:`|^)make ([\w-]+)", text, re.M):
            assert target in targets, f"{page.name}: make {target}"
        for name in re.findall(r"python -m benchmarks (\w+)", text):
            assert (ROOT / "benchmarks" / f"{name}.py").exists() or name in BENCHMARKS, f"{page.name}: {name}"


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
    """A sweep or a search made small, by flags behind the guide's own; what the guide itself says of size stays."""
    if words[0] not in ("sweep", "find") or {"--resume", "--print-spec", "--dry-run"} & set(words):
        return words
    if words[0] == "find":
        return [*words, *SMALL[:2], *SMALL[4:], "--budget-min", "0.1", "--high", "8"]
    small = [*SMALL, *FEW.get(words[words.index("--output") + 1], [])]
    return [*words, *(small if "--max-output-tokens" not in words else small[2:])]


# the pages whose commands run in one folder, one after the other
GROUPS = {
    "a GPU box": ("gpu-box", "reference"),
    "own requests": ("own-requests",),
    "quality": ("quality",),
    "rates": ("rates",),
    "CI": ("ci",),
    "README": ("README",),
    "the rest": ("several-models", "api-or-gpus", "several-machines", "report"),
}


@pytest.mark.parametrize("group", GROUPS)
def test_commands(group, documented, monkeypatch, capsys):
    """The commands of each use end well, in the order in which they stand, in one folder."""
    config = SimulatorConfig(latency=LatencyModel(ttft_s=0.002, itl_s=0.0005))
    commands = [c for s in GROUPS[group] for b in BLOCKS if b.page == s and b.mark in RUN for c in b.commands]
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


@pytest.mark.parametrize(("page", "command", "codes"), [
    ("api-or-gpus", "plan results/examples/demo", {6}),  # nobody measured the API against the SLO
    ("README", "decide results/examples/demo", {0, 6}),
])  # fmt: skip
def test_what_a_page_says_is_printed(page, command, codes, documented, monkeypatch, capsys):
    """What a page shows below a command is what it prints, but for the ends of lines."""
    (answer,) = re.findall(r"^```text\n(.*?)^```", PAGES[page], re.M | re.S)
    whole = next(
        (c for b in BLOCKS for c in b.commands if c.startswith(f"benchsuite {command}")), f"benchsuite {command}"
    )
    assert ended(shlex.split(whole)[1:], monkeypatch) in codes
    printed = " ".join(capsys.readouterr().out.split())
    assert [part for part in answer.split("\n\n") if " ".join(part.split()) not in printed] == []


def test_no_page_is_left_out():
    """Every page is in a group above, and in the index."""
    assert {page for pages in GROUPS.values() for page in pages} == set(PAGES)
    assert [page for page in PAGES if page != "README" and f"](guide/{page}.md)" not in GUIDE] == []
