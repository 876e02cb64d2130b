"""A server's samples over time: what its counters grew by over a measured point, and what its gauges were in it. Pure.

Counters are read at the samples nearest to a point's edges, where the sweep takes one each. Requests that straddle an
edge, or a counter that is filled in late, make the difference approximate; whoever knows how many there were, checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

EDGE_S = 2.0  # a sample further than this from an edge tells nothing of it
_LATE_SAMPLES = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """One measured point on the run's clock.

    started_s, ended_s: the sweep's own edges, where it samples. busy_s: first send and last close, what gauges are
    averaged over, for the measuring processes may take a while to begin. client: what the manifest says of them.
    """

    point_id: str
    concurrency: int
    started_s: float
    ended_s: float
    busy_s: tuple[float, float]
    client: Mapping[str, Any] = field(default_factory=dict)


def windows_of(manifest: Mapping[str, Any], requests: pa.Table | None = None) -> list[Window]:
    """The points that were measured to their end and say when, in order; one measured anew counts once.

    requests: pyarrow Table with point_id, sent_s and closed_s; None: busy_s is the edges.
    """
    ends = [("sent_s", "min"), ("closed_s", "max")]
    rows = [] if requests is None else requests.group_by("point_id").aggregate(ends).to_pylist()
    busy = {row["point_id"]: (row["sent_s_min"], row["closed_s_max"]) for row in rows}
    found: dict[str, Window] = {}
    for entry in manifest.get("points") or []:
        started_s, ended_s = entry.get("started_s"), entry.get("ended_s")
        if entry.get("status") == "complete" and started_s is not None and ended_s is not None:
            name = str(entry["point_id"])
            first_s, last_s = busy.get(name, (None, None))
            edges = (started_s if first_s is None else first_s, ended_s if last_s is None else last_s)
            client = entry.get("client") or {}
            found[name] = Window(name, int(entry.get("concurrency") or 0), started_s, ended_s, edges, client)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Growth:
    """What counters grew by. values: in the order of the fields asked for, None with the reason why not."""

    values: tuple[float, ...] | None
    reason: str = ""


class ServerSeries:
    """The rows of server.parquet by endpoint."""

    def __init__(self, table: pa.Table) -> None:
        self._columns: dict[str, dict[str, Floats]] = {}
        endpoints = np.asarray([str(name) for name in table["endpoint"].to_pylist()], dtype=object)
        numbers = {
            name: table[name].cast(pa.float64()).to_numpy()
            for name in table.column_names
            if pa.types.is_floating(table.schema.field(name).type) or pa.types.is_integer(table.schema.field(name).type)
        }
        for endpoint in dict.fromkeys(endpoints):
            mine = np.flatnonzero(endpoints == endpoint)
            order = mine[np.argsort(numbers["at_s"][mine], kind="stable")]
            self._columns[endpoint] = {name: values[order] for name, values in numbers.items()}

    @property
    def endpoints(self) -> frozenset[str]:
        """Base URLs of the servers that were sampled."""
        return frozenset(self._columns)

    def growth(self, fields: Sequence[str], window: Window, expected: float | None = None) -> Growth:
        """What the counters `fields` grew by over the window, summed over endpoints.

        expected: by how much the last field should have grown; of the first samples after the end the one that is
        nearest to that is taken, for a server may count its last requests a moment after it answered them.
        """
        sides = [self._sides(columns, fields, window) for columns in self._columns.values()]
        refused = next((side for side in sides if isinstance(side, str)), None)
        if refused is not None or not sides:
            return Growth(None, refused or "no server was sampled")
        tried = []
        for late in range(_LATE_SAMPLES):
            grown = np.sum([after[min(late, len(after) - 1)] - before for before, after in sides], axis=0)
            tried.append(tuple(float(value) for value in grown))
            if expected is None:
                break
        best = min(tried, key=lambda values: abs(values[-1] - expected)) if expected is not None else tried[0]
        if min(best) < 0:
            return Growth(None, "a counter went backwards: the server was started anew")
        return Growth(best)

    def _sides(self, columns: dict[str, Floats], fields: Sequence[str], window: Window) -> Any:
        """(values before, [values after, later ones]) of one endpoint; or the reason why there are none."""
        if any(name not in columns for name in fields):
            return "the server does not tell"
        values = np.stack([columns[name] for name in fields])
        known = np.flatnonzero(~np.isnan(values).any(axis=0))
        if not len(known):
            return "the server does not tell"
        at_s = columns["at_s"][known]
        first = int(np.argmin(np.abs(at_s - window.started_s)))
        last = int(np.argmin(np.abs(at_s - window.ended_s)))
        if abs(at_s[first] - window.started_s) > EDGE_S or abs(at_s[last] - window.ended_s) > EDGE_S:
            return f"no sample within {EDGE_S:g} s of the point's edges"
        if first >= last:
            return "the point is shorter than the time between two samples"
        later = [i for i in range(last + 1, len(at_s)) if at_s[i] <= window.ended_s + EDGE_S]
        after = [values[:, known[i]] for i in (last, *later)]
        return values[:, known[first]], after

    def gauge(self, name: str, window: Window, *, add: bool) -> tuple[float | None, float | None, int]:
        """(time-weighted mean, maximum, samples) of a gauge between first send and last close; over endpoints the sum
        or mean.

        Each sample stands for the time that is nearer to it than to another. None where no sample is inside.
        """
        first_s, last_s = window.busy_s
        means, greatest, n = [], [], 0
        for columns in self._columns.values():
            if name not in columns:
                continue
            at_s, values = columns["at_s"], columns[name]
            inside = np.flatnonzero((at_s > first_s) & (at_s < last_s) & ~np.isnan(values))
            if not len(inside):
                continue
            own_s, own = at_s[inside], values[inside]
            borders = np.concatenate([[first_s], (own_s[1:] + own_s[:-1]) / 2, [last_s]])
            means.append(float(np.average(own, weights=np.diff(borders))))
            greatest.append(float(own.max()))
            n += len(own)
        if not means:
            return None, None, 0
        return (sum(means), sum(greatest), n) if add else (float(np.mean(means)), max(greatest), n)
