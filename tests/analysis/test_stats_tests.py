"""The early-stopping test, and the questions of settling and drift."""

from __future__ import annotations

import numpy as np
import pytest
from factory import request_frame as frame
from factory import request_row as row

from benchsuite.analysis.slo_test import n_min, tail_verdict
from benchsuite.analysis.steady_state import drift, mser5
from benchsuite.analysis.summary import summarise_points


@pytest.mark.parametrize(
    ("p", "confidence", "sizes"), [(0.99, 0.99, [459, 662, 838]), (0.99, 0.95, [299, 473, 628]), (0.9, 0.99, [44])]
)
def test_least_sizes(p: float, confidence: float, sizes: list[int]):
    """With 0, 1, 2 violations; the figures of MLPerf's rules."""
    assert [n_min(p, t, confidence) for t in range(len(sizes))] == sizes


@pytest.mark.parametrize(("confidence", "most"), [(0.99, [17, 122, 261]), (0.95, [20, 129, 272])])
def test_most_violations_of_2993(confidence: float, most: list[int]):
    """For p99, p95 and p90."""
    for p, t in zip((0.99, 0.95, 0.9), most, strict=True):
        verdicts = [tail_verdict(2993, violations, p, 2993, confidence) for violations in (t, t + 1)]
        assert verdicts == ["met", "undecided"]
    assert tail_verdict(298, 0, 0.99, 298, confidence) == "undecided"


def test_tail_verdicts():
    """17 of 2,993 beyond the limit prove a p99, 30 prove nothing, 60 disprove it; with n_eff 1,000 17 prove nothing."""
    verdicts = [tail_verdict(2993, t, 0.99, 2993) for t in (17, 18, 30, 60)]
    assert verdicts == ["met", "undecided", "undecided", "not met"]
    assert tail_verdict(2993, 17, 0.99, 1000) == "undecided"
    assert tail_verdict(100, 0, 0.99, 100) == "undecided"
    assert tail_verdict(0, 0, 0.99, 0) == "undecided"


def test_mser_cuts_the_warming_up():
    """200 values that fall from 3 to 1, then noise about 1: the cut lies about the end of the fall."""
    rng = np.random.default_rng(0)
    values = np.concatenate([np.linspace(3, 1, 200), np.ones(800)]) + 0.05 * rng.standard_normal(1000)
    found = mser5(values)
    assert found is not None
    assert found[1]
    assert 170 <= found[0] <= 260
    assert mser5(np.ones(99)) is None


def test_mser_says_when_nothing_settles():
    """A rise without end is cut as late as may be."""
    assert mser5(np.arange(1000.0)) == (500, False)


def test_drift():
    """A rise from 0.9 to 1.1 is 20 % of the mean; noise has no sure slope, and few or equal values no answer."""
    rng = np.random.default_rng(3)
    noise = 0.05 * rng.standard_normal(1000)
    found = drift(np.linspace(0.9, 1.1, 1000) + noise)
    assert found is not None
    assert found.change_ratio == pytest.approx(0.2, abs=0.02)
    assert found.p_value < 1e-6
    assert drift(1 + noise).p_value > 0.001  # type: ignore[union-attr]
    assert drift(np.ones(1000)) is None
    assert drift(np.arange(99.0)) is None


def _level(ttft_s: np.ndarray) -> list[str]:
    sent_s, rows = 0.0, []
    for own in ttft_s:
        rows.append(row(sent_s, float(own), [0.01]))
        sent_s += float(own) + 0.01
    (point,) = summarise_points(frame(*rows), model="m")
    return [warn.code for warn in point.warnings if warn.code in ("drift", "no_steady_state")]


def test_warnings_of_a_level():
    """A steady TTFT is quiet, one that jumps half way never settles, one that grows drifts; 90 values say nothing."""
    noise = np.exp(0.1 * np.random.default_rng(4).standard_normal(400))
    assert _level(0.1 * noise) == []
    assert _level(0.1 * noise * np.where(np.arange(400) < 200, 1.0, 1.3)) == ["no_steady_state"]
    late = np.where(np.arange(400) < 100, 1.5, np.linspace(1, 1.25, 400))  # after its start it creeps up
    assert _level(0.1 * noise * late) == ["drift"]
    assert _level(0.1 * noise * np.exp(np.linspace(0, 3, 400))) == ["drift"]
    assert _level(0.1 * noise[:90] * np.exp(np.linspace(0, 3, 90))) == []
