"""`benchsuite decide`: the paper's table, and run folders judged anew."""

from __future__ import annotations

import json
import shutil

import pytest
from factory import run_folder

PAPER = "--levels-csv paper_table4.csv"
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


@pytest.mark.parametrize("price", ["--usd-per-hour 1.58", "--preset a800-paper --gpus 2"])
def test_the_papers_nine_optima(cli, in_stored, price):
    """Levels and costs of Table 2 from Table 4, at 1.58 an hour or twice 0.79."""
    found = cli.data("decide", PAPER, "--slo ttft_mean<1s,output_throughput_per_user>20", price)
    assert {row["model"]: (row["optimum_concurrency"], f"{row['cost_usd']:.2f}") for row in found} == OPTIMA
    assert all(row["binding"] == "output_throughput_per_user>20" and row["reason"] for row in found)


def test_nobody_meets_the_slo(cli, in_stored):
    """Null optima, the nearest level named; exit code 3, for they miss it by far."""
    found = cli.data("decide", PAPER, "--slo output_throughput_per_user>500", code=3)
    assert {row["optimum_concurrency"] for row in found} == {None}
    assert all(row["nearest"]["concurrency"] == 8 and row["cost_usd"] is None for row in found)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """4 requests of 10 tokens: 0.3 s each alone, 0.4 s at two users, so 0.8 s for all of them."""
    latency = {1: (0.1, 0.2 / 9), 2: (0.1, 0.3 / 9)}
    return run_folder(
        tmp_path_factory.mktemp("decide") / "run",
        levels=(1, 2), requests=4, latency=latency, tokens=10, usd_per_hour=1.8, slo="output_throughput_per_user>20",
        spec={"price": {"gpus": 2}},
    )  # fmt: skip


def test_its_own_price_and_slo(cli, run):
    """4 requests take 0.8 s at level 2: $3.60/h makes $0.0008."""
    (row,) = cli.data("decide", run)
    assert row["optimum_concurrency"] == 2
    assert row["cost_usd"] == pytest.approx(0.0008, rel=1e-4)
    assert row["usd_per_1m_output_tokens"] == pytest.approx(20.0, rel=1e-4)
    assert row["runner_up"]["concurrency"] == 1


def test_judged_anew(cli, run):
    """Another SLO and price without another run: 25 tok/s at level 2 is not enough, 33 at level 1 is."""
    (row,) = cli.data("decide", run, "--slo output_throughput_per_user>30 --usd-per-hour 36 --gpus 1", code=6)
    assert (row["optimum_concurrency"], row["cost_usd"]) == (1, pytest.approx(0.012, rel=1e-4))
    assert row["binding"] == "output_throughput_per_user>30"


def test_a_run_cut_short_is_judged_by_what_is_whole(cli, stored, tmp_path):
    """Levels that did not run to their end, or are invalid, are left out and named, with the reason that is known."""
    shutil.copytree(stored / "demo", tmp_path / "run")
    manifest = json.loads((stored / "demo" / "manifest.json").read_text("utf-8"))
    for point in manifest["points"]:
        point["status"] = "complete" if point["concurrency"] < 16 else "stopped"
        if point["concurrency"] == 32:
            point |= {"status": "invalid", "invalid": "the machine was suspended for 9.0 s"}
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    (row,) = cli.data("decide", tmp_path / "run")
    (warning,) = [warn for warn in row["warnings"] if warn["code"] == "run_cut_short"]
    assert warning["finding"].startswith("3 of 6 points")
    assert warning["finding"].endswith(": c0016-r0, c0064-r0, c0032-r0 (the machine was suspended for 9.0 s)")


def test_a_free_hour_is_judged_by_time(cli, in_stored):
    """At 0 $/hour every level costs nothing: the shortest run is the optimum, not the lowest level."""
    (free,), (paid,) = cli.data("decide demo --usd-per-hour 0"), cli.data("decide demo")
    assert free["optimum_concurrency"] == paid["optimum_concurrency"] == 16
