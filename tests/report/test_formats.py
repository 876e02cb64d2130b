"""`benchsuite report --format`: what others are given says the same, and can do no harm where it is opened."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchsuite.cli.report import command
from benchsuite.economics.decision import decide, judge_points
from benchsuite.report.export import Told, as_csv, as_markdown
from benchsuite.results import EMPTY, Distribution, PointSummary
from benchsuite.slo import parse_slo

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "results" / "examples" / "demo"
TABLE4 = ROOT / "docs" / "examples" / "paper_table4.csv"


def report(*flags: Any) -> str:
    done = CliRunner().invoke(command, [str(flag) for flag in flags], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def point(model: str = "m", **more: Any) -> PointSummary:
    """100 requests of 10 tokens in 10 s by 4 users."""
    known: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(PointSummary))
    known |= {"warnings": (), "intervals": {}, "failures": {}, "model": model, "concurrency": 4, "repeat_count": 1}
    known |= dict.fromkeys(("ttfa_s", "tpot_s", "e2e_s", "itl_s", "dispatch_s", "request_e2e_tok_s"), EMPTY)
    known |= {"request_decode_tok_s": EMPTY, "ttft_s": Distribution(100, 0.25, 0.2, 0.3, 0.4, 0.5, 0.6)}
    known |= {"n_ok": 100, "n_failed": 0, "error_rate": 0.0, "duration_s": 10.0, "output_tok_s": 100.0}
    known |= {"output_tok_s_per_user": 25.0, "input_tokens": 500, "output_tokens": 1000, "request_per_s": 10.0}
    return PointSummary(**known | more)


def told(model: str = "m", source: str = "run1", **more: Any) -> Told:
    slo = parse_slo("throughput>20")
    judged = judge_points([point(model, **more)], slo, 3.6)
    return Told(source, model, slo, tuple(judged), decide(judged, slo))


def test_csv_has_units_in_its_names_and_the_figures_of_the_run():
    """One row a level; seconds, dollars and tokens as worked out by hand; what is not known is empty."""
    (row,) = csv.DictReader(io.StringIO(as_csv([told()])))

    assert {key: row[key] for key in ("run", "concurrency", "duration_s", "ttft_mean_s", "ttft_p99_s")} == {
        "run": "run1", "concurrency": "4", "duration_s": "10.0", "ttft_mean_s": "0.25", "ttft_p99_s": "0.5",
    }  # fmt: skip
    assert [row["cost_usd"], row["usd_per_1m_output_tokens"], row["meets_slo"]] == ["0.01", "10.0", "true"]
    assert [row["tpot_mean_s"], row["j_per_output_token"], row["duration_s_low"]] == ["", "", ""]


@pytest.mark.parametrize("name", ["=1+2", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_csv_neutralises_formulas(name):
    """A model name that a spreadsheet would run is text there; numbers stay numbers."""
    (row,) = csv.DictReader(io.StringIO(as_csv([told(name, occupancy=None)]), newline=""))

    assert row["model"] == f"'{name.strip()}"
    assert float(row["duration_s"]) == 10.0


def test_markdown_is_the_decision_and_a_table():
    """The sentence in bold, a row a level, the facts below: the whole text."""
    assert as_markdown([told()]) == (
        "### m\n"
        "\n"
        "**optimum 4: $0.0100 per run of 100 requests, $10.00/1M output tokens; it is the highest level measured,"
        " so measure higher**\n"
        "\n"
        "- one run per level: no interval, so close levels may swap places\n"
        "\n"
        "| concurrency | SLO | TTFT mean ms | TTFT p95 ms | TPOT mean ms | output tok/s | tok/s per user | errors"
        " | $/1M output | $ per run |\n"
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        "| 4 | met in this run | 250 | – | – | 100 | 25.0 | 0 % | $10.00 | $0.0100 |\n"
        "\n"
        "<sub>SLO throughput &gt; 20 tok/s. Value [95 % interval].</sub>\n"
    )


def test_markdown_takes_no_markup_from_names():
    """A model name cannot break the table, open HTML, or call a person."""
    text = as_markdown([told("a|b<img src=x>@octocat`c`")])

    assert "<img" not in text
    assert "### a\\|b&lt;img src=x&gt;@\u200boctocat\\`c\\`" in text


def test_steady_window_intervals_are_not_put_on_whole_run_figures():
    """With one run the interval of the mean TTFT is of the steady window: it does not stand at another value."""
    (row,) = [one for one in csv.DictReader(io.StringIO(report(DEMO, "--format", "csv"))) if one["concurrency"] == "32"]

    assert float(row["ttft_mean_s"]) == pytest.approx(0.24022621)
    assert [row["ttft_mean_s_low"], row["ttft_mean_s_high"]] == ["", ""]
    assert float(row["ttft_p95_s_low"]) == pytest.approx(0.65490846)


def test_json_is_the_summary():
    """Of one run its summary, of several a list."""
    (one, two) = json.loads(report(DEMO, DEMO, "--format", "json"))

    assert one == two == json.loads(report(DEMO, "--format", "json"))
    assert [point["concurrency"] for point in one["points"]] == [1, 4, 8, 16, 32, 64]
    assert one["optimum"]["concurrency"] == 16


def test_points_tables_have_formats_too():
    """The paper's table: nine models as sections, fifty-odd rows as CSV, at another SLO and price."""
    text = report("--points", TABLE4, "--format", "md", "--usd-per-hour", "1.58")
    rows = list(csv.DictReader(io.StringIO(report("--points", TABLE4, "--format", "csv", "--slo", "throughput>5"))))

    assert text.count("\n### ") + text.startswith("### ") == 9
    assert "**optimum 16: $0.36 per run" in text.replace("$0.364", "$0.36")
    assert {row["slo"] for row in rows} == {"throughput > 5 tok/s"}


def test_output_is_written_whole_and_named(tmp_path):
    """--output: the file's path is what is printed; html of one run goes there instead of into the run."""
    run = shutil.copytree(DEMO, tmp_path / "run")
    before = (run / "report.html").read_bytes()

    assert report(run, "--format", "md", "--output", tmp_path / "a.md") == f"{tmp_path / 'a.md'}\n"
    assert (tmp_path / "a.md").read_text("utf-8").startswith("### tiny-llama")
    assert report(run, "--output", tmp_path / "a.html") == f"{tmp_path / 'a.html'}\n"
    assert (tmp_path / "a.html").read_text("utf-8").startswith("<!doctype html>")
    assert (run / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    "flags",
    [
        (DEMO, "--format", "json", "--slo", "ttft<1s"),
        (DEMO, "--slo", "ttft_mean<1s"),
        (DEMO, DEMO, "--format", "vllm"),
        ("--points", TABLE4, "--format", "json"),
        (DEMO, "--format", "csv", "--scores", "s.csv"),
        (DEMO, "--format", "csv", "--open"),
        (DEMO, "--format", "xml"),
    ],
)
def test_what_does_not_go_together_is_refused(flags):
    """Exit 2 and the flag's name."""
    done = CliRunner().invoke(command, [str(flag) for flag in flags])

    assert done.exit_code == 2
    assert "--" in done.output


def test_open_asks_the_systems_browser(tmp_path, monkeypatch):
    """--open hands the page's file URL to it, once."""
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or True)
    report(DEMO, "--output", tmp_path / "a.html", "--open")

    assert asked == [(tmp_path / "a.html").as_uri()]
