"""What the GPUs did during a level: activity, memory, clocks, power, throttling, over the windows of its repeats. Pure.

Over GPUs: power is summed, activity is shown as least, mean and greatest. Missing stays None: a GPU that tells no
utilisation (a MIG device) is not an idle one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from benchsuite.analysis.gpu_series import Series, Window, held_s, integral, series_by
from benchsuite.analysis.rows import Bools
from benchsuite.results import GpuUse, Spread

POWER = ("power_average_w", "power_w", "power_instant_w")  # a total is best made of averages
# bits of nvmlClocksEventReasons; idle (1), application clocks (2), sync boost (0x10) and display (0x100) are no trouble
THROTTLES: Mapping[str, int] = MappingProxyType(
    {
        "sw_power_cap": 0x4,
        "hw_slowdown": 0x8,
        "sw_thermal": 0x20,
        "hw_thermal": 0x40,
        "power_brake": 0x80,
    }
)
_ANY = ("util_ratio", *POWER, "energy_j", "memory_used_bytes")


def gpu_use(
    table: pa.Table, windows: Sequence[Window], used: Sequence[str] = (), *, mig: bool = False
) -> GpuUse | None:
    """The use of the GPUs `used` (UUIDs; empty: all in the table). None without a reading in the windows.

    table: the columns of GpuSample. windows: `level_windows`. mig: slices of cards, of which one each tells the power.
    """
    gpus = series_by(table, "uuid", used)
    inside = {uuid: series.inside(windows) for uuid, series in gpus.items()}
    n_samples = sum(int((own & told(gpus[uuid])).sum()) for uuid, own in inside.items())
    if n_samples == 0:
        return None
    each = list(gpus.values())
    powered = [one for one in each if tells_power(one)] if mig else each
    sources = sorted({source for source in table["source"].to_pylist() if source is not None})
    return GpuUse(
        source=" and ".join(sources),
        uuids=tuple(gpus),
        n_samples=n_samples,
        coverage_ratio=min(coverage(one, windows) for one in each),
        util_ratio=_spread(each, windows, "util_ratio"),
        memory_ratio=_memory(each, windows),
        sm_active_ratio=_spread(each, windows, "sm_active_ratio"),
        tensor_active_ratio=_spread(each, windows, "tensor_active_ratio"),
        dram_active_ratio=_spread(each, windows, "dram_active_ratio"),
        sm_clock_mhz=_spread(each, windows, "sm_clock_mhz"),
        memory_clock_mhz=_spread(each, windows, "memory_clock_mhz"),
        power_w=_total([mean_power_w(one, windows) for one in powered]),
        power_limit_w=_total([_mean(one, windows, "power_limit_w") for one in powered]),
        temperature_max_c=_greatest(gpus, inside, "temperature_c"),
        throttle_s=_throttled(each, windows),
        foreign_processes=_whole(_greatest(gpus, inside, "foreign_processes")),
    )


def coverage(series: Series, windows: Sequence[Window]) -> float:
    """The share of the windows between neighbouring readings that tell anything."""
    length_s = sum(end_s - start_s for start_s, end_s in windows)
    if length_s <= 0:
        return 0.0
    at_s = series.at_s[told(series)]
    return integral(at_s, np.ones(len(at_s)), windows, series.max_gap_s).covered_s / length_s


def tells_power(series: Series) -> bool:
    """True where any reading of the run has power or energy."""
    return bool(len(series.known("energy_j", *POWER)[0]))


def mean_power_w(series: Series, windows: Sequence[Window]) -> float | None:
    """The time-weighted mean power of one GPU; None where it tells none."""
    return _mean(series, windows, *POWER)


def told(series: Series) -> Bools:
    """(n,): whether a reading tells anything of its GPU."""
    anything = np.zeros(len(series.at_s), dtype=np.bool_)
    for name in _ANY:
        anything |= ~np.isnan(series.columns[name])
    return anything


def _mean(series: Series, windows: Sequence[Window], *names: str) -> float | None:
    at_s, values = series.known(*names)
    return integral(at_s, values, windows, series.max_gap_s).mean


def _spread(each: Sequence[Series], windows: Sequence[Window], name: str) -> Spread | None:
    return _spread_of([_mean(one, windows, name) for one in each])


def _memory(each: Sequence[Series], windows: Sequence[Window]) -> Spread | None:
    shares = []
    for one in each:
        with np.errstate(divide="ignore", invalid="ignore"):
            share = one.columns["memory_used_bytes"] / one.columns["memory_total_bytes"]
        there = np.isfinite(share)
        shares.append(integral(one.at_s[there], share[there], windows, one.max_gap_s).mean)
    return _spread_of(shares)


def _spread_of(values: Sequence[float | None]) -> Spread | None:
    """Over the GPUs that tell."""
    known = [value for value in values if value is not None]
    return Spread(min(known), sum(known) / len(known), max(known)) if known else None


def _total(values: Sequence[float | None]) -> float | None:
    """The sum; None where one is not known: half the GPUs' power is no power of all."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _greatest(gpus: Mapping[str, Series], inside: Mapping[str, Bools], name: str) -> float | None:
    seen = [gpus[uuid].columns[name][own] for uuid, own in inside.items()]
    return max((float(values[~np.isnan(values)].max()) for values in seen if (~np.isnan(values)).any()), default=None)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _throttled(each: Sequence[Series], windows: Sequence[Window]) -> dict[str, float] | None:
    longest: dict[str, float] = {}
    known = False
    for one in each:
        at_s, masks = one.known("throttle_reasons")
        known |= bool(one.inside(windows)[~np.isnan(one.columns["throttle_reasons"])].any())
        for reason, bit in THROTTLES.items():
            seconds = held_s(at_s, (masks.astype(np.int64) & bit) != 0, windows, one.max_gap_s)
            if seconds > 0:
                longest[reason] = max(seconds, longest.get(reason, 0.0))
    return longest if known else None
