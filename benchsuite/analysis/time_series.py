"""A server's samples over time: growth of its counters over a measured point, and its gauges in it. Pure.

Counters are read at the samples nearest to a point's edges, where the sweep takes one each. Requests that straddle an
edge, or a counter that is filled in late, make the difference approximate; whoever knows how many there were, checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchsuite.analysis.requests import Floats, LevelRows
from benchsuite.level import Level
from benchsuite.manifest import RunManifest

Window = tuple[float, float]
_PERIODS = 2.5  # readings further apart than this many periods have a hole between them
_LEAST_GAP_S = 0.5


def level_windows(measured: LevelRows) -> tuple[Window, ...]:
    """[first send, last close] of each repeat of a level, of a rate its window."""
    return tuple((run.start_s, run.end_s) for run in measured.repeats)


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
            values = np.where(np.isnan(values), self.columns.get(name, np.nan), values)
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
    found = {}
    for name in names:
        rows = table.filter(pc.equal(table[key], name)).sort_by("at_s")
        columns = {
            field.name: rows[field.name].cast(pa.float64()).to_numpy()
            for field in rows.schema
            if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        }
        found[name] = Series(columns["at_s"], columns, tuple(rows["error"].to_pylist()))
    return found


class Integral(NamedTuple):
    """A gauge over windows: its time-weighted mean, None where no reading covers any, and the seconds covered."""

    mean: float | None
    covered_s: float


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
    return Integral(total / covered_s if covered_s > 0 else None, covered_s)


class Growth(NamedTuple):
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
    """Seconds for which a condition was true in readings, each valid until the next, at most `max_gap_s`."""
    ends = np.append(at_s[1:], np.inf) if len(at_s) else at_s
    ends = np.minimum(ends, at_s + max_gap_s)
    return sum(float(np.clip(np.minimum(ends, b) - np.maximum(at_s, a), 0, None)[holds].sum()) for a, b in windows)


EDGE_S = 2.0  # a sample further than this from an edge tells nothing of it
_LATE_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class ServerWindow:
    """One measured point on the run's clock.

    started_s, ended_s: the sweep's own edges, where it samples. busy_s: first send and last close, what gauges are
    averaged over, for the measuring processes may take a while to begin. Of a rate both are its window, without warm-up
    and tail. client: what the manifest says of them.
    """

    point_id: str
    level: Level
    started_s: float
    ended_s: float
    busy_s: tuple[float, float]
    client: Mapping[str, Any] = field(default_factory=dict)


def windows_of(manifest: RunManifest, requests: pa.Table) -> list[ServerWindow]:
    """The points that are judged and say when, in order; one measured anew counts once.

    requests: pyarrow Table with point_id, sent_s, closed_s and the window of a rate or a probe; busy_s of a point
    without rows is its edges.
    """
    ends = [("sent_s", "min"), ("closed_s", "max"), ("window_start_s", "min"), ("window_end_s", "max")]
    rows = requests.group_by("point_id").aggregate(ends).to_pylist()
    busy = {
        row["point_id"]: (row["sent_s_min"], row["closed_s_max"])
        if row["window_start_s_min"] is None
        else (row["window_start_s_min"], row["window_end_s_max"])
        for row in rows
    }
    found: dict[str, ServerWindow] = {}
    windowed = {row["point_id"] for row in rows if row["window_start_s_min"] is not None}
    for entry in manifest.judged_points:
        started_s, ended_s, name = entry.started_s, entry.ended_s, entry.point_id
        if started_s is not None and ended_s is not None:
            first_s, last_s = busy.get(name, (None, None))
            edges = (started_s if first_s is None else first_s, ended_s if last_s is None else last_s)
            sampled = edges if entry.rate_per_s is not None or name in windowed else (started_s, ended_s)
            found[name] = ServerWindow(name, entry.level or Level(0), *sampled, edges, entry.client)
    return list(found.values())


class ServerSeries:
    """The rows of server.parquet by endpoint."""

    def __init__(self, table: pa.Table) -> None:
        self._each = series_by(table, "endpoint")

    @property
    def endpoints(self) -> frozenset[str]:
        """Base URLs of the servers that were sampled."""
        return frozenset(self._each)

    def growth(
        self, fields: Sequence[str], window: ServerWindow, expected: float | None = None
    ) -> tuple[tuple[float, ...] | None, str]:
        """What the counters `fields` grew by over the window, summed over endpoints; None and the reason why not.

        expected: by how much the last field should have grown; of the first samples after the end the one that is
        nearest to that is taken, for a server may count its last requests a moment after it answered them.
        """
        sides = []
        for series in self._each.values():
            before_and_after = _at_edges(series, fields, window)
            if isinstance(before_and_after, str):
                return None, before_and_after
            sides.append(before_and_after)
        if not sides:
            return None, "no server was sampled"
        grown = [
            np.sum([after[min(late, len(after) - 1)] - before for before, after in sides], axis=0)
            for late in range(1 if expected is None else _LATE_SAMPLES)
        ]
        best = min(grown, key=lambda values: 0.0 if expected is None else abs(values[-1] - expected))
        if min(best) < 0:
            return None, "a counter decreased: the server was restarted"
        return tuple(float(value) for value in best), ""

    def gauge(self, name: str, window: ServerWindow, *, add: bool) -> tuple[float | None, float | None, int]:
        """(time-weighted mean, maximum, samples) of a gauge between first send and last close; over endpoints the sum
        or mean.

        Each sample stands for the time that is nearer to it than to another. None where no sample is inside.
        """
        first_s, last_s = window.busy_s
        means, greatest, n = [], [], 0
        for series in self._each.values():
            at_s, values = series.known(name)
            inside = (at_s > first_s) & (at_s < last_s)
            at_s, values = at_s[inside], values[inside]
            if len(at_s):
                borders = np.concatenate([[first_s], (at_s[1:] + at_s[:-1]) / 2, [last_s]])
                means.append(float(np.average(values, weights=np.diff(borders))))
                greatest.append(float(values.max()))
                n += len(values)
        if not means:
            return None, None, 0
        return (sum(means), sum(greatest), n) if add else (float(np.mean(means)), max(greatest), n)


def _at_edges(series: Series, fields: Sequence[str], window: ServerWindow) -> tuple[Floats, list[Floats]] | str:
    """(values before, [values after, later ones]) of one endpoint; or the reason why there are none."""
    values = np.stack([series.columns.get(name, np.full(len(series.at_s), np.nan)) for name in fields])
    known = np.flatnonzero(~np.isnan(values).any(axis=0))
    if not len(known):
        return "the server does not report it"
    at_s = series.at_s[known]
    first, last = (int(np.argmin(np.abs(at_s - edge_s))) for edge_s in (window.started_s, window.ended_s))
    if abs(at_s[first] - window.started_s) > EDGE_S or abs(at_s[last] - window.ended_s) > EDGE_S:
        return f"no sample within {EDGE_S:g} s of the point's edges"
    if first >= last:
        return "the point is shorter than the time between two samples"
    later = [i for i in range(last + 1, len(at_s)) if at_s[i] <= window.ended_s + EDGE_S]
    return values[:, known[first]], [values[:, known[i]] for i in (last, *later)]
