"""Levels with unequal repeats: an interval within the only run of a level is not shown as one over runs."""

from __future__ import annotations

from factory import request_frame, request_row

from benchsuite.analysis.summary import measure_levels
from benchsuite.economics.decision import decide, judge_points
from benchsuite.report.format import interval_cell
from benchsuite.report.level_tables import interval_table
from benchsuite.report.sections_levels import level_series
from benchsuite.slo import parse_goodput, parse_slo


def test_a_single_run_has_no_interval_among_those_over_runs():
    """Three repeats of one level and one of another: attainment, which has an interval within a run too, is bare."""
    rows = [
        request_row(2.0 * (i // level), 0.5 + 0.01 * (i % (7 + repeat)), [0.1] * 4, concurrency=level, repeat=repeat)
        for level, repeats in ((1, 3), (2, 1)) for repeat in range(repeats) for i in range(80)
    ]  # fmt: skip
    slo = parse_slo("ttft<1s").override(None, "ttft<0.54s")
    assert slo.goodput == parse_goodput("ttft<0.54s")
    judged = judge_points([level.point for level in measure_levels(request_frame(*rows), slo)], slo, None)

    heads, (several, single) = interval_table(judged, decide(judged))
    attainment = heads.index("attainment")
    assert "[" in interval_cell(judged[1], "attainment")
    assert ("[" in several[attainment], "[" in single[attainment]) == (True, False)
    bars = level_series(judged, "attainment").points
    assert [point.low is None for point in bars] == [False, True]
