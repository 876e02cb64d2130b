"""A run's scores: by scenario and level, in every table, in money, as an SLO, and against load."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import factory
import pytest
from scored_runs import scored_folder

from benchsuite.analysis.intervals import Z, wilson
from benchsuite.analysis.requests import in_window
from benchsuite.analysis.warnings import check_quality
from benchsuite.economics.cost import usd_per_correct, usd_per_point
from benchsuite.economics.verdict import why_text
from benchsuite.level import Level
from benchsuite.quality.levels import items_of, quality_by_level
from benchsuite.records import ScoreRecord
from benchsuite.report.export import as_csv, as_markdown, summary_json
from benchsuite.report.judge import Judgement, judge_run, judge_table
from benchsuite.results import AnswerScore, Estimate, EvaluatedLevel
from benchsuite.store.run_folder import read_run, write_scores


def number(prompt_id: str) -> int:
    return int(prompt_id.partition("#")[0].removeprefix("wineval-").removeprefix("p"))


def judged(path: Path, **asked: Any) -> Judgement:
    return judge_run(read_run(path), **asked)


def first(path: Path, **asked: Any) -> EvaluatedLevel:
    return judged(path, **asked).judged[0]


def codes(one: EvaluatedLevel) -> list[str]:
    return [warning.code for warning in one.point.warnings]


def test_every_request_issued_counts(tmp_path: Path) -> None:
    """Four of 40 fail, ten are wrong, six could not be read: 20 of 40 are right, whatever was answered."""

    def planned(prompt_id: str, *_: int) -> AnswerScore | float:
        at = number(prompt_id)
        return AnswerScore(0.0, how="unread") if 14 <= at < 20 else float(at >= 20)

    one = first(scored_folder(tmp_path / "run", planned, levels=(2,), requests=40, faults={"timeout": 4}))
    (scenario,) = one.quality.scenarios
    assert (scenario.n, scenario.failed, scenario.unread, scenario.refused) == (40, 4, 6, 0)
    assert one.quality.score.value == one.quality.micro.value == 0.5
    low, high = wilson(0.5, 40, Z)
    assert (one.quality.score.low, one.quality.score.high) == (low, high)


def test_answers_of_an_item_are_averaged_first(tmp_path: Path) -> None:
    """Two repeats, and a copy of each prompt: four answers of an item are one of ten items, not four."""
    one = first(
        scored_folder(
            tmp_path / "run", lambda prompt_id, *_: float(number(prompt_id) < 6), levels=(2,), requests=20, repeats=2,
            item=lambda name: name if number(name) < 10 else f"p{number(name) - 10}#2",
        )
    )  # fmt: skip
    assert one.quality.score.n == 10
    assert (one.quality.score.value, one.quality.score.low) == (0.6, wilson(0.6, 10, Z)[0])
    assert one.quality.total("n") == 40


def test_names_that_only_look_like_copies_are_items_of_their_own() -> None:
    """A file may have q#1, q#2 of its own; a copy is asked beside its prompt."""
    assert items_of(["q#1", "q#2", "a", "a#2", "b#x"]) == {
        "q#1": "q#1",
        "q#2": "q#2",
        "a": "a",
        "a#2": "a",
        "b#x": "b#x",
    }


def test_of_a_rate_the_window_counts(tmp_path: Path) -> None:
    """Warm-up and tail are in no score, no time in flight and no cost."""
    path = factory.rate_folder(tmp_path / "run", rates=(4.0,))
    run = read_run(path)
    inside = run.whole.filter(in_window(run.whole)).to_pylist()
    assert 0 < len(inside) < len(run.whole)
    where = ("point_id", "repeat", "attempt", "request_id", "prompt_id", "scenario")
    rows = [ScoreRecord(*(one[name] for name in where), "choice", 1, float(i % 2), "C", "bare", False, False)
            for i, one in enumerate(inside)]  # fmt: skip
    write_scores(path, rows, {"run_id": run.manifest.run_id})
    one = first(path)
    assert one.quality.total("n") == len(inside)
    assert one.quality.time_share == pytest.approx(1.0)
    assert one.quality.usd_per_correct.value == pytest.approx(one.cost.cost_usd / sum(row.score for row in rows))


def test_the_overall_score_is_the_mean_of_the_scenarios(tmp_path: Path) -> None:
    """a: 9 of 30 right, b: 10 of 10: 65 % of the scenarios' mean, 47.5 % of all items."""
    one = first(
        scored_folder(
            tmp_path / "run", lambda prompt_id, *_: float(number(prompt_id) < 9 or number(prompt_id) >= 30),
            scenario=lambda name: "a" if number(name) < 30 else "b", levels=(2,), requests=40,
        )
    )  # fmt: skip
    assert [(s.scenario, s.n, s.score.value) for s in one.quality.scenarios] == [("a", 30, 0.3), ("b", 10, 1.0)]
    assert one.quality.score.value == pytest.approx(0.65)
    assert one.quality.micro.value == pytest.approx(0.475)
    assert one.quality.score.low is not None
    assert one.quality.score.high is not None
    assert one.quality.score.low < 0.65 < one.quality.score.high < 0.9


def test_corrections_are_summed_and_failed_ones_lack_all_their_edits(tmp_path: Path) -> None:
    """Ten items of two edits: one finds both and adds one, eight find one, one request failed, so lacks both."""

    def planned(prompt_id: str, *_: int) -> AnswerScore:
        tp, fp, fn = (2, 1, 0) if number(prompt_id) == 9 else (1, 0, 1)
        return AnswerScore(0.7143 if fp else 0.8333, parts={"tp": tp, "fp": fp, "fn": fn})

    path = scored_folder(
        tmp_path / "run", planned, levels=(2,), requests=10, faults={"timeout": 1}, scorer="correction"
    )
    (scenario,) = first(path).quality.scenarios
    tp, fp, fn = 2 + 8, 1, 8 + 2
    assert scenario.score.value == pytest.approx(1.25 * tp / (1.25 * tp + 0.25 * fn + fp))
    assert scenario.edits == {"p0": (0, 0, 2)} | {f"p{i}": (1, 0, 1) for i in range(1, 9)} | {"p9": (2, 1, 0)}
    assert scenario.items["p9"] == 0.7143


def test_a_judges_scores_are_of_requests_without_another(tmp_path: Path) -> None:
    """A judge beside a scorer of the prompt's own changes nothing; where it is the own one it counts."""
    beside = lambda one: [one._replace(scorer="judge", score=0.1)] if number(one.prompt_id) < 9 else []  # noqa: E731
    one = first(scored_folder(tmp_path / "beside", lambda *_: 1.0, levels=(2,), requests=20, extra=beside))
    assert (one.quality.score.value, one.quality.total("n")) == (1.0, 20)
    own = first(scored_folder(tmp_path / "own", lambda *_: 0.4, levels=(2,), requests=20, scorer="judge"))
    assert own.quality.score.value == pytest.approx(0.4)
    assert own.quality.graded


def test_a_judge_that_cannot_tell_takes_only_its_own_scores_out(tmp_path: Path) -> None:
    """A scorer's scores beside it are believed; one of the judge is partial, and says so in other words."""
    beside = lambda one: [one._replace(scorer="judge", score=0.1)]  # noqa: E731
    for name, asked, believed in (("beside", {"extra": beside}, True), ("own", {"scorer": "judge"}, False)):
        run = read_run(scored_folder(tmp_path / name, lambda *_: 1.0, levels=(2,), requests=20, **asked))
        found = quality_by_level(run.scores.table, run.table, [Level(2)], judge_can_tell=False)
        assert (found[Level(2)].judge_can_tell, found[Level(2)].partial) == (believed, not believed)
        assert [*check_quality(found)] == []


def test_a_partial_score_has_no_verdict_and_no_draws(tmp_path: Path) -> None:
    """98 of 100 judged, all right: whether a limit is met is unknown, and no draw of it meets it."""
    for not_judged, verdict, p in ((0, "met", 1.0), (2, "unknown", 0.0)):
        path = scored_folder(
            tmp_path / f"run{not_judged}", lambda name, *_, of=not_judged: None if number(name) < 0 else AnswerScore(
                None if number(name) < of else 1.0, how="bare"), levels=(2,), requests=100, repeats=3, noise=0.1,
        )  # fmt: skip
        one = first(path, slo="score>=0.5")
        (check,) = [check for check in one.limits if check.asked]
        assert (check.verdict, one.p_met) == (verdict, p)


def test_the_papers_price_of_a_correct_answer() -> None:
    """1.58 $/h for 774.11 s, 2,993 requests, 76.2 % right: $0.33975 the set, $148.97 per million correct answers."""
    usd = 1.58 * 774.11 / 3600
    assert usd == pytest.approx(0.33975, abs=5e-6)
    assert usd_per_point(usd, 0.762 * 2993) == pytest.approx(148.97e-6, abs=5e-9)
    assert usd_per_point(usd, 0.0) is None


def test_a_correct_answer_pays_for_the_wrong_ones(tmp_path: Path) -> None:
    """Half of 40 right, each run of the set costs cost_usd: 20 share it; over two repeats the same."""
    for repeats in (1, 2):
        path = scored_folder(
            tmp_path / f"run{repeats}", lambda name, *_: float(number(name) < 20), levels=(2,), requests=40,
            repeats=repeats, noise=0.2,
        )  # fmt: skip
        one = first(path)
        found = one.quality.usd_per_correct
        assert found.value == pytest.approx(one.cost.cost_usd / 20)
        assert found.low is not None
        assert found.high is not None
        assert found.low < one.cost.cost_usd / 40 / wilson(0.5, 40, Z)[1] * 1.02
        assert found.high > one.cost.cost_usd / 40 / wilson(0.5, 40, Z)[0] * 0.98
        assert ("as exact" in found.method) == (repeats == 1)
        assert one.intervals["usd_per_1m_correct"].high == pytest.approx(found.high * 1e6)


def test_a_score_that_may_be_zero_has_no_upper_end_of_the_cost(tmp_path: Path) -> None:
    one = first(scored_folder(tmp_path / "run", lambda *_: 0.0, levels=(2,), requests=50))
    found = one.quality.usd_per_correct
    assert (found.value, found.high) == (None, None)
    assert found.low == pytest.approx(one.cost.cost_usd / 50 / 0.0713, rel=0.05)


def test_runs_that_differ_much_and_hours_that_are_free_have_a_cost(tmp_path: Path) -> None:
    """Two runs, one six times as long: t with one degree of freedom draws any cost. A free hour costs nothing."""
    slow = lambda one: one._replace(closed_s=one.closed_s + 5 * one.repeat)  # noqa: E731
    path = scored_folder(
        tmp_path / "run", lambda name, *_: float(number(name) < 15), levels=(2,), requests=20, repeats=2, row=slow
    )
    one = first(path)
    found = one.quality.usd_per_correct
    assert found.low < found.value < found.high
    free = first(scored_folder(tmp_path / "free", lambda *_: 1.0, levels=(2,), usd_per_hour=0.0))
    assert (free.quality.usd_per_correct.value, free.quality.usd_per_correct.high) == (0.0, 0.0)
    unknown = first(scored_folder(tmp_path / "unknown", lambda *_: 1.0, levels=(2,), usd_per_hour=None))
    assert unknown.quality.usd_per_correct is None


def test_prompts_without_a_scorer_leave_score_and_cost(tmp_path: Path) -> None:
    """A quarter of the requests has no scorer; at two users without noise each takes as long as any other."""
    one = first(
        scored_folder(
            tmp_path / "run", lambda name, *_: None if number(name) % 4 == 0 else 1.0, levels=(2,), requests=40
        )
    )
    assert one.quality.total("n") == 30
    assert one.quality.time_share == pytest.approx(0.75)
    assert one.quality.usd_per_correct.value == pytest.approx(0.75 * one.cost.cost_usd / 30)


SLO = "score>=0.7"


@pytest.mark.parametrize(
    ("right", "verdict", "words"),
    [
        (40, "met", "40 items: between 91.2 % and 100.0 %"),
        (30, "undecided", "items would decide"),
        (12, "not met", "40 items: between"),
    ],
)
def test_a_limit_on_the_score_is_judged_by_items(tmp_path: Path, right: int, verdict: str, words: str) -> None:
    """40 of 40: Wilson from 91.2 %; 30 of 40: 59.8 to 85.8 %; 12 of 40: to 45.4 %."""
    one = first(
        scored_folder(tmp_path / "run", lambda name, *_: float(number(name) < right), levels=(2,), requests=40), slo=SLO
    )
    (check,) = [check for check in one.limits if check.asked]
    assert (check.verdict, check.value, one.slo_verdict) == (verdict, right / 40, verdict)
    assert words in why_text(check).replace("%", " %").replace("  ", " ")
    if verdict == "undecided":  # 7.84 / 3.84 of (reach / distance)^2: the lower end is .1519 below, the limit .05
        assert check.values["items"] == pytest.approx(40 * 2.043 * (0.1519 / 0.05) ** 2, rel=0.01)


def test_more_runs_of_the_same_items_prove_no_more(tmp_path: Path) -> None:
    path = scored_folder(
        tmp_path / "run", lambda name, *_: float(number(name) < 30), levels=(2,), requests=40, repeats=5
    )
    one = first(path, slo=SLO)
    assert one.slo_verdict == "undecided"
    assert one.quality.score.n == 40
    assert 0.6 < one.p_met < 0.9  # of draws of 40 items with 75 % right
    assert first(path, slo="score>=0.3").p_met == 1.0
    assert first(path, slo="score>=0.99").p_met == 0.0


def test_the_optimum_keeps_the_limit_on_the_score(tmp_path: Path) -> None:
    """The cheapest level answers worse, by more than chance: the next one is the optimum, in every draw."""
    path = scored_folder(
        tmp_path / "run", lambda name, level, _: float(number(name) % 10 < (9 if level < 8 else 2)), requests=60,
        repeats=3, noise=0.05,
    )  # fmt: skip
    free, limited = judged(path, slo="ttft_mean<10s"), judged(path, slo="ttft_mean<10s,score>=0.7")
    assert free.best.point.level == Level(8)
    assert limited.best.point.level == Level(4)
    assert limited.decision.p_by_level[Level(8)] == 0.0
    assert limited.decision.p_by_level[Level(4)] > 0.95
    assert limited.decision.binding == "score>=0.7"


def test_without_scores_a_limit_on_them_is_unknown(tmp_path: Path) -> None:
    import factory

    from benchsuite.economics.verdict import why_text

    one = first(factory.run_folder(tmp_path / "run", repeats=2), slo=SLO)
    (check,) = [check for check in one.limits if check.asked]
    assert (check.verdict, check.value, one.quality) == ("unknown", None, None)
    assert why_text(check) == "not known: no answer has a score (benchsuite score RUN, unless their length is fixed)"
    table = "model,concurrency,requests,time_s\nm,4,10,20\n"
    (of_table,) = judge_table(table, "t.csv", SLO)[0].judged
    assert (of_table.slo_verdict, of_table.limits[0].why) == ("unknown", "no_answers")


def test_answers_get_worse_with_load(tmp_path: Path) -> None:
    """Of 200 items 160 are right at 2 users, the same at 4; at 8 users 16 of them are not: McNemar p = 3e-5."""
    path = scored_folder(
        tmp_path / "run", lambda name, level, _: float(number(name) < (144 if level == 8 else 160)), requests=200
    )
    two, four, eight = judged(path).judged
    assert two.quality.change is None
    assert (four.quality.change.difference.value, four.quality.change.p_corrected) == (0.0, 1.0)
    assert eight.quality.change.difference.value == pytest.approx(-0.08)
    assert eight.quality.change.p == pytest.approx(2 / 2**16)
    assert eight.quality.change.p_corrected == pytest.approx(2 * 2 / 2**16)
    assert ["quality_falls" in codes(one) for one in (two, four, eight)] == [False, False, True]
    (warning,) = [one for one in eight.point.warnings if one.code == "quality_falls"]
    assert warning.finding.startswith("the same items score 8.0 points lower than at concurrency 2 (")


def test_what_was_not_judged_makes_a_score_partial(tmp_path: Path) -> None:
    """More than 1 % null: no verdict, no cost, no comparison with load; and 1 % of 100 is not more."""
    many = scored_folder(
        tmp_path / "many", lambda name, *_: AnswerScore(None, how="judge down") if number(name) < 2 else 1.0,
        levels=(2, 4), requests=100,
    )  # fmt: skip
    two, four = judged(many, slo=SLO).judged
    assert two.quality.partial
    assert "quality_partial" in codes(two)
    assert (two.quality.score.value, two.quality.score.n) == (1.0, 98)
    assert (two.slo_verdict, two.limits[0].why, two.quality.usd_per_correct) == ("unknown", "partial", None)
    assert four.quality.change is None
    few = scored_folder(
        tmp_path / "few", lambda name, *_: AnswerScore(None, how="judge down") if number(name) < 1 else 1.0,
        levels=(2,), requests=100,
    )  # fmt: skip
    one = first(few, slo=SLO)
    assert (one.slo_verdict, one.quality.partial) == ("met", False)
    assert one.quality.usd_per_correct.value == pytest.approx(one.cost.cost_usd / 100)


def test_answers_that_are_cut_or_unread_are_named(tmp_path: Path) -> None:
    """3 of 50 unread are 6 %, 2 of 50 cut are 4 %; of b none."""
    path = scored_folder(
        tmp_path / "run", lambda name, *_: AnswerScore(0.0, how="unread") if number(name) < 3 else 1.0, levels=(2,),
        requests=60, scenario=lambda name: "a" if number(name) < 50 else "b", cut=lambda name: 10 <= number(name) < 12,
    )  # fmt: skip
    found = [one for one in first(path).point.warnings if one.code in ("answers_unread", "answers_cut")]
    assert [one.code for one in found] == ["answers_unread", "answers_cut"]
    assert found[0].finding == "3 of 50 answers of a could not be read (q0, q1, q2)"
    assert found[1].finding == "2 of 50 answers of a were cut at max_tokens (q10, q11)"


def of_three_levels(path: Path, **asked: Any) -> Path:
    """80 % of 100 items of two scenarios right at 2 and 4 users, 55 % at 8."""
    return scored_folder(
        path, lambda name, level, _: float(number(name) % 20 < (11 if level == 8 else 16)), requests=100,
        scenario=lambda name: "exam" if number(name) < 50 else "triage",
        item=lambda name: f"wineval-{number(name):05d}", **asked,
    )  # fmt: skip


def test_check_prints_the_scores(tmp_path: Path, cli: Any) -> None:
    """Every level and scenario, all scenarios together, the change with load; and that the set is no exam."""
    shown = cli("check", of_three_levels(tmp_path / "run"), "--quality", COLUMNS="160").out
    assert "2  mean of scenarios  100       0    0       0    100  80.0 % [" in shown
    assert "8  exam                50       0    0       0     50  64.0 % [50.1 %, 75.9 %]" in shown
    assert "$/1M correct" in shown
    assert "quality_falls" in shown
    assert "the set: a generated load with checkable answers, no exam of medicine" in shown
    assert "the cost of one run is taken as exact" in shown
    found = cli.data("check", tmp_path / "run", "--quality")["quality"]
    assert [row["score"]["value"] for row in found] == pytest.approx([0.8, 0.8, 0.55])
    assert [one["scenario"] for one in found[0]["scenarios"]] == ["exam", "triage"]
    assert found[0]["change"] is None
    assert found[2]["change"]["difference"]["value"] == pytest.approx(-0.25)
    assert (found[2]["partial"], found[2]["time_share"]) == (False, pytest.approx(1.0))


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_no_interval_of_a_score_folds(tmp_path: Path, cli: Any, columns: int) -> None:
    """A narrow terminal has a table a level, and the prices in one of their own; each interval is on one line."""
    shown = cli("check", of_three_levels(tmp_path / "run"), "--quality", COLUMNS=str(columns)).out
    lines = [line for line in shown[shown.index("scores") :].splitlines() if "[" in line or "]" in line]
    assert all(line.count("[") == line.count("]") > 0 for line in lines)
    assert sum("64.0 % [50.1" in line for line in lines) == 1
    assert sum("$" in line for line in lines) == 3 * 3
    assert ("scores at concurrency 8" in shown) == (columns == 80)
    assert ("what they cost" in shown) == (columns < 120)


def test_the_share_of_the_cost_is_that_of_scored_prompts(tmp_path: Path, cli: Any) -> None:
    path = scored_folder(
        tmp_path / "run", lambda name, *_: 1.0 if number(name) < 30 else None, levels=(2,), requests=40
    )
    shown = " ".join(cli("check", path, "--quality", COLUMNS="160").out.split())
    assert "those with one took 75.0 % of the time in flight, and so much of the cost is theirs" in shown


def test_why_answers_were_not_judged_is_said(tmp_path: Path, cli: Any) -> None:
    """A rule of ours that fails, however seldom, is named; else it would be a count alone."""

    def planned(prompt_id: str, *_: int) -> AnswerScore | float:
        return AnswerScore(None, how="scorer_failed: KeyError") if number(prompt_id) == 7 else 1.0

    path = scored_folder(tmp_path / "run", planned, levels=(2,), requests=200, repeats=2)
    shown = cli("check", path, "--quality", COLUMNS="120").out
    assert "what could not be judged is in no score: 2 scorer_failed: KeyError" in shown
    (scenario,) = first(path).quality.scenarios
    assert (scenario.not_judged, scenario.not_judged_because) == (2, {"scorer_failed: KeyError": 2})
    assert scenario.points == pytest.approx(400)


def test_a_failed_request_is_no_unread_one_and_cut_thoughts_are(tmp_path: Path) -> None:
    """A row of a failed request may say anything of its answer: it is counted once, as failed."""
    fate = {0: "empty", 1: "cut_thinking", 2: "unread", 3: "refused"}
    path = scored_folder(
        tmp_path / "run", lambda name, *_: AnswerScore(0.0, how=fate.get(number(name), "bare")), levels=(2,),
        requests=40,
    )  # fmt: skip
    run = read_run(path)
    rows = [ScoreRecord(**row) for row in run.scores.table.to_pylist()]
    rows[10] = rows[10]._replace(failed=True, how="unread")
    write_scores(path, rows, run.scores.facts)
    (scenario,) = first(path).quality.scenarios
    assert (scenario.unread, scenario.refused, scenario.failed) == (3, 1, 1)
    assert [len(scenario.examples[name]) for name in ("unread", "cut")] == [3, 0]


def test_at_most_three_examples_are_named(tmp_path: Path) -> None:
    path = scored_folder(tmp_path / "run", lambda *_: AnswerScore(0.0, how="unread"), levels=(2,), requests=20)
    assert len(first(path).quality.scenarios[0].examples["unread"]) == 3


def test_five_in_a_hundred_unread_are_no_finding(tmp_path: Path) -> None:
    path = scored_folder(
        tmp_path / "run", lambda name, *_: AnswerScore(0.0, how="unread") if number(name) < 3 else 1.0, levels=(2,),
        requests=60,
    )  # fmt: skip
    assert "answers_unread" not in codes(first(path))


def test_scores_that_rise_with_load_are_no_fall(tmp_path: Path) -> None:
    """Proven, but upwards."""
    path = scored_folder(
        tmp_path / "run", lambda name, level, _: float(level == 8 or number(name) < 10), levels=(2, 8), requests=60
    )
    eight = judged(path).judged[1]
    assert eight.quality.change.p_corrected < 0.001
    assert not eight.quality.change.falls
    assert "quality_falls" not in codes(eight)


def test_a_failed_correction_lacks_the_edits_of_its_own_item(tmp_path: Path) -> None:
    """p0 has five edits to find, as its other repeat says; the others have one."""

    def planned(prompt_id: str, *_: int) -> AnswerScore:
        return AnswerScore(0.9, parts={"tp": 4 if prompt_id == "p0" else 1, "fp": 0, "fn": int(prompt_id == "p0")})

    path = scored_folder(tmp_path / "run", planned, levels=(2,), requests=10, repeats=2, scorer="correction")
    run = read_run(path)
    rows = [ScoreRecord(**row) for row in run.scores.table.to_pylist()]
    rows = [one._replace(failed=True, score=0.0, how="timeout", parts=None)
            if (one.prompt_id, one.repeat) == ("p0", 0) else one for one in rows]  # fmt: skip
    write_scores(path, rows, run.scores.facts)
    (scenario,) = first(path).quality.scenarios
    assert (scenario.edits["p0"], scenario.edits["p1"]) == ((4, 0, 1 + 5), (2, 0, 0))


def test_without_the_rows_of_scored_requests_nothing_is_paid(tmp_path: Path) -> None:
    """How long they took is not known: no share of the cost is theirs."""
    path = scored_folder(tmp_path / "run", lambda *_: 1.0, levels=(2,), requests=20)
    run = read_run(path)
    rows = [ScoreRecord(**row) for row in run.scores.table.to_pylist()]
    write_scores(path, [rows[0]._replace(request_id="gone"), *rows[1:]], run.scores.facts)
    one = first(path)
    assert (one.quality.score.value, one.quality.time_share, one.quality.usd_per_correct) == (1.0, None, None)


def test_the_intervals_of_cost_and_score_are_joined(tmp_path: Path) -> None:
    """A thousand right answers leave next to nothing open but the cost, of three runs 0.5 to 2 dollars; one right of
    five may be a few, but is not none: Wilson's lower end has a price."""
    many = first(scored_folder(tmp_path / "many", lambda *_: 1.0, levels=(2,), requests=1000)).quality
    found = usd_per_correct(Estimate(1.0, 0.5, 2.0, 3, ""), 1, many)
    assert (found.low, found.value, found.high) == pytest.approx((0.5e-3, 1e-3, 2e-3), rel=0.1)
    few = first(scored_folder(tmp_path / "few", lambda name, *_: float(name == "p0"), levels=(2,), requests=5)).quality
    found = usd_per_correct(Estimate(1.0, None, None, 1, ""), 1, few)
    low, high = wilson(0.2, 5, Z)
    assert (found.low, found.value, found.high) == pytest.approx((0.2 / high, 1.0, 0.2 / low), rel=0.05)


def test_check_says_where_there_are_no_scores(tmp_path: Path, cli: Any) -> None:
    factory.run_folder(tmp_path / "run")
    assert "no answer has a score" in cli("check", tmp_path / "run", "--quality").out
    table = tmp_path / "t.csv"
    table.write_text("model,concurrency,requests,time_s\nm,4,10,20\n")
    assert "a table of levels has no requests" in str(cli("check", "--levels-csv", table, "--quality").error)


def test_columns_of_scores_are_shown_where_there_are_any(tmp_path: Path, cli: Any) -> None:
    scored, plain = of_three_levels(tmp_path / "scored"), factory.run_folder(tmp_path / "plain")
    assert "$/1M" in cli("decide", scored, COLUMNS="160").out
    assert " score " in cli("decide", scored).out
    assert "score" not in cli("decide", plain).out
    markdown, page = as_markdown([judged(scored)]), as_csv([judged(scored)])
    assert "| score |" in markdown
    assert "score" not in as_markdown([judged(plain)])
    row = next(csv.DictReader(page.splitlines()))
    assert (row["score"], row["micro_score"], row["unread_share"]) == ("0.8", "0.8", "0.0")
    assert float(row["score_low"]) < 0.8 < float(row["score_high"])
    assert float(row["usd_per_1m_correct"]) == pytest.approx(float(row["cost_usd"]) / 80 * 1e6)
    (point, *_) = summary_json(judged(scored))["points"]
    assert (point["score"], point["quality"]["score"]["value"]) == (pytest.approx(0.8), pytest.approx(0.8))
    assert "quality" not in summary_json(judged(plain))["points"][0]


def test_items_that_would_decide_are_named(tmp_path: Path, cli: Any) -> None:
    of_three_levels(tmp_path / "run")
    said = cli("decide", tmp_path / "run", "--slo", "score>=0.78").out
    assert "items would decide" in said
    assert "repeats would decide" not in said


def test_a_search_cannot_be_for_a_score(tmp_path: Path, cli: Any) -> None:
    """A probe is a window of what is sent, and scores are of whole runs."""
    failed = cli("find", "--base-url http://127.0.0.1:9", "--slo score>=0.7", "--output", tmp_path / "run")
    assert failed.code == 2
    assert "a probe of a search does not tell score" in str(failed.error)
    assert "benchsuite sweep" in str(failed.error)


@pytest.mark.parametrize(
    ("sampling", "said"),
    [({}, "the server's own"), ({"temperature": 0.7}, "0.7"), ({"temperature": 0}, None), ({"seed": 3}, None)],
)
def test_sampled_answers_are_named(tmp_path: Path, sampling: dict[str, Any], said: str | None) -> None:
    one = first(scored_folder(tmp_path / "run", lambda *_: 1.0, levels=(2,), spec={"sampling": sampling}))
    found = [warning.finding for warning in one.point.warnings if warning.code == "sampled_without_seed"]
    assert [f"temperature {said}" in text for text in found] == [True] * (said is not None)


def test_a_salt_in_the_prompt_is_named(tmp_path: Path) -> None:
    """Written into the question it changes it; in a field of the request it does not."""
    for bust in ("prompt", "field", "off"):
        path = scored_folder(tmp_path / bust, lambda *_: 1.0, levels=(2,))
        manifest = json.loads((path / "manifest.json").read_text())
        for point in manifest["points"]:
            point["cache_bust"] = bust
        (path / "manifest.json").write_text(json.dumps(manifest))
        assert ("scored_with_salt" in codes(first(path))) == (bust == "prompt")
