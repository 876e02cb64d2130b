"""The supply chain: `make check` fails for a known vulnerability, in CI also without a scan; locks, image and SBOM."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.sbom import sbom

ROOT = Path(__file__).parents[2]
AUDIT = Path(__file__).with_name("audit.py")
FINE = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
UNKNOWN = {"dependencies": [{"name": "b", "skip_reason": "not found"}]}
HOLE = {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}]}


BOTH = {"dependencies": HOLE["dependencies"] + UNKNOWN["dependencies"]}


@pytest.mark.parametrize(
    ("answer", "code", "required", "words"),
    [
        (json.dumps(FINE), 0, 0, "1 packages checked, 0 known vulnerabilities"),
        (json.dumps(HOLE), 1, 1, "a 1: PYSEC-1; fixed in 2"),
        (json.dumps(UNKNOWN), 0, 1, "NOTHING was checked: its database does not know them"),
        (json.dumps(BOTH), 1, 1, "1 of 2 packages were not checked"),
        (json.dumps({"dependencies": []}), 0, 1, "NOTHING was checked"),
        ("ConnectionError: no network", 0, 1, "NOTHING was checked: its database cannot be asked"),
        (None, 0, 1, "NOTHING was checked: pip-audit is not installed"),
    ],
)
def test_what_pip_audit_says(answer, code, required, words, tmp_path):
    """A vulnerability fails; what could not be checked is said, and fails where AUDIT=required."""
    python = tmp_path / "bin" / "python"  # so that no pip-audit lies beside it
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    if answer is not None:
        program = python.parent / "pip-audit"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit 1\n")
        program.chmod(0o755)
    for variable, expected in (("", code), ("required", required)):
        env = os.environ | {"PATH": "/usr/bin:/bin", "AUDIT": variable}
        done = subprocess.run([python, "-S", "-E", AUDIT], capture_output=True, text=True, env=env)
        assert words in done.stdout, done.stderr
        assert done.returncode == expected


@pytest.mark.parametrize("lock", ["requirements.lock", "docker/requirements.lock"])
def test_locks_have_versions_and_hashes(lock):
    """Every requirement is of one version with its hashes, and no lock names where it comes from."""
    text = (ROOT / lock).read_text("utf-8")
    entries = re.findall(r"^([a-z0-9-]+)==\S+(.*?)(?=^\S|\Z)", text, re.M | re.S)
    assert len(entries) > 40
    assert [name for name, rest in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", rest)] == []
    assert len(entries) == len(re.findall(r"^[^#\s-]", text, re.M))
    assert "://" not in text


def test_the_image_has_what_the_tests_had():
    """The image's lock is a part of the other; it has its base by digest, its lock's hashes, and no root."""
    pinned = [
        set(re.findall(r"^\S+==\S+", (ROOT / p / "requirements.lock").read_text("utf-8"), re.M)) for p in ("", "docker")
    ]
    assert pinned[1] < pinned[0]
    image = (ROOT / "docker" / "Dockerfile").read_text("utf-8")
    assert re.findall(r"^FROM \S+@sha256:[0-9a-f]{64}$", image, re.M) == re.findall(r"^FROM .*", image, re.M)
    assert "--require-hashes" in image
    assert re.findall(r"^USER (.*)", image, re.M)[-1].partition(":")[0] not in ("", "0", "root")


def test_the_sbom_names_what_the_image_has():
    """A component with package URL and hashes of each line of the image's lock."""
    found = json.loads(sbom())
    assert (found["bomFormat"], found["metadata"]["component"]["name"]) == ("CycloneDX", "benchsuite")
    urls = {component["purl"].removeprefix("pkg:pypi/").replace("@", "==") for component in found["components"]}
    assert urls == set(re.findall(r"^[^#\s]+==\S+", (ROOT / "docker" / "requirements.lock").read_text("utf-8"), re.M))
    assert all(component["hashes"] for component in found["components"])
