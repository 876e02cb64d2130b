"""The README's commands work as they stand there. `make demo` and `make test` are run by .ci/run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

from benchsuite.cli.main import main

ROOT = Path(__file__).parent.parent
# what makes a command of the README small enough for a test; it stays the README's command
SMALL = {
    "calibrate": ["--seconds", "1"],
    "sweep": ["--requests", "64", "--max-output-tokens", "4", "--warmup-requests", "1"],
}
UNDECIDED = ("decide results/examples/demo", "plan results/examples/demo")  # one run near its limit


def commands() -> Iterator[str]:
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith(".venv/bin/benchsuite "):
            yield line.removeprefix(".venv/bin/benchsuite ").partition("#")[0].strip()


@pytest.mark.parametrize("command", list(commands()), ids=lambda text: text.split()[0])
def test_readme_command(
    command: str, cli: CommandLine, simulated: Any, documented: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one ends with its exit code, a sweep of a simulator with what `decide` says of it."""
    words = [word.replace("http://127.0.0.1:8000", simulated.base_url) for word in shlex.split(command)]
    monkeypatch.setattr("sys.argv", ["benchsuite", *words, *SMALL.get(words[0], [])])
    with pytest.raises(SystemExit) as ended:
        main()
    if words[0] == "sweep":
        (run,) = {path.parent for path in documented.glob("results/*/manifest.json")}
        assert ended.value.code == cli("decide", run).code
    else:
        assert ended.value.code == (6 if command.startswith(UNDECIDED) else 0)


def test_there_are_commands() -> None:
    """The search above finds them: one a verb at least."""
    verbs = {command.split()[0] for command in commands()}

    assert verbs >= {"sweep", "decide", "cost", "workload", "report", "--help"}
