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
EACH = """
import benchsuite
run = benchsuite.read_run("demo")
notebook = (len(run.requests), benchsuite.find_optimum(run).kind, len(benchsuite.summarise(run)))
from benchsuite.cli.main import main  # from then on no pandas
failed = {}
for command in sys.argv[1:]:
    sys.argv = ["benchsuite", *command.split()]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            failed[command] = ended.code
print(failed)
print(*notebook)
"""
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
report demo --format vllm --output v
import vllm-bench v/c0001-r0.json --output run --slo output_throughput_per_user>0
"""


def test_what_reads_and_judges(stored: Path, tmp_path: Path) -> None:
    """Each verb ends well on a stored run, another tool's files become a run folder, and a notebook reads runs."""
    for run in ("demo", "repeated"):
        (tmp_path / run).symlink_to(stored / run)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + EACH, *COMMANDS.strip().splitlines()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, failed, notebook = done.stdout.splitlines()
    assert failed == "{}"
    assert notebook == "576 optimum 6"
    assert (tmp_path / "run" / "report.html").exists()
