"""`benchsuite check`: the paper's table, a run with repeats, and where TTFT goes."""

from __future__ import annotations

from collections import defaultdict

import pytest
from factory import run_folder

from benchsuite.report.judge import judge_run
from benchsuite.store.run_folder import read_run

PAPER = "check --levels-csv paper_table4.csv"
GLM, SEED = "GLM-4-32B-0414", "Seed-OSS-36B"


def by_code(findings):
    """Model and level by code."""
    found = defaultdict(set)
    for row in findings:
        assert list(row) == ["model", "concurrency", "code", "severity", "finding", "effect", "remedy"]
        assert row["finding"]
        assert row["remedy"]
        found[row["code"]].add((row["model"], row["concurrency"]))
    return found


def test_what_is_wrong_in_the_papers_table(cli, in_stored):
    """The wrong throughput cells, the disturbed runs, the rising times and the optima that hang on 1 %."""
    codes = by_code(cli.data(PAPER))
    assert codes["throughput_identity"] == {(GLM, 32), (GLM, 48), (GLM, 64), (GLM, 128)}
    assert codes["slow_level"] == {(GLM, 16), (GLM, 32), (SEED, 32)}
    assert codes["superlinear_scaling"] == {(GLM, 48), (SEED, 48)}
    assert codes["duration_rises"] == {(GLM, 16), ("Qwen3-30B", 32), ("WiNGPT-3.5", 128)}
    assert codes["fragile_optimum"] == {("medgemma-27b", 32), ("Qwen3-30B", 64)}
    assert codes["near_miss"] == {("WiNGPT-2.7", 32)}
    # at 15 tok/s other levels hang on a hair
    assert ("medgemma-27b", 32) not in by_code(cli.data(PAPER, "--slo output_throughput_per_user>15"))[
        "fragile_optimum"
    ]


def test_strict(cli, in_stored, tmp_path):
    """0 whatever is found; --strict: 4 when something is, 0 when nothing is."""
    assert cli(PAPER).code == 0
    assert cli(PAPER, "--strict").code == 4
    header, *lines = (in_stored / "paper_table4.csv").read_text("utf-8").splitlines()
    clean = tmp_path / "clean.csv"
    clean.write_text("\n".join([header, *(line for line in lines if line.startswith("Mistral"))]) + "\n", "utf-8")
    assert cli.data("check --strict --levels-csv", clean) == []


def test_scaling(cli, in_stored):
    """Warnings and scaling in one object, with the known answers of WiNGPT-2.7."""
    both = cli.data(PAPER, "--usd-per-hour 1.58 --scaling")
    assert both["warnings"]
    (wingpt,) = [one for one in both["scaling"] if one["model"] == "WiNGPT-2.7"]
    assert wingpt["boundary_users"]["value"] == pytest.approx(31.5, abs=0.05)
    assert wingpt["zone"]["levels"] == [16]
    assert [round(level["elasticity"], 2) for level in wingpt["levels"][1:]] == [0.74, 0.61, 0.4, 0.31, 0.17]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """Three repeats; three users take three times as long as one, six do not: the level of three was disturbed."""
    latency = {1: (0.1, 0.2 / 9), 3: (0.1, 0.8 / 9), 6: (0.1, 0.4 / 9)}
    return run_folder(
        tmp_path_factory.mktemp("check") / "run",
        levels=(1, 3, 6), repeats=3, requests=12, latency=latency, tokens=10, noise=0.02,
        slo="output_throughput_per_user>25",
    )  # fmt: skip


def test_a_run_folder(cli, disturbed):
    """Its own SLO; the disturbed level is named, and repeats give the boundary an interval."""
    both = cli.data("check", disturbed, "--scaling")
    assert by_code(both["warnings"])["slow_level"] == {("m", 3)}
    (scaled,) = both["scaling"]
    assert scaled["slo"] == "output_throughput_per_user>25"
    users = scaled["boundary_users"]
    assert users["n"] == 3
    assert users["low"] <= users["value"] <= users["high"]


def test_warnings_reach_the_judgement(disturbed):
    """`decide`, `sweep` and the report read them off the points, once each."""
    codes = [
        (warn.code, warn.level.users) for one in judge_run(read_run(disturbed)).judged for warn in one.point.warnings
    ]
    assert codes.count(("slow_level", 3)) == codes.count(("superlinear_scaling", 6)) == 1


def silent(row):
    """A row whose answer said nothing of the server's own times."""
    return row._replace(server_queue_s=None, server_prefill_s=None)


def attributed(tmp_path, server):
    """Levels 1 and 2, 20 requests each: 100 ms to the first of 11 tokens (90 of them prefill), then 10 ms each.

    Only the server's metrics tell its part of that.
    """
    latency = {1: (0.1, 0.01), 2: (0.1, 0.01)}
    return run_folder(tmp_path / "run", levels=(1, 2), requests=20, latency=latency, row=silent, server=server)


def test_where_ttft_goes(cli, tmp_path):
    """The server's own means, and what is left of TTFT; the KV cache at its fullest."""
    found = cli.data("check", attributed(tmp_path, True), "--attribution")
    assert set(found) == {"warnings", "attribution", "server_use"}
    first, second = found["attribution"]
    assert (first["model"], first["concurrency"], second["concurrency"]) == ("m", 1, 2)
    parts = [first[name] for name in ("queue_s", "prefill_s", "network_s", "rest_s")]
    assert parts == pytest.approx([0, 0.09, 0.001, 0.009], abs=1e-5)
    assert [row["kv_cache_max_ratio"] for row in found["server_use"]] == [pytest.approx(0.45), pytest.approx(0.9)]


def test_requests_of_others(cli, tmp_path):
    """A level during which the server answered somebody else, too, is not attributed, and its row says so."""

    def others(samples):
        within_s = samples[-1].at_s - 5  # the last point, of 2 s, ends 4 s before the last sample
        more = ("queue_count", "prefill_count", "ttft_count", "e2e_count", "generated_tokens")
        return [
            one._replace(**{name: getattr(one, name) + 9 for name in more}) if one.at_s > within_s else one
            for one in samples
        ]

    first, second = cli.data("check", attributed(tmp_path, others), "--attribution")["attribution"]
    assert first["queue_s"] == pytest.approx(0)
    assert (second["queue_s"], second["rest_s"]) == (None, None)


def test_a_run_without_samples(cli, tmp_path):
    """Only TTFT and the client's part are known."""
    first = cli.data("check", attributed(tmp_path, False), "--attribution")["attribution"][0]
    assert (first["ttft_s"], first["client_s"]) == pytest.approx((0.1, 0))
    assert {first[name] for name in ("queue_s", "prefill_s", "rest_s", "network_s")} == {None}
