"""The timeline of one point: requests in flight, tokens per second, GPUs and the server's queue on one clock. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.rows import as_table, rows_of
from benchsuite.analysis.steady import window
from benchsuite.analysis.timeline import timeline
from benchsuite.report.figures import Figure
from benchsuite.report.timeline import NARROW, Panel, Trace, timeline_chart
from benchsuite.report.titles import whole_percent
from benchsuite.report.words import number

_MOST_SAMPLES = 140  # of a trace


def timeline_figure(requests: Any, level: int, gpu: pa.Table | None, server: pa.Table | None) -> Figure | None:
    """The first repeat of the level that has a beginning and an end; None if none has.

    requests: as for analysis.summarise_points. gpu, server: the run's samples, None where none were kept.
    """
    rows = rows_of(as_table(requests), level)
    repeats = [int(repeat) for repeat in np.unique(rows.repeat)]
    found = next((one for repeat in repeats if (one := timeline(rows, repeat)) is not None), None)
    if found is None:
        return None
    repeat = next(repeat for repeat in repeats if timeline(rows, repeat) is not None)
    start_s, length_s = found.start_s, found.end_s - found.start_s
    middles = tuple(float(v) for v in (found.edges_s[1:] + found.edges_s[:-1]) / 2 - start_s)
    panels = [
        Panel("requests in flight", (Trace("in flight", middles, _floats(found.in_flight)),), top=level),
        Panel("output (tok/s)", (Trace("tok/s", middles, _floats(found.output_tok_s)),)),
        *_gpu_panels(gpu, start_s, found.end_s),
        *_server_panels(server, start_s, found.end_s),
    ]
    steady = window(rows, np.flatnonzero(rows.repeat == repeat), level)
    shaded = None if steady is None else (steady[0] - start_s, steady[1] - start_s)
    title = _title(level, length_s, shaded)

    def draw(**of: Any) -> str:
        return timeline_chart(panels, title=title, start_s=0.0, end_s=length_s, steady=shaded, **of)

    known = [trace for panel in panels for trace in panel.traces]
    head = ("from s", "to s", "in flight", "tok/s")
    bounds = found.edges_s - start_s
    table = tuple(
        (number(bounds[i]), number(bounds[i + 1]), number(found.in_flight[i]), number(found.output_tok_s[i]))
        for i in range(len(middles))
    )
    which = "The run" if len(repeats) == 1 else f"Run {repeats.index(repeat) + 1} of {len(repeats)}"
    note = (
        f"{which} at {level} users, in {len(middles)} parts of {number(length_s / len(middles))} s. Green: the "
        f"steady window. Shown: {', '.join(dict.fromkeys(trace.name for trace in known))}."
    )
    if len(panels) == 2:
        note += " No samples of GPUs or of the server were kept."
    return Figure(title, draw(), head, table, note, draw(width=NARROW))


def _title(level: int, length_s: float, steady: tuple[float, float] | None) -> str:
    if steady is None:
        return f"At {level} users the run of {number(length_s)} s has no steady window"
    share = (steady[1] - steady[0]) / length_s
    return f"At {level} users the server was steadily busy for {whole_percent(share)} of {number(length_s)} s"


def _floats(values: Any) -> tuple[float | None, ...]:
    return tuple(float(value) for value in values)


def _within(table: pa.Table | None, start_s: float, end_s: float) -> pa.Table | None:
    if table is None:
        return None
    inside = pc.and_(pc.greater_equal(table["at_s"], start_s), pc.less_equal(table["at_s"], end_s))
    part = table.filter(inside).sort_by("at_s")
    return part if part.num_rows else None


def _gpu_panels(gpu: pa.Table | None, start_s: float, end_s: float) -> list[Panel]:
    part = _within(gpu, start_s, end_s)
    if part is None:
        return []
    panels = []
    activity = [
        _trace(part, column, name, start_s, 100.0, mean=True)
        for column, name in (
            ("util_ratio", "kernels running"),
            ("sm_active_ratio", "SM"),
            ("dram_active_ratio", "DRAM"),
        )
    ]
    known = tuple(trace for trace in activity if trace is not None)
    if known:
        panels.append(Panel("GPU activity (%)", known, top=100.0))
    power = _trace(part, "power_w", "W", start_s, 1.0, mean=False)
    if power is not None:
        panels.append(Panel("GPU power (W)", (power,)))
    return panels


def _server_panels(server: pa.Table | None, start_s: float, end_s: float) -> list[Panel]:
    part = _within(server, start_s, end_s)
    if part is None:
        return []
    panels = []
    queue = [
        _trace(part, column, name, start_s, 1.0, mean=False)
        for column, name in (("running", "running"), ("waiting", "waiting"))
    ]
    known = tuple(trace for trace in queue if trace is not None)
    if known:
        panels.append(Panel("server: requests", known))
    cache = _trace(part, "kv_cache_ratio", "KV cache %", start_s, 100.0, mean=True)
    if cache is not None:
        panels.append(Panel("server: KV cache (%)", (cache,), top=100.0))
    return panels


def _trace(part: pa.Table, column: str, name: str, start_s: float, scale: float, *, mean: bool) -> Trace | None:
    """The column over time: the mean, or the sum, over the devices or servers read at one moment; None if unknown.

    A moment is a tenth of a second: readings of several devices follow each other by less.
    """
    known = part.filter(pc.is_valid(part[column]))
    if not known.num_rows:
        return None
    at_s = np.round(known["at_s"].to_numpy() - start_s, 1)
    values = known[column].to_numpy().astype(float) * scale
    moments, where = np.unique(at_s, return_inverse=True)
    summed = np.bincount(where, values)
    shown = summed / np.bincount(where) if mean else summed
    every = -(-len(moments) // _MOST_SAMPLES)
    picked = slice(None, None, every)
    return Trace(name, tuple(float(t) for t in moments[picked]), _floats(shown[picked]), step=True)
