"""`benchsuite decide` from the outside: the paper's table, and run folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import benchsuite.store.run_folder
from benchsuite.cli.decide import command
from benchsuite.errors import BenchsuiteError, InputError, PointsError, PriceError, SloError
from benchsuite.records import RequestRecord

TABLE4 = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
OPTIMA = {
    "WiNGPT-2.7": (16, "0.36"),
    "GLM-4-32B-0414": (8, "0.69"),
    "gpt-oss-20b-low": (64, "0.11"),
    "WiNGPT-3.0": (16, "3.47"),
    "Seed-OSS-36B": (16, "0.55"),
    "medgemma-27b": (32, "0.97"),
    "Mistral-Small": (64, "0.25"),
    "Qwen3-30B": (64, "0.27"),
    "WiNGPT-3.5": (48, "0.34"),
}


def run(*flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, flags, catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout


def decided(*flags: str) -> tuple[int, list[dict[str, Any]]]:
    code, text = run(*flags, "--json")
    return code, json.loads(text)


def test_the_papers_nine_optima():
    """Levels and costs of Table 2 from Table 4."""
    code, found = decided("--points", str(TABLE4), "--slo", "ttft_mean<1s,throughput>20", "--usd-per-hour", "1.58")
    assert code == 0
    assert {row["model"]: (row["optimum_concurrency"], f"{row['cost_usd']:.2f}") for row in found} == OPTIMA
    assert all(row["binding"] == "throughput > 20 tok/s" and row["reason"] for row in found)


def test_two_gpus_of_a_preset():
    """2 x 0.79 is the paper's 1.58."""
    flags = ("--points", str(TABLE4), "--preset", "a800-paper", "--gpus", "2")
    _, found = decided(*flags)
    assert {row["model"]: f"{row['cost_usd']:.2f}" for row in found} == {m: usd for m, (_, usd) in OPTIMA.items()}


def test_nobody_meets_the_slo():
    """Exit code 3, null optima, the nearest level named."""
    code, found = decided("--points", str(TABLE4), "--slo", "throughput>500")
    assert code == 3
    assert {row["optimum_concurrency"] for row in found} == {None}
    assert all(row["nearest"]["concurrency"] == 8 and row["cost_usd"] is None for row in found)


def test_table_for_people():
    """The level and the warning are there."""
    code, text = run("--points", str(TABLE4), "--usd-per-hour", "1.58")
    assert code == 0
    assert "Cheapest level that meets the SLO" in text
    assert "throughput_identity" in text


def _row(**fields: Any) -> RequestRecord:
    blank = dict.fromkeys(RequestRecord._fields)
    blank |= {"run_id": "r", "point_id": "p", "request_id": "q", "prompt_id": "q", "repeat": 0, "worker": 0}
    blank |= {"scheduled_s": 0.0, "n_chunks": 2, "n_reads": 2, "merged_reads": 0, "status": "ok"}
    blank |= {"token_source": "usage", "input_tokens": 5}
    return RequestRecord(**(blank | fields))


def _fake_run(path: Path) -> benchsuite.store.run_folder.Run:
    """Two users: 10 tokens in 0.4 s each; one user: 10 tokens in 0.3 s."""
    rows = []
    for level, took_s in ((1, 0.3), (2, 0.4)):
        for k in range(4):
            sent_s = (k // level) * took_s
            times = {"sent_s": sent_s, "scheduled_s": sent_s, "first_token_s": sent_s + 0.1}
            times |= {"last_token_s": sent_s + took_s, "closed_s": sent_s + took_s}
            rows.append(_row(concurrency=level, output_tokens=10, chunk_gap_us=[round((took_s - 0.1) * 1e6)], **times))
    table = pa.Table.from_pylist([row._asdict() for row in rows])
    spec = {
        "server": {"base_url": "http://localhost:1", "model": "tiny"},
        "price": {"usd_per_hour": 1.8, "gpus": 2},
        "slo": "throughput>20",
    }
    points = [{"point_id": "p", "status": "complete"}]
    return benchsuite.store.run_folder.Run(path, {"run_id": "r", "spec": spec, "points": points}, table)


def test_run_folder_with_its_own_price_and_slo(monkeypatch):
    """4 requests take 0.8 s at level 2: $3.60/h makes $0.0008."""
    monkeypatch.setattr(benchsuite.store.run_folder, "read_run", _fake_run)
    code, (row,) = decided("somewhere")
    assert code == 0
    assert (row["model"], row["optimum_concurrency"]) == ("tiny", 2)
    assert row["cost_usd"] == pytest.approx(0.0008)
    assert row["usd_per_1m_output_tokens"] == pytest.approx(20.0)
    assert row["runner_up"]["concurrency"] == 1


def test_run_folder_judged_anew(monkeypatch):
    """Another SLO and price without another run: 25 tok/s at level 2 is not enough, 33 at level 1 is."""
    monkeypatch.setattr(benchsuite.store.run_folder, "read_run", _fake_run)
    _, (row,) = decided("somewhere", "--slo", "throughput>30", "--usd-per-hour", "36", "--gpus", "1")
    assert (row["optimum_concurrency"], row["cost_usd"]) == (1, pytest.approx(0.012))
    assert row["binding"] == "throughput > 30 tok/s"


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ((), PointsError),
        (("run", "--points", str(TABLE4)), PointsError),
        (("--points", "no-such-file.csv"), InputError),
        (("no-such-folder",), PointsError),
        (("--points", str(TABLE4), "--slo", "speed>20"), SloError),
        (("--points", str(TABLE4), "--usd-per-hour", "-1"), PriceError),
        (("--points", str(TABLE4), "--usd-per-hour", "1", "--preset", "l4"), PriceError),
    ],
)
def test_bad_input_exits_2(flags, error):
    """Named by its class, which carries exit code 2."""
    with pytest.raises(BenchsuiteError) as caught:
        run(*flags)
    assert isinstance(caught.value, error)
    assert caught.value.exit_code == 2


DEMO = TABLE4.parents[2] / "results" / "examples" / "demo"


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ((str(DEMO), str(DEMO)), "a run is named twice"),
        ((str(DEMO), "--slo", ""), "the SLO is empty"),
    ],
)
def test_what_would_go_unnoticed_is_refused(flags, what):
    """The same folder twice, an SLO of an unset shell variable."""
    with pytest.raises(BenchsuiteError) as caught:
        run(*flags)
    assert caught.value.what == what
    assert caught.value.exit_code == 2


def test_lost_rows_are_no_verdict(tmp_path):
    """A folder whose rows are gone says so; it does not say that no level meets the SLO."""
    (tmp_path / "manifest.json").write_bytes((DEMO / "manifest.json").read_bytes())
    with pytest.raises(PointsError) as caught:
        run(str(tmp_path))
    assert caught.value.what == "the rows of 6 measured points are missing"


def test_a_run_cut_short_is_judged_by_what_is_whole(tmp_path):
    """Levels that did not run to their end are left out and named; with none left there is nothing to judge."""
    shutil.copytree(DEMO, tmp_path / "run")
    manifest = json.loads((DEMO / "manifest.json").read_text("utf-8"))
    for point in manifest["points"]:
        point["status"] = "complete" if point["concurrency"] < 16 else "stopped"
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    _, (row,) = decided(str(tmp_path / "run"))
    (told,) = [warn for warn in row["warnings"] if warn["code"] == "run_cut_short"]
    assert told["finding"].startswith("3 of 6 points were not measured to their end")

    for point in manifest["points"]:
        point["status"] = "stopped"
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(PointsError) as caught:
        run(str(tmp_path / "run"))
    assert caught.value.what == "no level of the run was measured to its end, so there is nothing to judge"


def test_a_free_hour_is_judged_by_time():
    """At 0 $/hour every level costs nothing: the shortest run is the optimum, not the lowest level."""
    _, (free,) = decided(str(DEMO), "--usd-per-hour", "0")
    _, (paid,) = decided(str(DEMO))
    assert free["optimum_concurrency"] == paid["optimum_concurrency"] == 16
