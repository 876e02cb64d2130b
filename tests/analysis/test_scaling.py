"""The scaling law, elasticity, knee and the interpolated limit, against METHOD's known answers and exact curves."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.analysis.scalability import (
    Runs,
    crossing,
    elasticities,
    elasticity_slope,
    fit_usl,
    knee,
    users_at_limit,
)
from benchsuite.analysis.summary import parse_points
from benchsuite.slo import Limit

FILE = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
TABLE4 = parse_points(FILE.read_text("utf-8"), where="paper_table4.csv")
LEVELS = [8, 16, 32, 48, 64, 128]
CLEAN = ("WiNGPT-2.7", "gpt-oss-20b-low", "WiNGPT-3.0", "medgemma-27b", "Mistral-Small", "WiNGPT-3.5")
THROUGHPUT = Limit("output_tok_s_per_user", None, ">", 20.0)


def rates(model: str) -> list[float]:
    return [p.output_tok_s or 0.0 for p in TABLE4 if p.model == model]


def speeds(model: str) -> list[float]:
    return [p.ratios["output_tok_s_per_user"] or 0.0 for p in TABLE4 if p.model == model]


def test_elasticity_slope_of_a_parabola():
    """ln X = 1 + 0.9 ln N - 0.1 ln^2 N has the slope -0.2, without an interval's width; three levels tell none."""
    levels = [8, 16, 32, 64]
    rates = [math.exp(1 + 0.9 * math.log(n) - 0.1 * math.log(n) ** 2) for n in levels]
    found = elasticity_slope(levels, rates)
    assert (found.value, found.low, found.high, found.n) == (*[pytest.approx(-0.2)] * 3, 4)
    assert elasticity_slope(levels[:3], rates[:3]) is None


def test_elasticity_slope_holds_what_it_promises():
    """Six levels of 3 % noise: 95 % of intervals hold the truth, and a slope of -0.2 is found in 98 %."""
    levels, rng = [8, 16, 32, 48, 64, 128], np.random.default_rng(5)
    log_n = np.log(levels)
    mean = 1 + 0.9 * log_n - 0.1 * log_n**2
    found = [elasticity_slope(levels, np.exp(mean + 0.03 * rng.standard_normal(6))) for _ in range(1000)]
    assert np.mean([one.low <= -0.2 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)
    assert np.mean([one.high < 0 for one in found]) == pytest.approx(0.98, abs=0.02)


def test_elasticity_of_wingpt_27():
    """.74 .61 .40 .31 .17, as METHOD has them."""
    assert elasticities(LEVELS, rates("WiNGPT-2.7")) == pytest.approx([0.74, 0.61, 0.40, 0.31, 0.17], abs=0.005)


def test_elasticity_falls_in_25_of_36_triples():
    """Diminishing returns hold as a trend, not step by step."""
    found = [elasticities(LEVELS, rates(model)) for model in dict.fromkeys(p.model for p in TABLE4)]
    pairs = [(a, b) for steps in found for a, b in itertools.pairwise(steps)]
    assert (sum(b < a for a, b in pairs), len(pairs)) == (25, 36)


def test_usl_of_wingpt_27():
    """Plain least squares: rate 37.2, sigma .0274, kappa 4.5e-5, peak at 148, R^2 above .999."""
    usl = fit_usl(LEVELS, rates("WiNGPT-2.7"), robust=False)
    assert usl.rate_tok_s == pytest.approx(37.2, abs=0.05)
    assert usl.contention == pytest.approx(0.0274, abs=5e-5)
    assert usl.coherency == pytest.approx(4.5e-5, abs=5e-7)
    assert usl.n_max == pytest.approx(148, abs=0.5)
    assert usl.r_squared > 0.999
    assert usl.at(16) == pytest.approx(rates("WiNGPT-2.7")[1], rel=0.01)


@pytest.mark.parametrize("model", CLEAN)
def test_clean_series_follow_the_law(model):
    """Plain fit R^2 at least .98, robust fit within 11 %."""
    assert fit_usl(LEVELS, rates(model), robust=False).r_squared >= 0.98
    assert max(abs(r) for r in fit_usl(LEVELS, rates(model)).residuals) <= 0.11


@pytest.mark.parametrize(("model", "worst"), [("GLM-4-32B-0414", 0.67), ("Seed-OSS-36B", 0.51), ("Qwen3-30B", 0.38)])
def test_disturbed_series_do_not(model, worst):
    """The largest residual of the robust fit is 38 to 67 %."""
    assert max(abs(r) for r in fit_usl(LEVELS, rates(model)).residuals) == pytest.approx(worst, abs=0.01)


@pytest.mark.parametrize("model", ["gpt-oss-20b-low", "WiNGPT-3.0", "Mistral-Small"])
def test_no_peak_in_range(model):
    """Where kappa is next to nothing no peak is invented."""
    assert fit_usl(LEVELS, rates(model)).n_max is None


def test_too_few_levels_for_a_law():
    """Three levels determine three parameters: no residual, no fit."""
    assert fit_usl([1, 2, 4], [1.0, 2.0, 3.0]) is None


@settings(max_examples=25)
@given(st.floats(1, 500), st.floats(0.0, 0.3), st.floats(1e-5, 1e-3))
def test_the_fit_finds_an_exact_law_again(rate, contention, coherency):
    """Either way of fitting."""
    n = np.array([1, 4, 8, 16, 32, 64])
    x = (rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1))).tolist()
    for robust in (True, False):
        usl = fit_usl(n.tolist(), x, robust=robust)
        assert usl.residuals == pytest.approx([0.0] * 6, abs=1e-4)
        assert (usl.rate_tok_s, usl.contention) == (
            pytest.approx(rate, rel=1e-3),
            pytest.approx(contention, abs=1e-3),
        )


def test_knee_is_a_label():
    """48 for WiNGPT-2.7's throughput; none on a (nearly) straight line, a falling curve, or two points."""
    assert knee(LEVELS, rates("WiNGPT-2.7")) == 48
    assert knee([1, 2, 3], [1.0, 2.0, 3.0]) is None
    assert knee([1, 2, 4, 8], [166.0, 332.0, 662.0, 1241.0]) is None
    assert knee([1, 2, 3], [3.0, 4.0, 2.0]) is None
    assert knee([1, 2], [1.0, 2.0]) is None


@pytest.mark.parametrize(
    ("model", "users"),
    [
        ("WiNGPT-2.7", 31.5),
        ("gpt-oss-20b-low", 109),
        ("WiNGPT-3.0", 26.9),
        ("Seed-OSS-36B", 22.3),
        ("Mistral-Small", 79.4),
    ],
)
def test_where_the_papers_models_cross_20_tokens_a_second(model, users):
    """Between the levels of its grid."""
    assert crossing(LEVELS, speeds(model), THROUGHPUT) == pytest.approx(users, abs=0.5 if users == 109 else 0.05)


def test_crossing_by_hand():
    """Halfway from 30 to 10 at 20: the geometric mean of 4 and 16. A rise is pooled away: 30, 20, 20 for 30, 18, 22."""
    assert crossing([4, 16], [30.0, 10.0], THROUGHPUT) == pytest.approx(8.0)
    assert crossing([4, 8, 16], [30.0, 18.0, 22.0], THROUGHPUT) == pytest.approx(8.0)
    assert crossing([4, 16], [0.5, 1.5], Limit("ttft_s", "mean", "<", 1.0)) == pytest.approx(8.0)


def test_no_crossing():
    """All levels keep it: None. None does: 0."""
    assert crossing([4, 8], [30.0, 25.0], THROUGHPUT) is None
    assert crossing([4, 8], [19.0, 15.0], THROUGHPUT) == 0
    assert users_at_limit([4, 8], [30.0, 25.0], THROUGHPUT) is None
    assert users_at_limit([4, 8], [19.0, 15.0], THROUGHPUT) is None


def test_a_rate_of_the_system_has_no_boundary():
    """Neither falls nor rises with users by its nature."""
    with pytest.raises(ValueError, match="output"):
        crossing([4, 8], [1.0, 2.0], Limit("output_tok_s", None, ">", 1.0))


@given(
    st.lists(st.floats(1, 100), min_size=2, max_size=7),
    st.floats(2, 90),
)
def test_the_crossing_lies_within_the_levels(values, limit):
    """And between the last level that holds and the first that does not, when the values fall by themselves."""
    values.sort(reverse=True)
    levels = [2**i for i in range(len(values))]
    bound = Limit("output_tok_s_per_user", None, ">", limit)
    users = crossing(levels, values, bound)
    held = [level for level, value in zip(levels, values, strict=True) if value > limit]
    if users is None:
        assert len(held) == len(levels)
    elif users == 0:
        assert not held
    else:
        assert held[-1] * (1 - 1e-9) <= users <= levels[len(held)] * (1 + 1e-9)


def test_interval_needs_three_runs():
    """With fewer, the words say why there is none."""
    alone = users_at_limit([4, 16], [30.0, 10.0], THROUGHPUT)
    assert (alone.low, alone.high, alone.method) == (None, None, "no interval: fewer than 3 repeats")
    two = Runs(np.array([[30.0, 10.0]] * 2), np.ones((2, 2)))
    assert users_at_limit([4, 16], [30.0, 10.0], THROUGHPUT, two).method == "no interval: fewer than 3 repeats"


def test_interval_from_repeats():
    """Runs that agree give no width; runs that differ give one around the value; the seed decides the draws."""
    same = Runs(np.array([[30.0, 10.0]] * 3), np.ones((3, 2)))
    tight = users_at_limit([4, 16], [30.0, 10.0], THROUGHPUT, same)
    assert (tight.low, tight.high) == (pytest.approx(8.0), pytest.approx(8.0))
    values = np.array([[30.0, 10.0], [32.0, 12.0], [28.0, 8.0], [31.0, 9.0], [29.0, 11.0]])
    spread = Runs(values, np.ones((5, 2)))
    first = users_at_limit([4, 16], [30.0, 10.0], THROUGHPUT, spread, seed=1)
    assert first == users_at_limit([4, 16], [30.0, 10.0], THROUGHPUT, spread, seed=1)
    assert 7 < first.low < 8 < first.high < 9
    assert first.n == 5


def test_an_interval_may_end_beyond_the_levels():
    """Where a tenth of the draws keeps the limit everywhere, the upper end is not known."""
    values = np.array([[30.0, 18.0], [30.0, 19.0], [30.0, 25.0]])
    found = users_at_limit([4, 16], [30.0, 19.5], THROUGHPUT, Runs(values, np.ones((3, 2))))
    assert found.low is not None
    assert found.high is None


def test_a_level_missing_from_a_repeat():
    """NaN runs are left out of the draws, not counted as 0."""
    values = np.array([[30.0, math.nan], [30.0, 10.0], [30.0, 10.0]])
    found = users_at_limit([4, 16], [30.0, 10.0], THROUGHPUT, Runs(values, np.ones((3, 2))))
    assert found.low == pytest.approx(8.0)
