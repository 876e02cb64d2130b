"""Statistics of scores by item: the known answers, and what degenerate sets of items may say."""

from __future__ import annotations

import numpy as np
import pytest

from benchsuite.analysis.intervals import Z, wilson
from benchsuite.quality.paired import (
    difference,
    f05,
    holm,
    mcnemar,
    mean_interval,
    newcombe,
    overall_interval,
    scenario_interval,
    score_draws,
)


def right(k: int, n: int) -> np.ndarray:
    return np.array([1.0] * k + [0.0] * (n - k))


def sides(both: int, first: int, second: int, neither: int) -> tuple[dict[str, float], dict[str, float]]:
    pairs = [(1.0, 1.0)] * both + [(1.0, 0.0)] * first + [(0.0, 1.0)] * second + [(0.0, 0.0)] * neither
    return {str(i): a for i, (a, _) in enumerate(pairs)}, {str(i): b for i, (_, b) in enumerate(pairs)}


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(80, 100, 0.7112, 0.8666), (299, 299, 0.9873, 1.0), (0, 50, 0.0, 0.0713)]
)
def test_right_or_wrong_has_wilsons_interval(k: int, n: int, low: float, high: float) -> None:
    found = mean_interval(right(k, n))
    assert found.value == k / n
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found.method == f"Wilson, {n} items"


@pytest.mark.parametrize(
    ("cells", "value", "low", "high"),
    [((36, 12, 2, 0), 0.2, 0.0569, 0.3404), ((150, 15, 5, 30), 0.05, 0.0053, 0.0961)],
)
def test_newcombes_paired_interval(cells: tuple[int, int, int, int], value: float, low: float, high: float) -> None:
    """Newcombe's own example, and one with more items."""
    for found in (newcombe(*cells), difference(*sides(*cells)).difference):
        assert found.value == pytest.approx(value)
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(("first", "second", "p"), [(15, 5, 0.0414), (8, 1, 0.0391), (3, 3, 1.0), (0, 0, 1.0)])
def test_exact_mcnemar(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p, abs=5e-5)
    assert difference(*sides(50, first, second, 7)).p == pytest.approx(p, abs=5e-5)


def test_holm_corrects_the_smallest_most_and_never_turns_the_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_items_of_one_side_alone_are_left_out_and_counted() -> None:
    a, b = sides(36, 12, 2, 0)
    found = difference(a | {"only-a": 0.0}, b | {"only-b": 1.0, "x": 1.0})
    assert found.left_out == 3
    assert found.difference.n == 50
    assert found.difference.value == pytest.approx(0.2)
    empty = difference({"a": 1.0}, {"b": 1.0})
    assert (empty.difference.value, empty.p, empty.left_out) == (None, None, 2)


def test_graded_scores_are_compared_by_a_paired_t() -> None:
    """d = .2, .1, .3, .2, .2: mean .2, s = .0707, error .0316, t(4) = 2.776; p of t = 6.325 is .0032."""
    a = {str(i): 0.5 + d for i, d in enumerate((0.2, 0.1, 0.3, 0.2, 0.2))}
    found = difference(a, dict.fromkeys(a, 0.5))
    assert found.difference.value == pytest.approx(0.2)
    assert found.difference.low == pytest.approx(0.2 - 2.7764 * 0.031623, abs=1e-5)
    assert found.difference.high == pytest.approx(0.2 + 2.7764 * 0.031623, abs=1e-5)
    assert found.p == pytest.approx(0.0032, abs=5e-5)


def test_graded_scores_have_students_interval() -> None:
    scores = np.tile([0.2, 0.4, 0.6, 0.8], 10)
    found = mean_interval(scores)
    half = 2.0227 * scores.std(ddof=1) / np.sqrt(40)
    assert (found.low, found.high) == (pytest.approx(0.5 - half, abs=1e-5), pytest.approx(0.5 + half, abs=1e-5))
    assert found.method == "t over 40 items"
    assert mean_interval(scores[:20]).method == "bootstrap-t over 20 items"


def test_a_few_items_that_differ_from_the_others_have_a_resampled_t() -> None:
    """Skewed by more than 1 it is resampled, whatever the number of items; longer towards those that differ."""
    skewed = mean_interval(np.array([0.5] * 36 + [0.6] * 4))
    assert skewed.method == "bootstrap-t over 40 items"
    assert skewed.high - skewed.value > 1.5 * (skewed.value - skewed.low) > 0


def test_no_graded_score_is_less_certain_than_right_or_wrong() -> None:
    """Two items, whose resampled t is infinite: Wilson's ends."""
    found = mean_interval(np.array([0.4, 0.6]))
    assert (found.low, found.high) == pytest.approx(wilson(0.5, 2, Z))


def test_draws_spread_as_the_standard_error() -> None:
    """.4, .5, .5, .6: s = .08165, over two .04082; a bootstrap alone has .0354."""
    assert np.std(score_draws({"": np.array([0.4, 0.5, 0.5, 0.6])})) == pytest.approx(0.04082, rel=0.05)


def test_a_few_corrections_have_students_width() -> None:
    """Four items: as far from the value as the draws' quantiles, 3.1824 / 1.96 times."""
    edits = np.array([[9.0, 1.0, 1.0], [8.0, 1.0, 1.0], [9.0, 2.0, 1.0], [9.0, 1.0, 2.0]])
    found, low = scenario_interval(edits), np.quantile(score_draws({"": edits}), 0.025)
    assert found.value - found.low == pytest.approx((found.value - low) * 3.1824 / 1.95996, rel=1e-4)


def test_the_overall_score_weighs_scenarios_alike_and_not_items() -> None:
    sets = {"a": right(90, 100), "b": right(2, 10)}
    assert overall_interval(sets).value == pytest.approx((0.9 + 0.2) / 2)
    assert overall_interval({"a": sets["a"], "b": np.empty(0)}) == mean_interval(sets["a"])


def test_corrections_are_scored_by_their_summed_edits() -> None:
    """Two right and one spoilt: .7143; over both items TP 3, FP 1, FN 1."""
    edits = np.array([[2.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    assert f05(edits[0]) == pytest.approx(0.7143, abs=5e-5)
    assert f05(np.array([1.0, 0.0, 1.0])) == pytest.approx(0.8333, abs=5e-5)
    assert (float(f05(np.zeros(3))), float(f05(np.array([0.0, 6.0, 2.0])))) == (1.0, 0.0)
    found = scenario_interval(edits)
    assert found.value == pytest.approx(1.25 * 3 / (1.25 * 3 + 0.25 + 1))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value <= found.high


SAME = {
    "all right": {"": np.ones(40)}, "all wrong": {"": np.zeros(40)}, "one item": {"": np.ones(1)},
    "one graded item": {"": np.array([0.4])}, "all graded alike": {"": np.full(40, 0.7)},
    "several scenarios": {"a": np.ones(30), "b": np.full(30, 0.5), "c": np.zeros(30)},
    "right scenarios": {"a": np.ones(30), "b": np.ones(30)}, "perfect corrections": {"": np.tile([2.0, 0, 0], (9, 1))},
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_items_that_are_alike_prove_nothing_of_the_next(name: str) -> None:
    """No interval of a bootstrap of constants, which has no width."""
    found = overall_interval(SAME[name])
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 0.02
    assert 0 <= found.low <= found.value <= found.high <= 1
    drawn = score_draws(SAME[name])
    assert np.ptp(drawn) > 0.02
    assert drawn.min() >= 0
    assert drawn.max() <= 1


@pytest.mark.parametrize("d", [0.0, 0.3])
def test_differences_that_are_alike_have_an_interval_too(d: float) -> None:
    a = {str(i): 0.5 + d for i in range(50)}
    found = difference(a, dict.fromkeys(a, 0.5))
    assert found.difference.value == pytest.approx(d)
    assert (found.difference.low, found.difference.high) == (pytest.approx(d - 0.0713, abs=1e-4),
                                                             pytest.approx(d + 0.0713, abs=1e-4))  # fmt: skip
    assert (found.p == 1.0) if d == 0 else (found.p is not None and found.p < 0.001)


def test_the_same_items_are_drawn_together() -> None:
    """Draws of two levels or models: what is hard for both is so in every draw, so that their difference is exact."""
    rng = np.random.default_rng(1)
    a = rng.integers(0, 2, 200).astype(float)
    better = np.where(np.arange(200) < 20, 1.0, a)
    both = {"one": a, "two": a[::-1]}, {"one": better, "two": a[::-1]}
    first, second = (score_draws(one) for one in both)
    assert (second >= first).all()
    assert np.std(second - first) < 0.5 * np.std(first)
