"""The GPUs' use and energy at a level, and what limits trust in it. GPUs only, no host. Pure.

gross = sum over GPUs and repeats of E(last close) - E(first send); net = gross - P_idle T. docs/METHODS.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from benchsuite.analysis.requests import Bools
from benchsuite.analysis.time_series import Series, Window, growth, held_s, integral, series_by
from benchsuite.results import GpuUse, PointEnergy, PointSummary, Spread
from benchsuite.warning_table import Finding, warn

POWER = ("power_average_w", "power_w", "power_instant_w")  # a total is best made of averages
# bits of nvmlClocksEventReasons; idle (1), application clocks (2), sync boost (0x10) and display (0x100) are no trouble
THROTTLES: Mapping[str, int] = MappingProxyType(
    {"sw_power_cap": 0x4, "hw_slowdown": 0x8, "sw_thermal": 0x20, "hw_thermal": 0x40, "power_brake": 0x80}
)
_ANY = ("util_ratio", *POWER, "energy_j", "memory_used_bytes")
_SPREAD = (
    "util_ratio", "memory_ratio", "sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "sm_clock_mhz",
    "memory_clock_mhz",
)  # fmt: skip


# what a GPU that serves cannot have as 0 throughout a run: each by itself, and together on all of the GPUs
_NEVER_0 = (*POWER, "power_limit_w", "sm_clock_mhz", "memory_clock_mhz", "temperature_c", "memory_total_bytes")
_BUSY = (("util_ratio", "memory_util_ratio"), ("sm_active_ratio", "tensor_active_ratio", "dram_active_ratio"))


def gpu_series(table: pa.Table, used: Sequence[str] = ()) -> tuple[dict[str, Series], dict[str, tuple[str, ...]]]:
    """`series_by` GPU without the columns that are no readings, and by UUID their names.

    Such are zeros of what is never 0, an energy counter that stands still all along while nothing tells of power, and
    activity that is 0 on every GPU: a driver or exporter fills in what the part, MIG or the hypervisor does not tell.
    """
    gpus, dead = series_by(table, "uuid", used), {}

    def is_zero(series: Series, name: str) -> bool:
        values = series.columns.get(name, np.empty(0))
        known = values[~np.isnan(values)]
        return len(known) > 0 and not known.any()

    groups = [group for group in _BUSY if all(is_zero(gpu, group[0]) for gpu in gpus.values() if len(gpu.at_s))]
    for uuid, series in gpus.items():
        names = [name for name in (*_NEVER_0, *(name for group in groups for name in group)) if is_zero(series, name)]
        _, counter = series.known("energy_j")
        powered = any(name not in names and len(series.known(name)[0]) for name in POWER)
        if len(counter) > 1 and not powered and not np.ptp(counter):
            names.append("energy_j")
        if names:
            dead[uuid] = tuple(names)
            columns = {name: values * np.nan if name in names else values for name, values in series.columns.items()}
            gpus[uuid] = dataclasses.replace(series, columns=columns)
    return gpus, dead


def gpu_use(
    table: pa.Table, windows: Sequence[Window], used: Sequence[str] = (), *, mig: bool = False
) -> GpuUse | None:
    """The use of the GPUs `used` (UUIDs; empty: all in the table). None without a reading in the windows.

    table: the columns of GpuSample. windows: `level_windows`. mig: slices of cards, of which one each tells the power.
    """
    readings, dead = gpu_series(table, used)
    each = []
    for series in readings.values():
        used_bytes, total_bytes = series.columns["memory_used_bytes"], series.columns["memory_total_bytes"]
        ratio = np.divide(used_bytes, total_bytes, out=np.full(len(used_bytes), np.nan), where=total_bytes > 0)
        each.append(dataclasses.replace(series, columns={**series.columns, "memory_ratio": ratio}))
    n_samples = sum(int((series.inside(windows) & has_reading(series)).sum()) for series in each)
    if n_samples == 0:
        return None
    powered = [series for series in each if has_power(series)] if mig else each
    spreads = {name: _spread([_mean(series, windows, name) for series in each]) for name in _SPREAD}
    foreign = _greatest(each, windows, "foreign_processes")
    return GpuUse(
        source=" and ".join(sorted({source for source in table["source"].to_pylist() if source is not None})),
        uuids=tuple(readings),
        n_samples=n_samples,
        coverage_ratio=min(coverage(series, windows) for series in each),
        power_w=_total([_mean(series, windows, *POWER) for series in powered]),
        power_limit_w=_total([_mean(series, windows, "power_limit_w") for series in powered]),
        temperature_max_c=_greatest(each, windows, "temperature_c"),
        throttle_s=_throttled(each, windows),
        foreign_processes=None if foreign is None else int(foreign),
        zeros=dead,
        **spreads,
    )


def coverage(series: Series, windows: Sequence[Window]) -> float:
    """The share of the windows between neighbouring readings that have any value."""
    at_s = series.at_s[has_reading(series)]
    length_s = _length_s(windows)
    return integral(at_s, np.ones(len(at_s)), windows, series.max_gap_s).covered_s / length_s if length_s > 0 else 0.0


def has_power(series: Series) -> bool:
    """True where any reading of the run has power or energy."""
    return bool(len(series.known("energy_j", *POWER)[0]))


def has_reading(series: Series) -> Bools:
    """(n,): whether a sample has any value of its GPU."""
    missing = np.isnan(np.stack([series.columns[name] for name in _ANY]))
    return np.asarray(~missing.all(axis=0))


def _length_s(windows: Sequence[Window]) -> float:
    return sum(end_s - start_s for start_s, end_s in windows)


def _mean(series: Series, windows: Sequence[Window], *names: str) -> float | None:
    """The time-weighted mean of the first of the columns that a reading has; None where it has none."""
    return integral(*series.known(*names), windows, series.max_gap_s).mean


def _spread(values: Sequence[float | None]) -> Spread | None:
    """Over the GPUs of which it is known."""
    known = [value for value in values if value is not None]
    return Spread(min(known), sum(known) / len(known), max(known)) if known else None


def _total(values: Sequence[float | None]) -> float | None:
    """The sum; None where one is not known: half the GPUs' power is no power of all."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _greatest(each: Sequence[Series], windows: Sequence[Window], name: str) -> float | None:
    values = np.concatenate([series.columns[name][series.inside(windows)] for series in each])
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else None


def _throttled(each: Sequence[Series], windows: Sequence[Window]) -> dict[str, float] | None:
    """Seconds by reason, of the GPU throttled longest; None where no reading within the windows has reasons."""
    longest: dict[str, float] = {}
    for series in each:
        at_s, masks = series.known("throttle_reasons")
        for reason, bit in THROTTLES.items():
            seconds = held_s(at_s, (masks.astype(np.int64) & bit) != 0, windows, series.max_gap_s)
            if seconds > 0:
                longest[reason] = max(seconds, longest.get(reason, 0.0))
    return None if _greatest(each, windows, "throttle_reasons") is None else longest


J_PER_KWH = 3.6e6
COUNTER_REFRESH_S = 0.1  # the driver renews its counter every 20 to 100 ms
POWER_AVERAGE_S = 1.0  # and averages power over a second on most parts
MIN_COVERAGE = 0.9
MIN_WINDOW_S = 60.0
MAX_DIFFERENCE = 0.05
MAX_ERROR = 0.05
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What the manifest tells of the GPUs. used: UUIDs of those that serve, () if not known. interval_s: how often an
    exporter collects, None where the driver is asked itself. mig: some are slices of a card. idle: a window in which
    the server was up and nothing ran. constant_w: of all GPUs, as the user gave it."""

    used: tuple[str, ...] = ()
    interval_s: float | None = None
    mig: bool = False
    idle: Window | None = None
    constant_w: float | None = None
    constant_gpus: int = 1


def gpu_facts(telemetry: Mapping[str, Any] | None, assumed_power_kw: float | None = None, gpus: int = 1) -> GpuFacts:
    """From `manifest["telemetry"]`; None: a run without. assumed_power_kw: all GPUs'; gpus: how many that are."""
    facts = telemetry or {}
    gpu, idle = facts.get("gpu") or {}, facts.get("idle") or {}
    used = tuple(gpu.get("used") or ())
    devices = [device for device in gpu.get("devices") or () if not used or device.get("uuid") in used]
    start_s, end_s = idle.get("started_s"), idle.get("ended_s")
    return GpuFacts(
        used=used,
        interval_s=gpu.get("interval_s") if gpu.get("source") == "dcgm" else None,
        mig=any(device.get("mig") for device in devices) or any(uuid.startswith("MIG-") for uuid in used),
        idle=None if start_s is None or end_s is None or end_s <= start_s else (float(start_s), float(end_s)),
        constant_w=None if assumed_power_kw is None else assumed_power_kw * 1000,
        constant_gpus=gpus,
    )


Method = Literal["counter", "power", "mixed", "constant"]


@dataclass(frozen=True, slots=True)
class _Gpu:
    """The energy of one GPU over all windows. sampled_*: of its power over time, None where that has holes."""

    method: Method
    joules: float | None
    sampled_j: float | None
    sampled_w: float | None
    was_reset: bool = False
    stood_still: bool = False


def point_energy(
    table: pa.Table | None, windows: Sequence[Window], point: PointSummary, facts: GpuFacts
) -> PointEnergy | None:
    """The energy of one run of the set at `point`. None where nothing measured power, nor the user gave it.

    table: the columns of GpuSample, None if there are none. windows: of the point's repeats (`level_windows`).
    """
    n, total_s = len(windows), _length_s(windows)
    if total_s <= 0:
        return None
    gpus = {} if table is None else gpu_series(table, facts.used)[0]
    powered = {uuid: series for uuid, series in gpus.items() if has_power(series)}
    method: Method | None
    gross_j: float | None
    mean_w: float | None
    codes: tuple[Finding, ...]
    idle_w = error = None
    if not powered:
        if facts.constant_w is None:
            return None
        method, gross_j, mean_w, n_gpus = "constant", facts.constant_w * total_s, facts.constant_w, facts.constant_gpus
        codes = (warn("energy_constant_power", point.level, watts=facts.constant_w),)
    else:
        gpus = powered if facts.mig else gpus  # power is on one slice of each card; the others have none of their own
        each = [_gpu_energy(series, windows) for series in gpus.values()]
        n_gpus, methods, gross_j = len(gpus), {gpu.method for gpu in each}, _total([gpu.joules for gpu in each])
        method = None if gross_j is None else "mixed" if len(methods) > 1 else methods.pop()
        mean_w = _total([gpu.sampled_w for gpu in each]) if gross_j is None else gross_j / total_s
        if gross_j and mean_w is not None:  # |error| <= delta P at each window: its edges may be read up to delta late
            delta_s = facts.interval_s or (COUNTER_REFRESH_S if method == "counter" else POWER_AVERAGE_S)
            error = n * delta_s * mean_w / gross_j
        idle_w = None if facts.idle is None else _idle_w(list(gpus.values()), facts.idle, facts.interval_s)
        codes = tuple(
            dataclasses.replace(finding, level=point.level)
            for finding in _findings(gpus, windows, each, error, facts, idle_known=idle_w is not None)
        )
    net_j = None if gross_j is None or idle_w is None else gross_j - idle_w * total_s
    if net_j is not None and gross_j is not None and abs(net_j) < _ROUNDING * gross_j:
        net_j = 0.0  # an idle GPU's net is not the rounding of two products

    def per(joules: float | None, count: float | None) -> float | None:
        return None if joules is None or not count else joules / count

    requests, output, tokens = point.products
    return PointEnergy(
        n_gpus=n_gpus,
        window_s=total_s / n,
        method=method,
        gross_j=per(gross_j, n),
        idle_w=idle_w,
        net_j=per(net_j, n),
        mean_w=mean_w,
        j_per_output_token=per(gross_j, output),
        net_j_per_output_token=per(net_j, output),
        j_per_token=per(gross_j, tokens),
        j_per_request=per(gross_j, requests),
        kwh=per(gross_j, n * J_PER_KWH),
        error_ratio=error,
        wall_j=per(gross_j, n),
        codes=codes,
    )


def _gpu_energy(series: Series, windows: Sequence[Window]) -> _Gpu:
    total_s = _length_s(windows)
    power = integral(*series.known(*POWER), windows, series.max_gap_s)
    sampled_w = power.mean if power.covered_s >= MIN_COVERAGE * total_s else None
    sampled_j = None if sampled_w is None else sampled_w * total_s
    at_s, counter = series.known("energy_j")
    if not len(at_s):
        return _Gpu("power", sampled_j, sampled_j, sampled_w)
    grown = growth(at_s, counter, windows, series.max_gap_s)
    if grown.value == 0:  # an exporter that collects seldom repeats what it read
        return _Gpu("power", sampled_j or None, sampled_j, sampled_w or None, stood_still=True)
    return _Gpu("counter", grown.value, sampled_j, sampled_w, grown.was_reset)


def _idle_w(gpus: Sequence[Series], idle: Window, interval_s: float | None) -> float | None:
    length_s = idle[1] - idle[0]
    stale = (interval_s or COUNTER_REFRESH_S) > MAX_ERROR * length_s
    watts = []
    for series in gpus:
        joules = None if stale else growth(*series.known("energy_j"), [idle], series.max_gap_s).value
        watts.append(joules / length_s if joules else _mean(series, [idle], *POWER))
    return _total(watts)


def _findings(
    gpus: Mapping[str, Series], windows: Sequence[Window], each: Sequence[_Gpu], error: float | None, facts: GpuFacts,
    *, idle_known: bool,
) -> Iterator[Finding]:  # fmt: skip
    for (uuid, series), gpu in zip(gpus.items(), each, strict=True):
        share, inside = coverage(series, windows), series.inside(windows)
        if share < MIN_COVERAGE or (gpu.joules is None and not gpu.was_reset and not gpu.stood_still):
            silent = not inside.any() or bool((inside & ~has_reading(series)).any())
            errors = [text for text, within in zip(series.errors, inside, strict=True) if within and text]
            driver = f": {errors[-1]}" if errors else ""  # the driver's own words
            yield warn("gpu_lost" if silent else "gpu_samples_missing", uuid=uuid, coverage=share, driver=driver)
    if any(gpu.was_reset for gpu in each):
        yield warn("energy_counter_reset")
    if any(gpu.stood_still for gpu in each):
        yield warn("energy_counter_still")
    if any(gpu.method == "power" and gpu.joules is not None and not gpu.stood_still for gpu in each):
        yield warn("energy_no_counter")
    both = [gpu for gpu in each if gpu.method == "counter" and gpu.joules is not None and gpu.sampled_j is not None]
    counted_j, sampled_j = sum(gpu.joules or 0.0 for gpu in both), sum(gpu.sampled_j or 0.0 for gpu in both)
    # the counter's edges leave `error` open, so that much the two may differ
    if counted_j > 0 and abs(sampled_j / counted_j - 1) > MAX_DIFFERENCE + (error or 0.0):
        yield warn("energy_power_differs", difference=sampled_j / counted_j - 1)
    shortest_s = min(end_s - start_s for start_s, end_s in windows)
    if error is not None and (error > MAX_ERROR or shortest_s < MIN_WINDOW_S):
        least_s = max(MIN_WINDOW_S, (facts.interval_s or 0.0) / MAX_ERROR)
        code = "energy_uncertain" if error > MAX_ERROR else "energy_window_short"
        yield warn(code, window_s=shortest_s, error=error, least_s=least_s)
    if facts.mig:
        yield warn("energy_whole_card")
    if not idle_known and all(gpu.joules is not None for gpu in each):
        yield warn("energy_idle_unknown")
