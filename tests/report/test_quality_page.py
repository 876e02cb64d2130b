"""Scores on pages and in verbs: a run's section, several models beside each other, the frontier, the gate."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import factory
import pytest
from scored_runs import scored_folder

from benchsuite.report.export import as_markdown
from benchsuite.report.judge import judge_run
from benchsuite.report.page import render
from benchsuite.store.run_folder import read_run

HOSTILE = "<script>alert(1)</script> & **B**"


def folder(path: Path, right: float, model: str = "m", **run) -> Path:
    """Three scenarios of 40 items; which are right hangs on their name alone, so that one model knows what less able
    ones know."""

    def planned(prompt_id, *_):
        return float(zlib.crc32(prompt_id.encode()) % 1000 < 1000 * right)

    rest = {"levels": (2,), "requests": 120, "repeats": 2} | run
    return scored_folder(
        path, planned, scenario=lambda name: "abc"[int(name[1:]) % 3], manifest={"model": model}, **rest
    )


def test_the_page_of_a_scored_run(tmp_path):
    """Scenarios as dots and as a table, change with load, and below them the worst answers, folded and escaped."""
    run = folder(
        tmp_path / "run", 0.6, levels=(2, 8),
        row=lambda one: one._replace(text=HOSTILE + "x" * 900 if one.prompt_id == "p1" else HOSTILE),
    )  # fmt: skip
    page = render(judge_run(read_run(run)))
    quality = page[page.index('<h2 id="quality">') : page.index('<details id="more"')]
    assert "Score by scenario at concurrency 2" in quality
    assert quality.count('class="hit"') >= 3
    assert "Do the answers change with load?" in quality
    folded = re.findall(r'<details class="card"><summary>(.*?)</summary>(.*?)</details>', quality, re.S)
    assert [title for title, _ in folded] == [f"{name}: 10 answers with the lowest scores" for name in "abc"]
    for _, table in folded:
        assert table.count("<tr") == 11
        assert "&lt;script&gt;" in table
        assert "<script" not in table
    assert len(page) < 400_000


def test_the_worst_answers_are_wrong_and_of_the_level_that_is_shown(tmp_path):
    """Three of a are wrong at 2 users, which the SLO asks for, all at 8: three rows of a, and no right answer."""
    run = scored_folder(
        tmp_path / "run", lambda name, level, _: float(level == 2 and int(name[1:]) >= 3), levels=(2, 8), requests=20,
        scenario=lambda name: "a" if int(name[1:]) < 10 else "b",
    )  # fmt: skip
    page = render(judge_run(read_run(run), slo="score>=0.5"))
    quality = page[page.index('<h2 id="quality">') : page.index('<details id="more"')]
    folded = re.findall(r'<details class="card"><summary>(.*?)</summary>(.*?)</details>', quality, re.S)
    assert [(title, table.count("<tr")) for title, table in folded] == [("a: 3 answers with the lowest scores", 4)]


@pytest.mark.parametrize(("score", "price"), [(0.5, "$/1M score points"), (1.0, "$/1M correct")])
def test_what_graded_scores_are_called_on_every_surface(tmp_path, cli, score, price):
    """Of graded scores the cost is of points, everywhere; the intervals of scores are said to be over items."""
    run = scored_folder(tmp_path / "run", lambda *_: score, levels=(2, 4), requests=40, repeats=3, noise=0.1)
    other = "$/1M correct" if score < 1 else "$/1M score points"
    judged = judge_run(read_run(run), slo="score>=0.2")
    shown = cli("decide", run, "--slo", "score>=0.2", COLUMNS="160").out
    for text in (render(judged), as_markdown([judged]), cli("check", run, "--quality", COLUMNS="160").out):
        assert price in text
        assert other not in text
    assert ("correct" in shown, "points" in shown) == (score == 1, score < 1)  # a head folds
    assert "95 % intervals over runs; of scores over items" in shown
    assert "Value [95 % interval over runs; of scores over items]." in as_markdown([judged])
    assert "interval over the repeats; of scores over items]" in render(judged)
    plain = judge_run(read_run(factory.run_folder(tmp_path / "plain", levels=(2, 4), repeats=3, noise=0.1)))
    assert "of scores" not in render(plain) + as_markdown([plain])


def test_the_page_of_a_run_without_scores_has_no_such_section(tmp_path):
    """Nothing of quality is shown where no answer was scored."""
    from factory import run_folder

    page = render(judge_run(read_run(run_folder(tmp_path / "run", levels=(2,), requests=20))))
    assert 'id="quality"' not in page


@pytest.fixture
def models(tmp_path):
    return [folder(tmp_path / name, right, name) for name, right in (("small", 0.5), ("large", 0.8))]


def test_frontier_of_runs(cli, models):
    """The runs' own scores; at the same cost the better model dominates, surely."""
    found = {row["model"]: row for row in cli.data("frontier", *models, "--usd-per-hour 2")}
    assert found["small"]["dominated_by"] == ["large"]
    assert found["large"]["p_on_frontier"] > 0.99
    assert found["small"]["score"] < 60 < 70 < found["large"]["score"]
    for row in found.values():
        assert row["score_low"] < row["score"] < row["score_high"]
        per_run = row["cost_usd"] / (120 * row["score"] / 100) * 1e6
        assert row["usd_per_1m_correct_answers"] == pytest.approx(per_run)
        assert row["usd_per_1m_correct_low"] < per_run < row["usd_per_1m_correct_high"]


def test_frontier_needs_scores(cli, models):
    """A run whose scores are gone is named, with what makes them; none at all is an error."""
    (models[0] / "scores.parquet").unlink()
    found = {row["model"]: row for row in cli.data("frontier", *models, "--usd-per-hour 2")}
    assert found["small"]["on_frontier"] is None
    assert "benchsuite score RUN" in found["small"]["reason"]
    (models[1] / "scores.parquet").unlink()
    assert "no run has scores" in str(cli("frontier", *models, "--usd-per-hour 2").error)


def test_comparison_of_scored_runs(cli, models, tmp_path):
    """One page has the frontier of the runs' own scores, and a row of dots a scenario."""
    cli("report", *models, "--usd-per-hour 2", "--output", tmp_path / "both.html")
    page = (tmp_path / "both.html").read_text("utf-8")
    assert "1 of 2 models are on the Pareto frontier" in page
    assert "Scores by scenario, each at its optimum" in page
    assert "$/1M correct" in page


def test_gate_of_scores(cli, models):
    """The worse run fails against the better one by its answers alone, and passes the other way round."""
    worse, better = models
    words = "--max-regression score=2pp --allow model"
    found = cli.data("gate", worse, "--baseline", better, words, code=5)
    assert [one["verdict"] for one in found["criteria"]] == ["fail"]
    assert found["criteria"][0]["change_ratio"] < -0.2
    assert cli.data("gate", better, "--baseline", worse, words)["verdict"] == "pass"
    assert "item by item" in str(cli("gate", worse, "--history", better.parent, words).error)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_figure_of_a_scored_level_is_split_over_lines(tmp_path, width):
    """The score and its price take the room of other columns, never of a figure's digits."""
    import io

    from rich.console import Console

    from benchsuite.report.terminal import print_judgement

    times = {8: (0.01234, 1.234e-4), 64: (0.01234, 1.234e-4)}
    run = folder(tmp_path / "run", 0.6, levels=(8, 64), latency=times, usd_per_hour=0.5)
    console = Console(file=io.StringIO(), width=width)
    print_judgement(judge_run(read_run(run), slo="score>=0.3"), run, console=console)
    lines = console.file.getvalue().splitlines()
    first = next(i for i, line in enumerate(lines) if re.match(r" *8 +\d+/", line))
    assert "%" in lines[first]
    assert "$" in lines[first]
    assert re.match(r" *64 +\d+/", lines[first + 1])
