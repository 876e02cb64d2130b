"""The half that reads and judges works where POSIX's own modules are not there, as on Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BLOCKED = """
import os, signal, sys

class NotHere:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "grp", "posix_ipc", "pty", "pwd", "resource", "termios", "tty"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, NotHere())
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules.pop(name, None)
for name in ("SIGHUP", "SIGKILL", "SIGCHLD"):
    delattr(signal, name)
del os.O_DIRECTORY
"""
RUN = """
from benchsuite.cli.main import main
sys.argv = ["benchsuite", *sys.argv[1:]]
main()
"""
EACH = """
from benchsuite.cli.main import main
failed = {}
for command in sys.argv[1:]:
    sys.argv = ["benchsuite", *command.split()]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            failed[command] = ended.code
print(failed)
"""
API = """
import benchsuite
run = benchsuite.read_run("demo")
print(len(run.requests), benchsuite.find_optimum(run).kind, len(benchsuite.summarise(run)))
"""


def python(code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


COMMANDS = """
--help
decide demo
check demo --scaling --attribution --balance --energy
report demo --output page.html
report demo repeated --format csv --output levels.csv
gate repeated --slo output_throughput_per_user>0
plan repeated --requests-per-day 2000 --usd-per-hour 1
cost --preset h100-low
workload describe wineval --requests 8
schema
"""


def test_verbs_that_read(stored: Path, tmp_path: Path) -> None:
    """Each ends well on a stored run."""
    for run in ("demo", "repeated"):
        (tmp_path / run).symlink_to(stored / run)
    done = python(EACH, *COMMANDS.strip().splitlines(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{}"


def test_an_import(stored: Path, tmp_path: Path) -> None:
    """Another tool's files become a run folder: the verb writes files and a report."""
    (tmp_path / "demo").symlink_to(stored / "demo")
    assert python(RUN, *["report", "demo", "--format", "vllm", "--output", "v"], cwd=tmp_path).returncode == 0
    files = [str(path) for path in sorted((tmp_path / "v").glob("*.json"))]
    done = python(
        RUN, "import", "vllm-bench", *files, *["--output", "run", "--slo", "output_throughput_per_user>0"], cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()


def test_the_notebook(stored: Path) -> None:
    """Runs are read, judged and summarised."""
    done = python(API, cwd=stored)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "optimum"
