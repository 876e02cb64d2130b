"""Tables of GPU and server samples small enough to work out by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from benchsuite.analysis.summary import parse_points
from benchsuite.records import GpuSample, ServerSample
from benchsuite.results import PointSummary

HEAD = "model,concurrency,requests,time_s,input_tokens,output_tokens\n"


def gpu_table(*samples: GpuSample) -> pa.Table:
    texts, wholes = ("source", "uuid", "error"), ("throttle_reasons", "foreign_processes", "n_processes")
    types = {name: pa.string() for name in texts} | {name: pa.int64() for name in wholes}
    columns = zip(*samples, strict=True)
    named = {
        name: pa.array(list(values), types.get(name, pa.float64()))
        for name, values in zip(GpuSample._fields, columns, strict=True)
    }
    return pa.table(named)


def server_table(*samples: ServerSample) -> pa.Table:
    columns = zip(*samples, strict=True)
    named = {
        name: pa.array(list(values), pa.string() if name in ("endpoint", "error") else pa.float64())
        for name, values in zip(ServerSample._fields, columns, strict=True)
    }
    return pa.table(named)


def every(times_s: Iterable[float], at: Callable[[float], dict[str, Any]], uuid: str = "GPU-a") -> list[GpuSample]:
    """A sample at each time, with the columns that `at` gives for it."""
    return [GpuSample(at_s, 1e9 + at_s, "nvml", uuid, **at(at_s)) for at_s in times_s]


def steady(watts: float, *, start_j: float = 1000.0) -> Callable[[float], dict[str, Any]]:
    """Constant power, with the counter that goes with it."""
    return lambda at_s: {"power_w": watts, "energy_j": start_j + watts * at_s, "util_ratio": 0.9}


def a_point(*, time_s: float = 100.0, output: int = 1000, repeats: int = 1, level: int = 8) -> PointSummary:
    """100 requests with 3000 input and `output` output tokens in all."""
    (point,) = parse_points(f"{HEAD}m,{level},100,{time_s},3000,{output}\n", where="t")
    return dataclasses.replace(point, repeat_count=repeats)
