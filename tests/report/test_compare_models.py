"""comparison.html: the paper's nine models, and runs, side by side. Its words are a snapshot (test_surfaces)."""

from __future__ import annotations

import re

import pytest
from factory import run_folder

PAPER = "report --levels-csv paper_table4.csv --scores paper_scores.csv --usd-per-hour 1.58 --output"


@pytest.fixture
def compared(cli, tmp_path):
    """The comparison of what is named, as HTML."""

    def page(*words):
        ended = cli("report", *words, "--output", tmp_path / "page.html")
        assert ended.out == f"{tmp_path / 'page.html'}\n", ended
        return (tmp_path / "page.html").read_text("utf-8")

    return page


@pytest.fixture
def paper(cli, in_stored, tmp_path):
    """The comparison of the paper's models."""
    assert cli(PAPER, tmp_path / "paper.html").code == 0
    return (tmp_path / "paper.html").read_text("utf-8")


def test_the_papers_models(paper):
    """Four of nine are on the frontier, all have a name, the table has the paper's optima, a code has one card."""
    picture = re.findall(r'<svg class="bs".*?</svg>', paper, re.S)[0]
    assert picture.count('fill="var(--best)" fill-opacity=".55"') == 4
    assert picture.count('fill="var(--bad)" fill-opacity=".55"') == 5
    assert len(re.findall(r'class="halo[ ink]*"', picture)) == 9
    table = re.findall(r'<table data-name="optima".*?</table>', paper, re.S)[0]
    rows = [re.findall(r"<td.*?>(.*?)</td>", row)[:2] for row in re.findall(r"<tr.*?</tr>", table, re.S)[1:]]
    assert rows == [
        ["gpt-oss-20b-low", "64"],
        ["Mistral-Small", "64"],
        ["Qwen3-30B", "64"],
        ["WiNGPT-3.5", "48"],
        ["WiNGPT-2.7", "16"],
        ["Seed-OSS-36B", "16"],
        ["GLM-4-32B-0414", "8"],
        ["medgemma-27b", "32"],
        ["WiNGPT-3.0", "16"],
    ]
    codes = [where.split(" at ")[0] for where in re.findall(r"<li><strong>.*?<code>(.*?)</code>", paper, re.S)]
    assert 0 < len(codes) == len(set(codes))
    assert len(paper.encode()) < 300_000


def test_runs_that_do_not_differ(compared, tmp_path):
    """Of three repeats each, alike to the last digit: said to overlap, named as runs, drawn with their intervals."""
    page = compared(*(run_folder(tmp_path / name, repeats=3) for name in "ab"))
    assert '<th scope="col" class="left">run</th>' in page
    assert "not significantly different from b" in page
    assert re.search(r"<title>a at 4: 80\.0 \[80\.0, 80\.0\]</title>", page)


def test_runs_that_lie_apart(compared, tmp_path):
    """One at half the price: its interval lies below the other's, and the sentence has no doubt."""
    page = compared(run_folder(tmp_path / "a", repeats=3, usd_per_hour=1.8), run_folder(tmp_path / "b", repeats=3))
    assert "not significantly different" not in page
    assert "is below that of b<" in page


def test_runs_of_different_promises_are_refused(cli, compared, tmp_path):
    """Two SLOs do not compare; one for all does, also where none keeps it."""
    runs = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", slo="output_throughput_per_user>1000")
    refused = cli("report", *runs)
    assert (refused.code, refused.error.where) == (2, "slo")
    assert "None of 2" in compared(*runs, "--slo output_throughput_per_user>1000")


def test_hostile_names_and_no_price(compared, tmp_path):
    """A model's name is text wherever it stands; without a price the shorter run wins, and nothing costs anything."""
    table = tmp_path / "points.csv"
    name = "<script>alert(1)</script>"
    table.write_text(
        "model,concurrency,requests,time_s,ttft_s,input_tokens,output_tokens\n"
        f"{name},8,100,60,0.2,5000,20000\n{name},16,100,40,0.3,5000,20000\nother,8,100,90,0.2,5000,20000\n"
    )
    page = compared("--levels-csv", table)
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert re.search(r"<h1>&lt;script&gt;alert\(1\)&lt;/script&gt; .*concurrency 16, 40.0 s", page)
    assert not re.findall(r"\$[0-9]", page)
