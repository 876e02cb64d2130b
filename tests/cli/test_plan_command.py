"""`benchsuite plan` from the outside: replicas for a demand, and which GPUs a model fits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from benchsuite.cli.plan import command
from benchsuite.errors import BenchsuiteError

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from runs_for_tests import make_run

TABLE4 = str(Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv")
QWEN = ("--points", TABLE4, "--model", "Qwen3-30B", "--usd-per-hour", "0.79", "--gpus", "2")
SHAPE = ("--params-b", "70", "--layers", "80", "--kv-heads", "8", "--head-dim", "128")
FIT = ("--fit", *SHAPE, "--context", "4096", "--concurrency", "32")


def run(*flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, flags, catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout


def planned(*flags: str) -> dict[str, Any]:
    code, text = run(*flags, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(text)
    return found


def test_half_a_million_requests_a_day():
    """Peak 17.36/s over 4.853 x 0.8: five replicas, a spare, twelve GPUs at $0.79 in 730 hours."""
    found = planned(*QWEN, "--requests-per-day", "500000")
    assert (found["concurrency"], found["working"], found["spare"], found["gpus"]) == (64, 5, 1, 12)
    assert found["usd_per_month"] == pytest.approx(12 * 0.79 * 730)
    assert found["mean_load_ratio"] == pytest.approx(0.199, abs=1e-3)
    assert found["queue"]["p_wait"] < 1e-3
    assert found["measured_levels"] == [8, 128]
    assert found["assumptions"]


def test_the_four_ways_to_tell_a_demand(tmp_path):
    """Users, tokens and hours that make the same peak make the same plan."""
    hours = tmp_path / "hours.csv"
    hours.write_text("hour,requests\n" + "".join(f"{h},{62500 if h == 12 else 18750}\n" for h in range(24)))
    assert planned(*QWEN, "--hours", str(hours))["working"] == 5  # 17.36/s at noon
    assert planned(*QWEN, "--users", "229")["working"] == 5  # 17.36/s x 13.19 s
    assert planned(*QWEN, "--users", "229", "--think-s", "13.19")["working"] == 3
    tokens = str(500_000 / 86400 * 2.628e6 * 714.4)
    assert planned(*QWEN, "--tokens-per-month", tokens)["working"] == 5


def test_sentence_for_people():
    """The answer in one line, its assumptions below it."""
    code, text = run(*QWEN, "--requests-per-day", "500000")
    assert code == 0
    text = " ".join(text.split())
    assert "6 replicas (12 GPUs) for your load with one spare: 5 carry the peak of 17.4 requests/s" in text
    assert "peak 3 times the mean" in text
    assert "a month has 730 hours" in text


def test_a_run_folder_at_its_own_price(tmp_path):
    """16 requests in 0.96 s at level 4 and $3.60 an hour: 1.44 M a day are 16.7/s, one replica and a spare."""
    folder = make_run(tmp_path / "run")
    found = planned(str(folder), "--requests-per-day", "144000", "--spare", "1")
    assert (found["concurrency"], found["working"], found["replicas"]) == (4, 1, 2)
    assert found["usd_per_month"] == pytest.approx(2 * 3.6 * 730)
    assert planned(str(folder), "--requests-per-day", "144000", "--level", "2")["concurrency"] == 2


def test_no_level_meets_the_slo():
    """Exit code 3 and the reason."""
    code, text = run(*QWEN, "--requests-per-day", "1", "--slo", "throughput>500", "--json")
    assert code == 3
    assert json.loads(text)["reason"].startswith("no level meets the SLO")


def test_seventy_billion_parameters():
    """Four 80 GB cards in fp16, two in int8, one H200 in int4; never one A100 in fp16 nor one L4 in int4."""
    code, text = run(*FIT, "--json")
    assert code == 0
    rows = {(row["gpu"], row["precision"]): row for row in json.loads(text)}
    assert rows["A100 80G", "fp16"]["gpus_needed"] == 4
    assert rows["A100 80G", "int8"]["gpus_needed"] == 2
    assert rows["H200", "int4"]["single_gpu"] is True
    assert rows["L4", "int4"]["single_gpu"] is False
    assert rows["L4", "fp16"]["gpus_needed"] is None
    assert {rows["L4", p]["weights_gb"] for p in ("fp16", "int8", "int4")} == {140, 70, 35}


def test_fit_for_people_and_own_gpus():
    """A table with its assumptions; a GPU of any memory; exit code 3 if none holds it."""
    code, text = run(*FIT, "--precision", "fp8")
    assert (code, "KV cache in fp16" in " ".join(text.split())) == (0, True)
    code, text = run(*FIT, "--gpu-memory-gb", "8", "--json")
    assert (code, {row["fits"] for row in json.loads(text)}) == (3, {False})


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ((*QWEN, "--requests-per-day", "-1"), "requests_per_day"),
        ((*QWEN, "--requests-per-day", "9", "--peak-factor", "0.5"), "peak_factor"),
        ((*QWEN, "--requests-per-day", "9", "--headroom", "0"), "headroom"),
        ((*QWEN, "--requests-per-day", "9", "--spare", "-1"), "spare"),
        ((*QWEN, "--requests-per-day", "9", "--level", "256"), "--level"),
        ((*QWEN, "--requests-per-day", "9", "--think-s", "1"), "--think-s"),
        ((*QWEN, "--hours", "no-such.csv"), "no-such.csv"),
        ((*QWEN, "--hours", "no-such.csv", "--peak-factor", "2"), "--peak-factor"),
        (("--points", TABLE4, "--requests-per-day", "9"), "--model"),
        (("--points", TABLE4, "--model", "Qwen", "--requests-per-day", "9"), "--model"),
        (("--fit", *SHAPE, "--context", "4096"), "--concurrency"),
        (("--fit", *SHAPE, "--context", "-1", "--concurrency", "1"), "context_tokens"),
        ((*FIT, "--precision", "fp17"), "precision"),
        ((*FIT, "--memory-share", "2"), "memory_share"),
    ],
)
def test_nonsense_names_the_key(flags, where):
    """One refusal, exit code 2, that says which flag."""
    with pytest.raises(BenchsuiteError) as caught:
        run(*flags)
    assert (caught.value.where, caught.value.exit_code) == (where, 2)


def test_one_demand_and_one_purpose():
    """No demand, two demands, a shape without --fit, a run with --fit: refused."""
    with pytest.raises(BenchsuiteError, match="exactly one way to tell the demand"):
        run(*QWEN)
    with pytest.raises(BenchsuiteError, match="exactly one way to tell the demand"):
        run(*QWEN, "--users", "5", "--requests-per-day", "5")
    with pytest.raises(click.UsageError, match="--layers belongs to --fit"):
        run(*QWEN, "--users", "5", "--layers", "80")
    with pytest.raises(BenchsuiteError, match="--fit needs no measurement"):
        run(*FIT, "--points", TABLE4)
