"""`benchsuite plan`: replicas for a demand, and which GPUs a model fits."""

from __future__ import annotations

import pytest
from factory import run_folder

pytestmark = pytest.mark.usefixtures("in_stored")
QWEN = "plan --points paper_table4.csv --model Qwen3-30B --usd-per-hour 0.79 --gpus 2"
FIT = "plan --fit --params-b 70 --layers 80 --kv-heads 8 --head-dim 128 --context 4096 --concurrency 32"


def test_half_a_million_requests_a_day(cli):
    """Peak 17.36/s over 4.853 x 0.8: five replicas, a spare, twelve GPUs at $0.79 in 730 hours."""
    found = cli.data(QWEN, "--requests-per-day 500000")
    assert (found["concurrency"], found["working"], found["spare"], found["gpus"]) == (64, 5, 1, 12)
    assert found["usd_per_month"] == pytest.approx(12 * 0.79 * 730)
    assert found["mean_load_ratio"] == pytest.approx(0.199, abs=1e-3)
    assert found["queue"]["p_wait"] < 1e-3
    assert found["measured_levels"] == [8, 128]
    assert found["assumptions"]


def test_the_four_ways_to_tell_a_demand(cli, tmp_path):
    """Users, tokens and hours that make the same peak make the same plan."""
    hours = tmp_path / "hours.csv"
    hours.write_text("hour,requests\n" + "".join(f"{h},{62500 if h == 12 else 18750}\n" for h in range(24)))
    tokens = f"--tokens-per-month {500_000 / 86400 * 2.628e6 * 714.4}"
    assert cli.data(QWEN, "--hours", hours)["working"] == 5  # 17.36/s at noon
    assert cli.data(QWEN, "--users 229")["working"] == 5  # 17.36/s x 13.19 s
    assert cli.data(QWEN, "--users 229 --think-s 13.19")["working"] == 3
    assert cli.data(QWEN, tokens)["working"] == 5


def test_a_run_folder_at_its_own_price(cli, tmp_path):
    """16 requests in 0.96 s at level 4 and $3.60 an hour: 1.44 M a day are 16.7/s, one replica and a spare."""
    run = run_folder(tmp_path / "run")
    found = cli.data("plan", run, "--requests-per-day 144000 --spare 1")
    assert (found["concurrency"], found["working"], found["replicas"]) == (4, 1, 2)
    assert found["usd_per_month"] == pytest.approx(2 * 3.6 * 730)
    assert cli.data("plan", run, "--requests-per-day 144000 --level 2")["concurrency"] == 2


def test_no_level_meets_the_slo(cli):
    """Exit code 3 and the reason."""
    assert cli.data(QWEN, "--requests-per-day 1 --slo throughput>500", code=3)["reason"]


def test_seventy_billion_parameters(cli):
    """Four 80 GB cards in fp16, two in int8, one H200 in int4; never one A100 in fp16 nor one L4 in int4."""
    rows = {(row["gpu"], row["precision"]): row for row in cli.data(FIT)}
    assert rows["A100 80G", "fp16"]["gpus_needed"] == 4
    assert rows["A100 80G", "int8"]["gpus_needed"] == 2
    assert rows["H200", "int4"]["single_gpu"] is True
    assert rows["L4", "int4"]["single_gpu"] is False
    assert rows["L4", "fp16"]["gpus_needed"] is None
    assert {rows["L4", p]["weights_gb"] for p in ("fp16", "int8", "int4")} == {140, 70, 35}


def test_a_gpu_of_ones_own(cli):
    """Of any memory; exit code 3 if none holds the model."""
    assert cli(FIT, "--precision fp8").code == 0
    assert {row["fits"] for row in cli.data(FIT, "--gpu-memory-gb 8", code=3)} == {False}
