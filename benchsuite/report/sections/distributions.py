"""ECDFs of TTFT, TPOT and E2E, a curve per level. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchsuite.analysis.per_request import per_request
from benchsuite.analysis.rows import as_table, levels, rows_of
from benchsuite.report import charts
from benchsuite.report.ecdf import ecdf_chart, quantile
from benchsuite.report.figures import Figure, Row
from benchsuite.report.words import DASH, count, number
from benchsuite.slo import Slo

_SHARES = (0.5, 0.9, 0.95, 0.99)
Samples = Sequence[tuple[str, Sequence[float]]]


def distribution_figures(requests: Any, slo: Slo) -> list[Figure]:
    """requests: as for analysis.summarise_points; of the requests that ended well (docs/METHODS.md)."""
    table = as_table(requests)
    names, samples = [str(level) for level in levels(table)], []
    for level in levels(table):
        each = per_request(rows_of(table, level))
        samples.append([_finite_ms(values) for values in (each.ttft_s, each.tpot_s, each.e2e_s)])
    return [
        _distribution(metric, what, [(name, one[i]) for name, one in zip(names, samples, strict=True)], slo)
        for i, (metric, what) in enumerate((("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "E2E")))
    ]


def _finite_ms(values_s: Any) -> list[float]:
    return [float(value) * 1000 for value in values_s[np.isfinite(values_s)]]


def _distribution(metric: str, what: str, values: Samples, slo: Slo) -> Figure:
    marks = [
        charts.Limit(limit.value * 1000, str(limit))
        for limit in slo.limits
        if limit.metric == metric and limit.stat != "mean"  # a mean is no place on this axis
    ]
    title = _spread(what, values)
    chart = ecdf_chart(values, title=title, x_label=f"{what} (ms)", limits=marks)
    head = ("users", "n", *(f"p{round(share * 100)} ms" for share in _SHARES), "max ms")
    return Figure(title, chart, head, tuple(_row(name, sorted(sample)) for name, sample in values))


def _row(name: str, ascending: Sequence[float]) -> Row:
    n = len(ascending)
    if not n:
        return (name, "0", *[DASH] * (len(_SHARES) + 1))
    shown = [number(quantile(ascending, s)) if n * (1 - s) >= 10 or s == 0.5 else DASH for s in _SHARES]
    return (name, count(n), *shown, number(ascending[-1]))


def _spread(what: str, values: Samples) -> str:
    """How far apart the middle and the slow end lie at the highest level that has values."""
    known = [(level, sorted(sample)) for level, sample in values if len(sample)]
    if not known:
        return f"{what} is not known"
    level, sample = known[-1]
    half, slow = quantile(sample, 0.5), quantile(sample, 0.9)
    return f"{what} at {level}: half within {number(half)} ms, nine in ten within {number(slow)} ms"
