"""comparison.html: the paper's nine models, and two runs, side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from runs_for_tests import make_run

from benchsuite.cli.report import command
from benchsuite.errors import PointsError
from benchsuite.report.charts import apart

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "docs" / "examples"


def report(*words: object) -> str:
    done = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return done.output.strip()


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("paper") / "paper.html"
    given = ("--points", PAPER / "paper_table4.csv", "--scores", PAPER / "paper_scores.csv", "--usd-per-hour", 1.58)
    assert report(*given, "--output", path) == str(path)
    return path.read_text("utf-8")


def test_the_papers_figure_1(paper: str):
    """Four of nine models are on the frontier, as in the paper, and all nine bubbles have a name."""
    assert re.findall(r"<h1>(.*?)</h1>", paper) == [
        "4 of 9 models are worth their money: gpt-oss-20b-low, Mistral-Small, Qwen3-30B, WiNGPT-3.5."
    ]
    picture = re.findall(r'<svg class="bs".*?</svg>', paper, re.S)[0]
    assert picture.count('fill="var(--best)" fill-opacity=".55"') == 4
    assert picture.count('fill="var(--bad)" fill-opacity=".55"') == 5
    assert len(re.findall(r'class="halo[ ink]*"', picture)) == 9


def test_the_papers_table_2_side_by_side(paper: str):
    """Each model's optimum and its cost, the cheapest first."""
    table = re.findall(r'<table data-name="optima".*?</table>', paper, re.S)[0]
    rows = [re.findall(r"<td>(.*?)</td>", row)[:3] for row in re.findall(r"<tr class.*?</tr>", table, re.S)]
    assert rows == [
        ["gpt-oss-20b-low", "64", "$0.109"],
        ["Mistral-Small", "64", "$0.245"],
        ["Qwen3-30B", "64", "$0.271"],
        ["WiNGPT-3.5", "48", "$0.340"],
        ["WiNGPT-2.7", "16", "$0.364"],
        ["Seed-OSS-36B", "16", "$0.551"],
        ["GLM-4-32B-0414", "8", "$0.695"],
        ["medgemma-27b", "32", "$0.966"],
        ["WiNGPT-3.0", "16", "$3.47"],
    ]


def test_the_curves_state_findings(paper: str):
    """TTFT breaks its limit in the paper's four rows, and every curve has its points and names."""
    assert "TTFT breaks its limit for WiNGPT-3.0 at 64, 128; Seed-OSS-36B at 128; medgemma-27b at 128" in paper
    assert "<title>Qwen3-30B at 64: 20.0</title>" in paper
    assert len(paper.encode()) < 300_000


def test_warnings_of_many_models_are_few_cards(paper: str):
    """One a code, with each model's levels, and every finding behind it."""
    cards = re.findall(r"<li><strong>(.*?)</strong>.*?<code>(.*?)</code>", paper, re.S)
    codes = [where.split(" at ")[0] for _, where in cards]
    assert len(codes) == len(set(codes)) == 8
    assert ("fragile_optimum at WiNGPT-2.7 (32), medgemma-27b (32), Qwen3-30B (64)") in [where for _, where in cards]
    assert cards[0][0].startswith("WiNGPT-2.7 at 32: misses throughput &gt; 20 tok/s by 0.69\u00a0%: 19.86 tok/s")
    assert cards[0][0].endswith(" (and 2 more).")
    assert "<li>medgemma-27b at 32: the optimum keeps throughput &gt; 20 tok/s by 0.23\u00a0%" in paper


def test_two_runs_without_scores(tmp_path: Path):
    """The cheaper one is named; the runs stand under the names of their folders where the model is the same."""
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", slo="ttft_mean<1s,throughput>30")
    path = tmp_path / "both.html"
    assert report(a, b, "--output", path) == str(path)
    html = path.read_text("utf-8")
    assert "<h1>a keeps the SLO at the least cost: 4 users, $0.000960 per run of the set, $5.45" in html
    assert "<td>b</td><td>4</td><td>$0.000960</td>" in html


def test_runs_that_do_not_differ_are_not_told_apart(tmp_path: Path):
    """Of three repeats each, alike to the last digit: the page says so, names them runs, and draws their intervals."""
    a, b = make_run(tmp_path / "a", repeats=3), make_run(tmp_path / "b", repeats=3)
    report(a, b, "--output", tmp_path / "both.html")
    html = (tmp_path / "both.html").read_text("utf-8")
    assert "<p><strong>2 runs of m</strong></p>" in html
    assert '<th scope="col">run</th>' in html
    assert "<h1>a keeps the SLO at the least cost, not told apart from b: 4 users" in html
    assert (
        "<dt>Certainty</dt><dd><b>3 runs</b><span>a level; the 95 % interval of a overlaps that of the next, b" in html
    )
    assert re.search(r"<title>a at 4: 80\.0 \[80\.0, 80\.0\]</title>", html)
    assert "Per-user throughput keeps its limit up to 4 users" in html


def test_runs_that_lie_apart_are_told_so(tmp_path: Path):
    """One at half the price: its interval lies below the other's, and the sentence has no doubt."""
    a = make_run(tmp_path / "a", repeats=3)
    b = make_run(tmp_path / "b", repeats=3, slo="ttft_mean<1s,throughput>30")
    manifest = json.loads((a / "manifest.json").read_text("utf-8"))
    manifest["spec"]["price"] = {"usd_per_hour": 1.8}
    (a / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    report(a, b, "--output", tmp_path / "both.html")
    html = (tmp_path / "both.html").read_text("utf-8")
    assert "<h1>a keeps the SLO at the least cost: 4 users" in html
    assert "the 95 % interval of a lies below that of the next, b<" in html


def test_runs_of_different_promises_are_refused(tmp_path: Path):
    """Two SLOs do not compare; one for all does."""
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", slo="throughput>1000")
    with pytest.raises(PointsError, match="different SLOs"):
        report(a, b, "--output", tmp_path / "x.html")
    assert report(a, b, "--slo", "throughput>1000", "--output", tmp_path / "x.html") == str(tmp_path / "x.html")
    assert "None of 2 keeps the SLO at any level." in (tmp_path / "x.html").read_text("utf-8")


def test_flags_of_a_comparison_need_one(tmp_path: Path):
    """One run alone with --scores says what is wrong."""
    done = CliRunner().invoke(command, [str(make_run(tmp_path / "a")), "--scores", "x.csv"])
    assert done.exit_code == 2
    assert "--scores belongs to a comparison" in done.output


def test_labels_are_moved_apart():
    """As little as it takes, in their order, within bounds."""
    assert apart([10, 11, 50], 14, 0, 100) == [3.5, 17.5, 50]
    assert apart([98, 99, 40], 14, 0, 100) == [86, 100, 40]
    assert apart([], 14, 0, 100) == []


def test_hostile_names_and_no_price(tmp_path: Path):
    """A model's name is text wherever it stands; without a price the shorter run wins, and nothing costs anything."""
    table = tmp_path / "points.csv"
    name = "<script>alert(1)</script>"
    table.write_text(
        "model,concurrency,requests,time_s,ttft_s,input_tokens,output_tokens\n"
        f"{name},8,100,60,0.2,5000,20000\n{name},16,100,40,0.3,5000,20000\nother,8,100,90,0.2,5000,20000\n"
    )
    path = tmp_path / "page.html"
    report("--points", table, "--output", path)
    html = path.read_text("utf-8")
    assert "<script>alert" not in html
    assert html.count("<script>") == 1
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert f"<h1>{escaped} keeps the SLO in the shortest run: 16 users, 40.0 s per run of the set.</h1>" in html
    assert "price: none given" in html
    assert not re.findall(r"\$[0-9]", html)
