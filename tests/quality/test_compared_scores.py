"""Scores of two runs or more compared: paired by item for the gate, with common draws for the frontier."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchsuite.economics.pareto import ModelPoint, Score, frontier, scores_of
from benchsuite.errors import InputError
from benchsuite.level import Level
from benchsuite.metrics import METRICS, Statistic
from benchsuite.quality.paired import newcombe, overall_difference, overall_interval, scenario_interval
from benchsuite.report.comparison import Regression, compare_scores, parse_regressions
from benchsuite.report.gate import judge_changes
from benchsuite.results import Estimate, Quality, ScenarioQuality

SCORE = Regression(Statistic(METRICS["score"]), 0.02)


def quality(
    scores: dict[str, dict[str, float]], *, version: int = 1, not_judged: int = 0, paid: Estimate | None = None
):
    """A level's quality with these scores by scenario and item."""
    sets = {name: np.array([items[item] for item in sorted(items)]) for name, items in scores.items()}
    scenarios = tuple(
        ScenarioQuality(
            name or None, len(items), scenario_interval(sets[name]), 0, 0, 0, 0, not_judged, sum(items.values()), items
        )
        for name, items in scores.items()
    )
    every = overall_interval(sets)
    return Quality(every, every, scenarios, {"choice": version}, graded=False, usd_per_correct=paid)


def answers(both: int, first: int, second: int, neither: int) -> tuple[dict[str, float], dict[str, float]]:
    """Two sides' scores with so many items right in both, in one alone, in neither."""
    pattern = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    return tuple({f"q{i}": float(pair[side]) for i, pair in enumerate(pattern)} for side in (0, 1))  # type: ignore


def test_one_scenario_has_newcombes_interval():
    """150, 15, 5, 30: .0500 (.0053, .0961), as between two proportions on the same items."""
    a, b = answers(150, 15, 5, 30)
    found = overall_difference({"": a}, {"": b})
    assert found.difference == newcombe(150, 15, 5, 30)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.0053, 0.0961), abs=5e-5)
    assert found.p == pytest.approx(0.0414, abs=5e-5)


def test_two_scenarios_are_weighed_alike():
    """The mean of both differences, however many items each has; items of one side left out.

    x: d = .05, squares about it 19.5 of 200 items; y: .2, 12 of 50. Of all 31.5 / 248 = .12702. Variances
    (19.5 + 5 * .12702) / 204 and (12 + 5 * .12702) / 54; error^2 = .098702 / 800 + .233983 / 200 + 1 / 250^2 =
    .00130929; 65.8 degrees of freedom, t = 1.9967: .125 -+ .07225; p of t = 3.4546 is .00097.
    """
    a, b = answers(150, 15, 5, 30)
    c, d = answers(36, 12, 2, 0)
    found = overall_difference({"x": a, "y": c | {"new": 1.0}}, {"x": b, "y": d, "z": {"old": 1.0}})
    assert found.difference.value == pytest.approx((0.05 + 0.2) / 2)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.05275, 0.19725), abs=2e-5)
    assert found.p == pytest.approx(0.00097, abs=2e-5)
    assert (found.left_out, found.difference.n) == (2, 250)


def test_scenarios_of_which_no_item_changes_have_an_interval():
    """Of 40 items each up to 8.76 % may differ (Wilson): over two scenarios 6.2 points either way; p is 1."""
    a = {str(i): float(i < 30) for i in range(40)}
    found = overall_difference({"x": a, "y": a}, {"x": a, "y": a})
    assert (found.difference.value, found.p) == (0.0, 1.0)
    assert (found.difference.low, found.difference.high) == pytest.approx((-0.06196, 0.06196), abs=1e-4)


def test_nothing_in_common():
    """Without an item on both sides nothing is said of the difference."""
    found = overall_difference({"": {"a": 1.0}}, {"": {"b": 1.0}})
    assert (found.difference.value, found.p, found.left_out) == (None, None, 2)


@pytest.mark.parametrize(
    ("counts", "verdict", "words"),
    [
        ((150, 15, 5, 30), "pass", "+5.0 pp"),  # the run is better by 5 points
        ((280, 2, 2, 16), "pass", "+0.0 pp"),
        ((150, 5, 60, 30), "fail", "-22.4 pp"),
        ((150, 5, 12, 30), "inconclusive", "items would decide"),
    ],
)
def test_the_gate_of_a_score(counts, verdict, words):
    """Pass where the interval of the difference is above the margin of 2 points, fail where it is below."""
    new, old = answers(*counts)
    compared = compare_scores(SCORE, Level(8), quality({"": new}), quality({"": old}))
    (found,) = judge_changes([compared])
    assert found.verdict == verdict
    assert words in found.finding
    assert found.requirement == "score at most 2 pp lower"
    n = sum(counts)
    assert found.change_ratio == pytest.approx((counts[1] - counts[2]) / n)
    assert found.value == pytest.approx((counts[0] + counts[1]) / n)


@pytest.mark.parametrize("cells", [(0, 0, 21, 0), (36, 12, 2, 0), (150, 5, 15, 30)])
def test_the_gates_interval_is_the_paired_one(cells: tuple[int, int, int, int]):
    """No other interval beside it, as long to both sides, and none beyond -100 points."""
    new, old = answers(*cells)
    (found,) = judge_changes([compare_scores(SCORE, Level(8), quality({"": new}), quality({"": old}))])
    paired = overall_difference({"": new}, {"": old}).difference
    assert (found.change_ratio, found.change_low, found.change_high) == (paired.value, paired.low, paired.high)
    assert found.change_low >= -1
    assert f"[{100 * paired.low:+.1f} pp, {100 * paired.high:+.1f} pp]" in found.finding


def test_the_gate_passes_by_the_end_towards_the_margin():
    """36, 4, 0, 0: from -0.6 points, within two; as far down as it reaches up it would be -3.1."""
    new, old = answers(36, 4, 0, 0)
    (found,) = judge_changes([compare_scores(SCORE, Level(8), quality({"": new}), quality({"": old}))])
    assert (found.verdict, found.change_low) == ("pass", pytest.approx(-0.0064, abs=5e-5))


def test_the_gate_refuses_other_versions_and_says_what_is_missing():
    """Scores of different rules are not compared; a level without scores, or a partial one, has no verdict."""
    new, old = answers(150, 15, 5, 30)
    with pytest.raises(InputError, match="different versions of choice"):
        compare_scores(SCORE, Level(8), quality({"": new}, version=2), quality({"": old}))
    sides = [dataclasses.replace(quality({"": new}), hashes=("asked", by)) for by in ("theirs", "corrected")]
    with pytest.raises(InputError, match="the same prompts were scored by different references"):
        compare_scores(SCORE, Level(8), *sides)
    compare_scores(SCORE, Level(8), sides[0], dataclasses.replace(sides[1], hashes=("a part of it", "corrected")))
    for sides in ((None, quality({"": old})), (quality({"": new}), None)):
        (found,) = judge_changes([compare_scores(SCORE, Level(8), *sides)])
        assert found.verdict == "inconclusive"
        assert "benchsuite score RUN" in found.finding
    (found,) = judge_changes([compare_scores(SCORE, Level(8), quality({"": new}, not_judged=5), quality({"": old}))])
    assert (found.verdict, "could not be judged" in found.finding) == ("inconclusive", True)


def test_margins_of_a_score_are_points():
    """2pp, 0.5 pp; per cent of a score is refused, and so are points of anything else."""
    assert parse_regressions("score=2pp,ttft_p95=5%")[0].margin == 0.02
    assert parse_regressions("score=0.5pp")[0].margin == pytest.approx(0.005)
    assert parse_regressions("score")[0].margin == 0.02
    for text in ("score=2%", "score=0.02", "score=0pp", "score=100pp", "ttft_p95=2pp"):
        with pytest.raises(InputError, match="not a margin"):
            parse_regressions(text)


def test_scores_of_models_are_of_the_items_that_all_have():
    """An item that one model was not asked is in nobody's score; scenarios weigh alike."""
    a = quality({"x": {"1": 1.0, "2": 0.0, "3": 1.0}, "y": {"4": 1.0}})
    b = quality({"x": {"1": 1.0, "2": 1.0}, "y": {"4": 0.0}})
    scores, left_out = scores_of({"a": a, "b": b})
    assert left_out == 1
    assert (scores["a"].score, scores["b"].score) == (75.0, 50.0)
    assert scores["a"].n == 3
    with pytest.raises(InputError, match="different versions"):
        scores_of({"a": a, "b": dataclasses.replace(b, scorers={"choice": 2})})
    with pytest.raises(InputError, match="same items"):
        scores_of({"a": quality({"": {"1": 1.0}}), "b": quality({"": {"2": 1.0}})})


def test_the_frontier_draws_items_once_for_all_models():
    """The dearer model is right wherever the cheaper one is and on five items more: it is on the frontier nearly
    always, though the intervals of both scores overlap."""
    cheap, dear = answers(60, 0, 8, 32)
    paid = Estimate(2e-6, 1.5e-6, None, 100, "")
    scores, _ = scores_of({"cheap": quality({"": cheap}), "dear": quality({"": dear}, paid=paid)})
    points = [ModelPoint(name, Level(8), cost, scores[name]) for name, cost in (("cheap", 1.0), ("dear", 2.0))]
    found = {one.model: one for one in frontier(points)}
    assert found["cheap"].score_high > found["dear"].score_low
    assert found["dear"].p_on_frontier > 0.99
    assert found["dear"].usd_per_1m_correct_answers == pytest.approx(2.0)
    assert (found["dear"].usd_per_1m_correct_low, found["dear"].usd_per_1m_correct_high) == (pytest.approx(1.5), None)


def test_draws_of_measured_scores_are_per_cent():
    """Beside a score of a table, 50 % of 100 items: 90 of 100 measured right beat it in every draw."""
    (measured,) = scores_of({"m": quality({"": answers(90, 0, 0, 10)[0]})})[0].values()
    points = [ModelPoint("m", Level(8), 1.0, measured), ModelPoint("t", Level(8), 2.0, Score("t", 50.0, n=100))]
    found = {one.model: one for one in frontier(points)}
    assert found["t"].p_dominated_by == {"m": pytest.approx(1.0, abs=0.001)}


def test_models_that_are_nearly_alike_are_level():
    """Within one point and 1 % of cost nobody is called dominated; beyond either, he is."""

    def placed(cost: float, right: int):
        scores = {
            name: scores_of({name: quality({"": {str(i): float(i < n) for i in range(300)}})})[0][name]
            for name, n in (("a", 240), ("b", right))
        }
        points = [ModelPoint("a", Level(8), 1.0, scores["a"]), ModelPoint("b", Level(8), cost, scores["b"])]
        return {one.model: one for one in frontier(points)}["b"]

    assert (placed(1.005, 238).on_frontier, placed(1.005, 238).level_with) == (True, ("a",))
    assert (placed(1.02, 238).on_frontier, placed(1.02, 238).dominated_by) == (False, ("a",))
    assert placed(1.005, 236).dominated_by == ("a",)
