"""`benchsuite workload` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchsuite.cli.workload import command
from benchsuite.errors import WorkloadError


def run(*arguments: str) -> str:
    """What the verb prints."""
    result = CliRunner().invoke(command, arguments, catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == 0
    return result.stdout


def test_make_to_stdout() -> None:
    """make writes one JSON object per line to stdout by default."""
    lines = run("make", "wineval", "--requests", "3").splitlines()

    assert [json.loads(line)["id"] for line in lines] == ["wineval-00001", "wineval-00002", "wineval-00003"]


def test_make_does_not_overwrite(tmp_path: Path) -> None:
    """make refuses to write over a file without --force, and makes folders."""
    file = str(tmp_path / "new" / "set.jsonl")
    run("make", "wineval", "--requests", "3", "--output", file)

    with pytest.raises(WorkloadError, match="exists already"):
        run("make", "wineval", "--requests", "3", "--output", file)
    run("make", "wineval", "--requests", "4", "--output", file, "--force")
    assert len(Path(file).read_text("utf-8").splitlines()) == 4


def test_describe_fits_a_terminal() -> None:
    """describe shows every scenario and the whole set within 80 columns."""
    lines = run("describe", "wineval", "--requests", "40").splitlines()

    assert max(map(len, lines)) <= 80
    assert [line.split()[:2] for line in lines if line.startswith(("triage", "all"))] == [
        ["triage", "4"],
        ["all", "40"],
    ]


def test_describe_as_json() -> None:
    """describe --json has one row per scenario and one for the whole set."""
    document = json.loads(run("describe", "wineval", "--requests", "20", "--json"))

    assert document["name"] == "wineval-20"
    assert len(document["scenarios"]) == 11
    assert document["scenarios"][-1]["n"] == 20
    assert document["scenarios"][-1]["language_share"] == {"zh": 0.7, "en": 0.3}
