"""`benchsuite workload` from the outside."""

from __future__ import annotations

import json
from pathlib import Path


def test_make_to_stdout(cli) -> None:
    """make writes one JSON object per line to stdout by default."""
    lines = cli("workload make wineval --requests 3").out.splitlines()

    assert [json.loads(line)["id"] for line in lines] == ["wineval-00001", "wineval-00002", "wineval-00003"]


def test_make_does_not_overwrite(cli, tmp_path: Path) -> None:
    """make refuses to write over a file without --force, and makes folders."""
    file = tmp_path / "new" / "set.jsonl"
    made = [cli("workload make wineval", flags, "--output", file).code for flags in ("--requests 3", "--requests 4")]
    assert made == [0, 2]
    assert cli("workload make wineval --requests 4 --force --output", file).code == 0
    assert len(file.read_text("utf-8").splitlines()) == 4


def test_describe_fits_a_terminal(cli) -> None:
    """describe shows every scenario and the whole set within 80 columns."""
    lines = cli("workload describe wineval --requests 40", COLUMNS="80").out.splitlines()

    assert max(map(len, lines)) <= 80
    assert [line.split()[:2] for line in lines if line.startswith(("triage", "all"))] == [
        ["triage", "4"],
        ["all", "40"],
    ]


def test_describe_as_json(cli) -> None:
    """describe --json has one row per scenario and one for the whole set."""
    document = cli.data("workload describe wineval --requests 20")

    assert document["name"] == "wineval-20"
    assert len(document["scenarios"]) == 11
    assert document["scenarios"][-1]["n"] == 20
    assert document["scenarios"][-1]["language_share"] == {"zh": 0.7, "en": 0.3}
