"""summary.json, CSV and Markdown: the keys that others read, null for what is missing, and no harm where opened."""

from __future__ import annotations

import csv
import functools
import io
import json
import shutil
import webbrowser
from pathlib import Path

import pytest

from benchsuite.analysis.summary import parse_points
from benchsuite.economics.decision import decide, judge_points
from benchsuite.level import Level
from benchsuite.metrics import LATENCIES, RATIOS
from benchsuite.report.export import as_csv, as_markdown, summary_json
from benchsuite.report.judge import Judgement, judge_run
from benchsuite.results import EMPTY, Distribution, PointSummary
from benchsuite.slo import parse_slo
from benchsuite.store.run_folder import read_run

TOP = {"schema", "run_id", "model", "slo", "usd_per_hour", "gpus", "usd_per_hour_total", "points", "optimum"}
POINT = {
    "concurrency", "repeat_count", "n_ok", "n_failed", "error_rate", "failures", "duration_s", "ttft_s", "ttfa_s",
    "tpot_s", "e2e_s", "itl_s", "dispatch_s", "output_tok_s_per_user", "decode_tok_s", "output_tok_s",
    "total_tok_s", "request_per_s", "input_tokens", "output_tokens", "steady", "occupancy", "max_in_flight",
    "littles_law_error", "cost_usd", "usd_per_1m_output_tokens", "usd_per_1m_total_tokens", "usd_per_request",
    "slo_verdict", "misses", "warnings",
}  # fmt: skip


def judgement(judged, slo, usd_per_hour, gpus=1):
    return Judgement(
        model=judged[0].point.model, source="run1", slo=slo, judged=tuple(judged), decision=decide(judged),
        usd_per_hour=usd_per_hour, gpus=gpus, hour_price=usd_per_hour * gpus,
    )  # fmt: skip


@pytest.fixture
def summary(stored):
    """summary.json of the paper's Mistral under an SLO."""
    points = parse_points((stored / "paper_table4.csv").read_text("utf-8"), where="t")

    def made(slo_text):
        slo = parse_slo(slo_text)
        judged = judge_points([point for point in points if point.model == "Mistral-Small"], slo, 1.58)
        return json.loads(json.dumps(summary_json(judgement(judged, slo, 0.79, gpus=2)), allow_nan=False))

    return made


def test_keys_and_optimum(summary):
    """What other programs read, by name."""
    made = summary("ttft_mean<1s,output_throughput_per_user>20")
    assert set(made) == TOP | {"no_feasible"}
    assert (made["schema"], made["usd_per_hour_total"], made["no_feasible"]) == (1, 1.58, None)
    for point in made["points"]:
        assert set(point) >= POINT
        assert list(point["ttft_s"]) == ["n", "mean", "p50", "p90", "p95", "p99", "max"]
    optimum = made["optimum"]
    assert (optimum["concurrency"], optimum["runner_up"]["concurrency"]) == (64, 32)
    assert round(optimum["cost_usd"], 2) == 0.25
    keys = {"concurrency", "binding", "cost_usd", "usd_per_1m_output_tokens", "runner_up", "reason"}
    assert set(optimum) == keys | {
        "cheapest_concurrency", "proven_concurrency", "verdict", "effort", "p_opt", "p_by_level", "p_method",
    }  # fmt: skip
    assert (optimum["p_opt"], optimum["p_by_level"]) == (None, None)


def test_missing_is_null_and_unknown_is_said(summary):
    """Level 48 has no TTFT: not met, with the doubt named."""
    point = next(p for p in summary("ttft_mean<1s")["points"] if p["concurrency"] == 48)
    assert point["ttft_s"]["mean"] is None
    assert (point["slo_verdict"], point["misses"], len(point["doubts"])) == ("unknown", [], 1)


def test_no_feasible_level(summary):
    """optimum is null; the nearest miss is there."""
    made = summary("output_throughput_per_user>100")
    assert (made["optimum"], made["no_feasible"]["nearest"]["concurrency"]) == (None, 8)


def told(model="m", **more):
    """100 requests of 10 tokens in 10 s by 4 users, judged."""
    known = {"model": model, "level": Level(4), "repeat_count": 1, "n_ok": 100, "n_failed": 0}
    known |= {"duration_s": 10.0, "input_tokens": 500, "output_tokens": 1000}
    ratios = dict.fromkeys((metric.key for metric in RATIOS), None)
    ratios |= {"error_rate": 0.0, "output_tok_s": 100.0, "output_tok_s_per_user": 25.0, "request_per_s": 10.0}
    distributions = dict.fromkeys((metric.key for metric in LATENCIES), EMPTY)
    distributions |= {"ttft_s": Distribution(100, 0.25, 0.2, 0.3, 0.4, 0.5, 0.6)}
    known |= {"ratios": ratios, "distributions": distributions}
    slo = parse_slo("output_throughput_per_user>20")
    judged = judge_points([PointSummary(**known | more)], slo, 3.6)
    return judgement(judged, slo, 3.6)


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_units_in_its_names_and_the_figures_of_the_run():
    """One row a level; seconds, dollars and tokens as worked out by hand; what is not known is empty."""
    (row,) = rows(as_csv([told()]))
    assert {key: row[key] for key in ("run", "concurrency", "duration_s", "ttft_mean_s", "ttft_p99_s")} == {
        "run": "run1", "concurrency": "4", "duration_s": "10.0", "ttft_mean_s": "0.25", "ttft_p99_s": "0.5",
    }  # fmt: skip
    assert [row["cost_usd"], row["usd_per_1m_output_tokens"], row["slo_verdict"]] == ["0.01", "10.0", "met"]
    assert [row["tpot_mean_s"], row["j_per_output_token"], row["duration_s_low"]] == ["", "", ""]


@pytest.mark.parametrize("name", ["=1+2", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_csv_neutralises_formulas(name):
    """A model name that a spreadsheet would run is text there; numbers stay numbers."""
    (row,) = rows(as_csv([told(name)]))
    assert row["model"] == f"'{name.strip()}"
    assert float(row["duration_s"]) == 10.0


def test_markdown_takes_no_markup_from_names():
    """A model name cannot break the table, open HTML, or call a person."""
    text = as_markdown([told("a|b<img src=x>@octocat`c`")])
    assert "<img" not in text
    assert "### a\\|b&lt;img src=x&gt;@\u200boctocat\\`c\\`" in text


def test_intervals_of_the_steady_window_stand_at_its_value(cli, in_stored):
    """With one run the interval of the mean TTFT is of the steady window: its value is a column of its own."""
    (row,) = [one for one in rows(cli("report demo --format csv").out) if one["concurrency"] == "32"]
    assert float(row["ttft_mean_s"]) == pytest.approx(0.24022621)
    assert float(row["ttft_mean_s_steady"]) != float(row["ttft_mean_s"])
    assert [row["ttft_mean_s_low"], row["ttft_mean_s_high"]] == ["", ""]  # too few requests in it
    assert float(row["ttft_p95_s_low"]) == pytest.approx(0.65490846)


def test_json_of_several_runs_is_a_list(cli, in_stored):
    """Of each its summary."""
    summaries = cli("report demo repeated --format json").data
    assert summaries == [cli(f"report {run} --format json").data for run in ("demo", "repeated")]


def test_points_tables_have_formats_too(cli, in_stored):
    """The paper's table: nine models as sections, fifty-odd rows as CSV, at another SLO and price."""
    text = cli("report --levels-csv paper_table4.csv --format md --usd-per-hour 1.58").out
    assert text.count("\n### ") + text.startswith("### ") == 9
    found = rows(cli("report --levels-csv paper_table4.csv --format csv --slo output_throughput_per_user>5").out)
    assert {row["slo"] for row in found} == {"output_throughput_per_user>5"}


@pytest.mark.parametrize("terms", ["--slo ttft_p95<60ms", "--usd-per-hour 7.5 --gpus 2", "--goodput ttft<1s"])
def test_a_run_is_judged_again_without_a_change_of_it(cli, in_stored, tmp_path, monkeypatch, terms):
    """Page, Markdown, CSV and JSON decide as `decide` does, say what differs, and leave the folder as it is."""
    run = shutil.copytree(in_stored / "repeated", tmp_path / "run")
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    assert cli("report", run, terms).out == "judged_again.html\n"
    page = Path("judged_again.html").read_text("utf-8")
    markdown, (row, *_) = (
        cli("report", run, terms, "--format md").out,
        rows(cli("report", run, terms, "--format csv").out),
    )
    summary, (again,) = (cli("report", run, terms, "--format json").data, cli.data("decide", run, terms))
    assert summary["optimum"]["concurrency"] == again["optimum_concurrency"]
    assert summary["optimum"]["usd_per_1m_output_tokens"] == again["usd_per_1m_output_tokens"]
    assert again["sentence"].split(":")[0] in markdown
    assert f">Concurrency {again['optimum_concurrency']} " in page
    assert [row["slo"], float(row["usd_per_hour_total"])] == [summary["slo"], summary["usd_per_hour_total"]]
    (said,) = summary["judged_again"]
    assert said.startswith("price" if "usd" in terms else "SLO")
    assert page.count("Judged again:") == markdown.count("Judged again:") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    assert cli("report", run, "--format json").data.keys() == summary.keys() - {"judged_again"}
    assert cli("report", run, terms, "--format vllm").code == 2


def test_output_is_written_whole_and_named(cli, in_stored, tmp_path):
    """--output: the file's path is what is printed; html of one run goes there instead of into the run."""
    run = shutil.copytree(in_stored / "demo", tmp_path / "run")
    (run / "report.html").write_text("before")
    for flags, name, start in (("--format md", "a.md", "### tiny-llama"), ("", "a.html", "<!doctype html>")):
        assert cli("report", run, flags, "--output", tmp_path / name).out == f"{tmp_path / name}\n"
        assert (tmp_path / name).read_text("utf-8").startswith(start)
    assert (run / "report.html").read_text() == "before"
    assert cli("report", run).out == f"{run / 'report.html'}\n"
    assert (run / "report.html").stat().st_size > 10_000


def test_open_asks_the_systems_browser(cli, in_stored, tmp_path, monkeypatch):
    """--open hands the page's file URL to it, once."""
    asked = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or True)
    cli("report demo --open --output", tmp_path / "a.html")
    assert asked == [(tmp_path / "a.html").as_uri()]


def test_the_example_is_what_the_code_says():
    """results/examples/demo/summary.json is today's summary of that run, but for what another processor rounds."""
    folder = Path(__file__).parents[2] / "results/examples/demo"
    read = functools.partial(json.loads, parse_float=lambda text: round(float(text), 9))
    kept = read((folder / "summary.json").read_text("utf-8"))
    assert read(json.dumps(summary_json(judge_run(read_run(folder))))) == kept
