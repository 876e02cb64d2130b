"""Earlier runs as a series: known answers, and the promised rate of false alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchsuite.analysis.history import MIN_RUNS, against, change_points, noise_of, step, with_sessions
from benchsuite.analysis.regression import Change, detectable, planned, repeats_needed


def series(steps: dict[int, float], runs: int = 15, figures: int = 3, sd: float = 0.01, seed: int = 5) -> np.ndarray:
    """Normal noise of `sd`, with `steps` (in ln) from their places on."""
    found = sd * np.random.default_rng(seed).standard_normal((figures, runs))
    for at, size in steps.items():
        found[:, at:] += size
    return found


@pytest.mark.parametrize(
    "steps",
    [{7: 0.1}, {3: -0.1}, {12: 0.1}, {6: 0.1, 10: -0.1}, {4: 0.1, 9: 0.1}, {5: -0.2, 10: 0.3}],
)
def test_a_planted_step_is_found_at_its_run(steps):
    """Up, down, at either end of what is allowed, there and back again (which halves do not tell), and twice."""
    assert change_points(series(steps)) == list(steps)


def test_a_step_of_one_figure_is_a_change_of_the_history():
    """One of twelve figures steps: found, and of that figure alone."""
    values = series({}, figures=12)
    values[4, 8:] += 0.08
    starts = [0, *change_points(values)]
    assert starts == [0, 8]
    told = [i for i, row in enumerate(values) if step(row, starts, 8) is not None]
    assert 4 in told
    assert step(values[4], starts, 8) == pytest.approx(0.08, abs=0.02)


def test_a_clear_step_is_found_among_many_figures():
    """Of 60 series one steps by twelve standard deviations: its p is not bounded by how many series were simulated."""
    values = series({}, figures=60)
    values[17, 9:] += 0.12
    assert change_points(values) == [9]


def test_white_noise_has_no_change():
    """Of 300 histories of each length without a change at most 5 % get one (three standard errors are 3.8 %)."""
    rng = np.random.default_rng(11)
    for runs, figures in ((MIN_RUNS, 1), (15, 4)):
        alarms = sum(bool(change_points(rng.standard_normal((figures, runs)))) for _ in range(300))
        assert alarms / 300 <= 0.05 + 0.038, (runs, figures)


def test_few_runs_and_runs_exactly_alike_have_no_change():
    """Seven runs, whatever they are; and values that do not vary."""
    assert change_points(series({3: 1.0}, runs=MIN_RUNS - 1)) == []
    assert change_points(np.full((2, 12), math.log(0.1))) == []


def runs(*means: float, spread: float = 0.0) -> list[np.ndarray]:
    """Runs of two repeats, `spread` to either side."""
    return [np.array([mean - spread, mean + spread]) for mean in means]


def test_noise_by_hand():
    """Segments 0, .1, .2 and 1, 1.1, 1.2: squares .02 + .02 over 6 - 2 = .01; two levels pool to 4 x Box's 1 of 2."""
    one = runs(0, 0.1, 0.2, 1, 1.1, 1.2)
    (alone,) = noise_of([one], [0, 3])
    assert (alone.since.tolist(), alone.n_runs) == (pytest.approx([1, 1.1, 1.2]), 6)
    assert (alone.variance, alone.df) == (pytest.approx(0.01), 4)
    same = noise_of([one, one], [0, 3])  # whose levels tell nothing that one of them does not
    assert [noise.df for noise in same] == [pytest.approx(4)] * 2
    apart = noise_of([one, runs(0, 0.1, -0.1, 1, 1.1, 0.9)], [0, 3])  # cross products 0: .01 of .02 each
    assert apart[0].df == pytest.approx(4 * 0.08**2 / (0.04**2 + 0.04**2 + 2 * 0.02**2))


def test_the_spread_within_a_run_is_not_the_sessions():
    """s2 between runs .01, of a repeat .005 (halved by two repeats): the session's part is .0075."""
    (noise,) = noise_of([runs(0, 0.1, 0.2, spread=0.05)], [0])
    assert (noise.of_repeat, noise.shrunk) == (pytest.approx(0.005), 0.5)
    assert noise.session(noise.of_repeat) == pytest.approx(0.0075)


def test_a_run_against_its_history_by_hand():
    """Mean .1 of three, s .1: theta .3, se .1 sqrt(1 + 1/3) with 2 degrees; a run of one repeat spreads more."""
    (noise,) = noise_of([runs(0, 0.1, 0.2, spread=0.05)], [0])
    found = against(np.array([0.35, 0.45]), noise)
    assert (found.theta, found.se, found.df) == (pytest.approx(0.3), pytest.approx(0.1 * math.sqrt(4 / 3)), 2)
    assert (found.n_new, found.n_baseline) == (2, 3)
    assert against(np.array([0.4]), noise).se ** 2 == pytest.approx(0.01 * 4 / 3 + 0.0025)
    assert planned(found, 2) == (pytest.approx(found.se), 2)


def test_a_baseline_carries_what_sessions_differ_by():
    """se2 = within + 2 session: the greater of what repeats and what earlier runs show, where all have two repeats."""
    (noise,) = noise_of([runs(0, 0.1, 0.2, spread=0.05)], [0])
    of_repeat = 0.005
    repeats = Change(0.0, math.sqrt(of_repeat), 2.0, math.sqrt(2 * of_repeat), 2, 2, "Welch's t")
    found = with_sessions(repeats, noise)
    assert found.se**2 == pytest.approx(2 * 0.01)
    assert found.df == pytest.approx(0.02**2 / (0.005**2 / 2 + 0.02**2 / 2))
    wide = Change(0.0, 0.3, 2.0, 0.3 * math.sqrt(2), 2, 2, "Welch's t")
    assert with_sessions(wide, noise).se == 0.3
    assumed = Change(0.0, 0.14, math.inf, 0.14, 1, 1, "assumed")  # a spread that is known takes its place
    assert with_sessions(assumed, noise).se ** 2 == pytest.approx(2 * (0.0075 + 0.005))


def test_what_can_be_seen():
    """(t .975 + t .8) se with 10 degrees: 2.228 + .879; six criteria share the level, and the chances of a plan."""
    assert detectable(0.02, 10) == pytest.approx(0.02 * (2.2281 + 0.8791), rel=1e-4)
    assert detectable(0.02, 10, tests=6) == pytest.approx(0.02 * (3.2768 + 0.8791), rel=1e-3)
    assert detectable(0.02, math.inf, criteria=4) == pytest.approx(0.02 * (1.96 + 1.6449), rel=1e-3)


def test_repeats_do_not_shrink_what_sessions_differ_by():
    """A margin below what is fixed is out of reach of any number of repeats; above it one may do."""
    change = Change(0.0, 0.02, 10.0, 0.02, 3, 5, "", fixed=0.02**2)
    assert repeats_needed(change, 0.03, 1, beyond=False, levels=1) is None
    assert repeats_needed(change, 0.10, 1, beyond=False, levels=1) == 1
