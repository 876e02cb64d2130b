"""`make check` fails for a known hole in a dependency, and for nothing that is this machine's fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).with_name("audit.py")
FINE = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
HOLE = {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}]}


@pytest.mark.parametrize(
    ("says", "code", "told"),
    [
        (json.dumps(FINE), 0, "1 packages, 0 known holes"),
        (json.dumps(HOLE), 1, "a 1: PYSEC-1; fixed in 2"),
        ("ConnectionError: no network", 0, "skipped, its database cannot be asked"),
        (None, 0, "skipped, it is not installed"),
    ],
)
def test_what_pip_audit_says(says, code, told, tmp_path):
    """A hole fails; no program and no network are said, and pass."""
    python = tmp_path / "bin" / "python"  # so that no pip-audit lies beside it
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    if says is not None:
        program = python.parent / "pip-audit"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit 1\n")
        program.chmod(0o755)
    env = os.environ | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([python, "-S", "-E", AUDIT], capture_output=True, text=True, env=env)
    assert told in done.stdout, done.stderr
    assert done.returncode == code
