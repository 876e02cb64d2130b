"""Scores and the frontier: the paper's Table 2, the laws of dominance, how sure it is."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from points_for_tests import EXAMPLES

from benchsuite.economics.pareto import ModelPoint, Score, frontier, match_scores, parse_scores
from benchsuite.errors import InputError
from benchsuite.level import Level
from benchsuite.quality.paired import wilson_draws

ON_FRONTIER = {"gpt-oss-20b-low", "Mistral-Small", "Qwen3-30B", "WiNGPT-3.5"}


def candidate(model: str, cost: float, score: float, n: int | None = None, **other) -> ModelPoint:  # type: ignore[no-untyped-def]
    return ModelPoint(model, 8, cost, Score(model, score, None, n), **other)


def table_2() -> list[ModelPoint]:
    with (EXAMPLES / "paper_table2.csv").open(encoding="utf-8") as file:
        return [
            candidate(row["table4_model"], 1.58 * float(row["time_s"]) / 3600, float(row["score"]))
            for row in csv.DictReader(file)
        ]


def test_table_2():
    """Four on the frontier, five dominated, by whom; without n and repeats there is no probability."""
    found = {one.model: one for one in frontier(table_2())}
    assert {model for model, one in found.items() if one.on_frontier} == ON_FRONTIER
    assert found["Seed-OSS-36B"].dominated_by == ("WiNGPT-3.5",)
    assert found["WiNGPT-2.7"].dominated_by == ("Qwen3-30B", "WiNGPT-3.5")
    assert found["WiNGPT-3.0"].dominated_by == ("WiNGPT-3.5", "Seed-OSS-36B")
    assert found["medgemma-27b"].dominated_by[0] == "gpt-oss-20b-low"
    assert all(one.p_on_frontier is None and "no n of the score" in (one.p_reason or "") for one in found.values())


def test_the_papers_scores_file():
    """The example's names are those of Table 4, its scores those of Table 2."""
    scores = parse_scores((EXAMPLES / "paper_scores.csv").read_text("utf-8"), where="paper_scores.csv")
    assert {one.model: one.score.score for one in table_2() if one.score} == {m: s.score for m, s in scores.items()}
    assert scores["Seed-OSS-36B"].params_b == 36


models = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 100)), min_size=1, max_size=12)


@given(models)
def test_laws_of_dominance(pairs):
    """Someone is on the frontier; who is dominated is so by someone on it; nobody on it beats another on it."""
    placed = frontier([candidate(f"m{i}", cost, score) for i, (cost, score) in enumerate(pairs)], draws=10)
    best = {one.model: one for one in placed if one.on_frontier}
    assert best
    for one in placed:
        assert one.on_frontier == (not one.dominated_by)
        assert one.on_frontier or best.keys() & set(one.dominated_by)
    costs = [one.cost_usd for one in placed]
    assert costs == sorted(costs)


def test_equals_do_not_dominate():
    """Two of the same cost and score are both on the frontier; a cheaper one of the same score beats both."""
    assert [one.on_frontier for one in frontier([candidate("a", 1, 50), candidate("b", 1, 50)])] == [True, True]
    three = frontier([candidate("a", 1, 50), candidate("b", 1, 50), candidate("c", 0.9, 50)])
    assert [one.on_frontier for one in three] == [True, False, False]


def test_no_place_is_listed_with_its_reason():
    """Without a score or a cost a model stays in the list, last."""
    placed = frontier(
        [
            ModelPoint("unscored", Level(8), 1.0, None),
            ModelPoint("slow", None, None, Score("slow", 90.0), reason="no level meets the SLO"),
            candidate("good", 2.0, 50.0),
        ]
    )
    assert [(one.model, one.on_frontier, one.reason) for one in placed] == [
        ("good", True, None),
        ("unscored", None, "it has no score"),
        ("slow", None, "no level meets the SLO"),
    ]
    assert [one.on_frontier for one in frontier([ModelPoint("unscored", Level(8), 1.0, None)])] == [None]


def test_wilson_by_hand():
    """81 of 263 right: 95 % from 25.5 to 36.6 (Newcombe 1998, table I); 0 of 20: from 0 to 16.11."""
    z = np.array([-1.959964, 1.959964])
    assert wilson_draws(81 / 263, 263, z) == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert wilson_draws(0.0, 20, z) == pytest.approx([0.0, 0.1611], abs=1e-4)


def test_probability_of_a_close_race():
    """Equal scores of many items at nearly equal cost: even odds for the dearer one; a clear one is sure."""
    placed = frontier([candidate("a", 1.00, 60.0, 1000), candidate("b", 1.01, 60.0, 1000)])
    assert placed[0].p_on_frontier == 1.0  # nobody is cheaper
    assert placed[1].p_on_frontier == pytest.approx(0.5, abs=0.03)
    assert placed[1].p_dominated_by == {"a": pytest.approx(0.5, abs=0.03)}
    assert placed[1].held_fixed == ("cost: one run per level",)
    clear = frontier([candidate("a", 1.00, 90.0, 1000), candidate("b", 1.01, 60.0, 1000)])
    assert clear[1].p_on_frontier == 0.0


def test_probability_of_repeats():
    """Costs from repeats: t on the log scale; 1, 1.1, 1.21 is 1.1 with [0.868, 1.394]."""
    repeats = candidate("a", 1.1, 50.0, repeat_cost_usd=(1.0, 1.1, 1.21))
    placed = {one.model: one for one in frontier([repeats, candidate("b", 1.1, 50.0)])}
    assert (placed["a"].cost_low_usd, placed["a"].cost_high_usd) == pytest.approx((0.8681, 1.3939), abs=1e-4)
    assert placed["a"].p_on_frontier == pytest.approx(0.5, abs=0.03)
    assert placed["b"].p_on_frontier is None  # nothing of b itself is known to vary
    assert placed["a"].held_fixed == ("score: no n",)


def test_items_are_drawn_for_all_models_at_once():
    """b is right wherever a is and once more: in no draw is it worse, which unpaired draws would not see."""
    right = {f"i{k}": float(k < 30) for k in range(60)}
    better = right | {"i40": 1.0}
    a, b = Score("a", 50.0, None, 60, right), Score("b", 100 * 31 / 60, None, 60, better)
    placed = {
        one.model: one for one in frontier([ModelPoint("a", Level(8), 1.0, a), ModelPoint("b", Level(8), 1.0, b)])
    }
    assert placed["b"].p_on_frontier == 1.0
    assert placed["a"].p_on_frontier == pytest.approx((1 - 1 / 60) ** 60, abs=0.03)  # i40 not drawn: a tie


def test_cost_of_correct_answers():
    """$0.002 a request, half right: $4,000 per million right answers; a score of no items has none."""
    placed = frontier([candidate("a", 1.0, 50.0, 10, usd_per_request=0.002)])
    assert placed[0].usd_per_1m_correct_answers == pytest.approx(4000)
    assert frontier([candidate("a", 1.0, 50.0, usd_per_request=0.002)])[0].usd_per_1m_correct_answers is None
    assert frontier([candidate("a", 1.0, 0.0, 10, usd_per_request=0.002)])[0].usd_per_1m_correct_answers is None


def test_the_seed_decides():
    """The same seed, the same probabilities."""
    pair = [candidate("a", 1.0, 60.0, 100), candidate("b", 1.1, 61.0, 100)]
    assert frontier(pair, seed=3) == frontier(pair, seed=3)
    assert frontier(pair, seed=3) != frontier(pair, seed=4)


def test_item_tables():
    """A column `item` makes the score a share; the order of lines does not matter."""
    text = "model,item,score\na,1,1\nb,1,0\nb,2,0.5\na,2,1\n"
    scores = parse_scores(text, where="s.csv")
    assert {m: (s.score, s.n) for m, s in scores.items()} == {"a": (100.0, 2), "b": (25.0, 2)}


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("", "lacks columns: model, score", "s.csv:1"),
        ("model,score\n", "no rows", "s.csv"),
        ("model,score\na,1\na,2\n", "scored before, on line 2", "s.csv:3"),
        ("model,score\na,good\n", "score: ", "s.csv:2"),
        ("model,score\na,\n", "score: required but missing", "s.csv:2"),
        ("model,score\n,5\n", "model: required but missing", "s.csv:2"),
        ("model,score\na\n", "number of cells differs", "s.csv:2"),
        ("model,score,n\na,101,50\n", "score should be from 0 to 100", "s.csv:2"),
        ("model,score,n\na,50,0\n", "n: ", "s.csv:2"),
        ("model,score,n\na,50,2.5\n", "n: ", "s.csv:2"),
        ("model,score,params_b\na,50,-7\n", "params_b: ", "s.csv:2"),
        ("model,score,params_b\na,50,0\n", "params_b: ", "s.csv:2"),
        ("model,item,score\na,1,2\n", "score should be from 0 to 1", "s.csv:2"),
        ("model,item,score\na,1,1\na,1,0\n", "item '1': scored before, on line 2", "s.csv:3"),
        ("model,item,score\na,1,1\nb,2,0\n", "not scored on the same items", "item"),
        ('model,score\n"a,1\n', "not valid CSV", "s.csv:1"),
    ],
)
def test_tables_that_make_no_sense(text, what, where):
    """The line and the column are named."""
    with pytest.raises(InputError) as caught:
        parse_scores(text, where="s.csv")
    assert what in caught.value.what
    assert caught.value.where == where


def test_names_that_do_not_match():
    """A near miss of an unscored model is refused with its name; a model that was not measured is told."""
    scores = {name: Score(name, 1.0) for name in ("GLM-4-32B", "other", "a")}
    with pytest.raises(InputError) as caught:
        match_scores(scores, ["GLM-4-32B-0414", "a"], where="s.csv")
    assert (caught.value.given, caught.value.hint) == ("GLM-4-32B", "did you mean 'GLM-4-32B-0414'?")
    assert match_scores(scores, ["a"], where="s.csv") == ["GLM-4-32B", "other"]
    with pytest.raises(InputError, match="of the score table was not measured"):
        match_scores(scores, ["zzz"], where="s.csv")


def test_a_model_with_two_curves():
    """Refused by name."""
    with pytest.raises(InputError, match="two runs"):
        frontier([candidate("a", 1, 1), candidate("a", 2, 2)])
