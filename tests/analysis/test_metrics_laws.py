"""Laws that hold for any run."""

from __future__ import annotations

import numpy as np
import pytest
from factory import request_frame as frame
from factory import request_row as row
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.analysis.requests import describe, in_flight, overlap_s
from benchsuite.analysis.summary import summarise_points


@st.composite
def closed_loops(draw):  # type: ignore[no-untyped-def]
    """Runs of N virtual users without think time: random request counts, first-token times, gaps, tails."""
    users = draw(st.integers(1, 4))
    micros = st.integers(1, 2_000_000)
    rows = []
    for _ in range(users):
        now_s = draw(st.integers(0, 100_000)) * 1e-6
        for _ in range(draw(st.integers(1, 4))):
            gaps_s = [gap * 1e-6 for gap in draw(st.lists(micros, max_size=5))]
            ttft_s, tail_s = draw(micros) * 1e-6, draw(st.integers(0, 1000)) * 1e-6
            rows.append(row(now_s, ttft_s, gaps_s, tail_s, concurrency=users))
            now_s = rows[-1].closed_s
    return frame(*rows)


@settings(max_examples=60, deadline=None)
@given(closed_loops())
def test_laws_of_a_run(table):  # type: ignore[no-untyped-def]
    """Little's law; v_paper = occupancy * tokens / time in flight; mean E2E = mean TTFT + mean (o - 1) TPOT."""
    (p,) = summarise_points(table, model=None)
    in_flight_s = (table["closed_s"] - table["sent_s"]).sum()
    assert p.littles_law_error == pytest.approx(0.0, abs=1e-9)
    assert p.ratios["output_tok_s_per_user"] == pytest.approx(
        p.ratios["occupancy"] * p.output_tokens / in_flight_s, rel=1e-9
    )
    decode_s = [sum(gaps) * 1e-6 for gaps in table["chunk_gap_us"]]
    assert p.distributions["e2e_s"].mean == pytest.approx(p.ttft_s.mean + np.mean(decode_s), rel=1e-6)
    assert 1 <= p.max_in_flight <= p.level.users
    assert p.ratios["occupancy"] <= 1 + 1e-9
    if p.ratios["decode_tok_s"] is not None:
        assert p.distributions["request_decode_tok_s"].mean >= 1 / p.distributions["tpot_s"].mean - 1e-9  # Jensen
    if p.steady is not None and p.steady.output_tok_s is not None:
        assert p.steady.output_tok_s * p.steady.duration_s <= p.output_tokens + 1e-6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=300))
def test_percentiles_are_observed_values(values):  # type: ignore[no-untyped-def]
    """Each is the smallest value that at least p % of all do not exceed."""
    array = np.array(values)
    found = describe(array)
    for p in (50, 90, 95, 99):
        value = found.stat(f"p{p}")
        assert value in array
        assert np.count_nonzero(array <= value) * 100 >= p * len(array)
        assert np.count_nonzero(array < value) * 100 < p * len(array)


def test_percentiles_match_numpys_inverted_cdf():
    """1..1000: 500, 900, 950, 990."""
    values = np.random.default_rng(1).permutation(np.arange(1, 1001))
    found = describe(values)
    assert (found.p50, found.p90, found.p95, found.p99, found.max) == (500, 900, 950, 990, 1000)
    quantiles = np.quantile(values, [0.5, 0.9, 0.95, 0.99], method="inverted_cdf")
    assert list(quantiles) == [500, 900, 950, 990]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=50))
def test_sweep_line_agrees_with_counting(pairs):  # type: ignore[no-untyped-def]
    """The integral is the sum of the durations; the maximum is what counting at every start gives."""
    sent = np.array([start for start, _ in pairs], dtype=float)
    closed = sent + np.array([length for _, length in pairs], dtype=float)
    most, integral_s = in_flight(sent, closed)
    assert integral_s == pytest.approx(float((closed - sent).sum()))
    assert most == max(int(np.count_nonzero((sent <= t) & (closed > t))) for t in sent)
    assert overlap_s(sent, closed, -1.0, 3000.0) == pytest.approx(integral_s)
