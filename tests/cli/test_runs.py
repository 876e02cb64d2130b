"""`benchsuite runs`: what it lists, and what it makes of folders that are no whole run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine
from factory import run_folder

from benchsuite.report.page import write_judged
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import read_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A judged run, one that nobody judged, one in a matrix's folder, a damaged one, and what is no run."""
    root = tmp_path / "results"
    for name, day in (("judged", 3), ("not-judged", 2), ("matrix/slots=4", 1)):
        run_folder(root / name, manifest={"run_id": name, "created": f"2026-01-0{day}T03:04:05+00:00"})
    write_judged(read_run(root / "judged"))
    (root / "matrix" / "slots=4" / "summary.json").write_text('{"optimum": 7}')
    (root / "damaged").mkdir()
    (root / "damaged" / "manifest.json").write_text("{")
    (root / "empty").mkdir()
    return root


def test_runs_are_listed(cli: CommandLine, results: Path) -> None:
    """The newest first, each with its model, server, date, SLO and decision; a damaged one says so and ends nothing."""
    rows = cli.data("runs", results)
    assert [Path(row["run"]).relative_to(results).as_posix() for row in rows] == [
        "judged", "not-judged", "matrix/slots=4", "damaged",
    ]  # fmt: skip
    judged, unjudged, odd, damaged = rows
    summary = json.loads((results / "judged" / "summary.json").read_text())
    assert judged["decision"].startswith(f"{summary['optimum']['concurrency']}: {summary['optimum']['verdict']}, $")
    assert (judged["model"], judged["date"]) == ("m", "2026-01-03 03:04")
    assert judged["slo"].startswith("ttft_mean<")
    assert (unjudged["decision"], odd["decision"]) == ("not judged", "not judged")
    assert (damaged["decision"], damaged["model"]) == ("cannot be read: the manifest cannot be read", None)
    assert cli("runs", results).out.count("2026-01-0") == 3


def test_a_folder_that_is_not_there_is_refused(cli: CommandLine, tmp_path: Path) -> None:
    """With the folder, and what was expected."""
    ended = cli("runs", tmp_path / "none")
    assert (ended.code, ended.error.where) == (2, str(tmp_path / "none"))


SERVER = SimulatorConfig(latency=LatencyModel(ttft_s=0.001, itl_s=0.0005))


def test_a_sweep_prints_its_summary_as_json(cli: CommandLine, tmp_path: Path) -> None:
    """With --json the summary is all that stands on stdout, and it is the one in the folder."""
    with simulator(SERVER) as server:
        said = cli(
            "sweep --json --concurrency 2 --requests 8 --warmup-requests 2 --warmup-min-s 0 --cooldown-min-s 0",
            ("--base-url", server.base_url, "--output", str(tmp_path / "run")),
        )
    assert said.data == json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert said.data["points"][0]["concurrency"] == 2


@pytest.mark.parametrize(
    ("flags", "minutes"),
    [
        ("--requests 100 --max-output-tokens 100 --usd-per-hour 36", "1.7 to 17 min, $1 to $10"),
        ("--requests 100 --max-output-tokens 100", "1.7 to 17 min, if"),
        ("--workload {no_cap}", "not known before"),
    ],
)
def test_a_dry_run_says_how_long_and_sends_nothing(cli: CommandLine, tmp_path: Path, flags: str, minutes: str) -> None:
    """From the caps of the answers at stated speeds; without caps it is not known; no server is asked."""
    (tmp_path / "set.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    flags = flags.format(no_cap=tmp_path / "set.jsonl")
    fixed = "--base-url http://127.0.0.1:9 --concurrency 1 --warmup-requests 0 --warmup-min-s 0 --cooldown-min-s 0"
    assert minutes in cli("sweep --dry-run", fixed, flags).out
    assert list(tmp_path.iterdir()) == [tmp_path / "set.jsonl"]
