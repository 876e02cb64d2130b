"""The README's commands work as they stand there. `make demo` and `make test` are run by .ci/run."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchsuite.cli.main import main
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator

ROOT = Path(__file__).parent.parent
# what makes a command of the README small enough for a test; it stays the README's command
SMALL = {
    "calibrate": ["--seconds", "1"],
    "sweep": ["--requests", "64", "--max-output-tokens", "4", "--warmup-requests", "1"],
}


def commands() -> Iterator[str]:
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith(".venv/bin/benchsuite "):
            yield line.removeprefix(".venv/bin/benchsuite ").partition("#")[0].strip()


@pytest.mark.parametrize("command", list(commands()), ids=lambda text: text.split()[0])
def test_readme_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one ends with exit code 0, or 6 where a run is undecided, against a simulator where it wants a server."""
    shutil.copytree(ROOT / "results" / "examples", tmp_path / "results" / "examples")
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.01, itl_s=0.001))) as server:
        words = [word.replace("http://127.0.0.1:8000", server.base_url) for word in shlex.split(command)]
        monkeypatch.setattr("sys.argv", ["benchsuite", *words, *SMALL.get(words[0], [])])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code in (0, 6)


def test_there_are_commands() -> None:
    """The search above finds them: one a verb at least."""
    verbs = {command.split()[0] for command in commands()}

    assert verbs >= {"sweep", "decide", "cost", "workload", "report", "--help"}
