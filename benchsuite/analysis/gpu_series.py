"""Samples of GPUs as functions of time: integrals, means and counters' growth over the windows of a level. Pure.

A window is [first send, last close] of one repeat, in seconds of the run's clock; readings outside it serve only to
interpolate at its edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchsuite.analysis.rows import Floats, as_table, rows_of
from benchsuite.analysis.runs import runs_of

Window = tuple[float, float]
_PERIODS = 2.5  # readings further apart than this many periods have a hole between them
_LEAST_GAP_S = 0.5
_TEXTS = ("source", "uuid", "error")


def level_windows(requests: Any, concurrency: int) -> tuple[Window, ...]:
    """[first send, last close] of each repeat of a level. requests: the columns of RequestRecord."""
    rows = rows_of(as_table(requests), concurrency)
    found = []
    for run in runs_of(rows):
        start_s = float(np.nanmin(rows.sent_s[run.order]))
        found.append((start_s, start_s + run.wall_s))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Series:
    """The readings of one GPU (or endpoint), by time. columns: float64 (n,), NaN where missing."""

    at_s: Floats
    columns: Mapping[str, Floats]
    errors: tuple[str | None, ...]

    @property
    def max_gap_s(self) -> float:
        """The longest time between two readings that are still neighbours: 2.5 times the usual one.

        The ninth decile is the usual one: samples taken at windows' edges make shorter ones, holes few longer ones.
        """
        steps = np.diff(self.at_s)
        return max(_PERIODS * float(np.quantile(steps, 0.9)), _LEAST_GAP_S) if len(steps) else _LEAST_GAP_S

    def known(self, *names: str) -> tuple[Floats, Floats]:
        """Times and values where the first of the columns `names` that has a value has one."""
        values = np.full(len(self.at_s), np.nan)
        for name in names:
            values = np.where(np.isnan(values), self.columns[name], values)
        there = ~np.isnan(values)
        return self.at_s[there], values[there]

    def inside(self, windows: Sequence[Window]) -> NDArray[np.bool_]:
        """(n,): whether a reading lies in any of the windows."""
        found = np.zeros(len(self.at_s), dtype=np.bool_)
        for start_s, end_s in windows:
            found |= (self.at_s >= start_s) & (self.at_s <= end_s)
        return found


def series_by(table: pa.Table, key: str, wanted: Sequence[str] = ()) -> dict[str, Series]:
    """The samples by the text column `key` (uuid, endpoint), in the order of `wanted`; empty: all there are.

    One of `wanted` without any sample has an empty series: it is missing, which is a finding.
    """
    names = tuple(wanted) or tuple(sorted(name for name in pc.unique(table[key]).to_pylist() if name is not None))
    texts = {*_TEXTS, "endpoint"}
    found = {}
    for name in names:
        own = table.filter(pc.equal(table[key], name)).sort_by("at_s")
        columns = {
            column: own[column].cast(pa.float64()).to_numpy()
            for column in own.column_names
            if column not in texts and (pa.types.is_floating(own[column].type) or pa.types.is_integer(own[column].type))
        }
        found[name] = Series(columns["at_s"], columns, tuple(own["error"].to_pylist()))
    return found


@dataclass(frozen=True, slots=True)
class Integral:
    """A gauge over windows: its integral over the time that readings cover, and that time in seconds."""

    total: float
    covered_s: float

    @property
    def mean(self) -> float | None:
        """The time-weighted mean; None where nothing is covered."""
        return self.total / self.covered_s if self.covered_s > 0 else None


def integral(at_s: Floats, values: Floats, windows: Sequence[Window], max_gap_s: float) -> Integral:
    """Trapezoids between neighbouring readings, cut at the windows' edges. Longer gaps are not covered.

    at_s ascending, values without NaN, both (n,).
    """
    total = covered_s = 0.0
    left, right = at_s[:-1], at_s[1:]
    for start_s, end_s in windows:
        low, high = np.maximum(left, start_s), np.minimum(right, end_s)
        use = (high > low) & (right - left <= max_gap_s)
        if not use.any():
            continue
        edges = np.interp(np.stack([low[use], high[use]]), at_s, values)
        width = high[use] - low[use]
        total += float((edges.mean(axis=0) * width).sum())
        covered_s += float(width.sum())
    return Integral(total, covered_s)


@dataclass(frozen=True, slots=True)
class Growth:
    """What a counter grew by over windows. value: None where it was reset, or is not known at some edge."""

    value: float | None
    was_reset: bool = False


def growth(at_s: Floats, values: Floats, windows: Sequence[Window], max_gap_s: float) -> Growth:
    """The counter at each window's end less that at its start, interpolated between the two readings next to the edge.

    A value that falls between them was reset (a driver that was loaded anew): None.
    """
    total = 0.0
    for start_s, end_s in windows:
        if not (_bracketed(at_s, start_s, max_gap_s) and _bracketed(at_s, end_s, max_gap_s)):
            return Growth(None)
        near = slice(
            int(np.searchsorted(at_s, start_s, side="right")) - 1, int(np.searchsorted(at_s, end_s, side="left")) + 1
        )
        if (np.diff(values[near]) < 0).any():
            return Growth(None, was_reset=True)
        first, last = np.interp([start_s, end_s], at_s, values)
        total += float(last - first)
    return Growth(total)


def _bracketed(at_s: Floats, edge_s: float, max_gap_s: float) -> bool:
    """A reading at the edge, or neighbouring ones on both sides of it."""
    after = int(np.searchsorted(at_s, edge_s, side="left"))
    if after == len(at_s):
        return False
    return bool(at_s[after] == edge_s or (after > 0 and at_s[after] - at_s[after - 1] <= max_gap_s))


def held_s(at_s: Floats, holds: NDArray[np.bool_], windows: Sequence[Window], max_gap_s: float) -> float:
    """Seconds for which something seen in readings held, each reading valid until the next, at most `max_gap_s`."""
    ends = np.append(at_s[1:], np.inf) if len(at_s) else at_s
    ends = np.minimum(ends, at_s + max_gap_s)
    return sum(float(np.clip(np.minimum(ends, b) - np.maximum(at_s, a), 0, None)[holds].sum()) for a, b in windows)
