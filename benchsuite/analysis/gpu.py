"""The energy of a level, from the GPUs' counters or their power, and what limits trust in it. GPUs only, no host. Pure.

gross = sum over GPUs and repeats of E(last close) - E(first send); net = gross - P_idle T. docs/METHODS.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from benchsuite.analysis.requests import Bools
from benchsuite.analysis.time_series import Series, Window, growth, held_s, integral, series_by
from benchsuite.results import EnergyCode, Finding, GpuUse, PointEnergy, PointSummary, Spread

MIN_WINDOW_S = 60.0
MAX_DIFFERENCE = 0.05
MAX_ERROR = 0.05
_REPEAT = "measure the level again"


def short_window(windows: Sequence[Window], error: float | None, interval_s: float | None) -> list[Finding]:
    """error: the bound at the windows' edges, None where there is no energy. interval_s: of an exporter."""
    shortest_s = min(end_s - start_s for start_s, end_s in windows)
    if error is None or (shortest_s >= MIN_WINDOW_S and error <= MAX_ERROR):
        return []
    finding = f"a window of {shortest_s:,.1f} s: readings that are old at its edges leave up to {error:.2%} open"
    if interval_s is None:
        remedy = f"a larger request set: runs of at least {MIN_WINDOW_S:.0f} s"
    else:
        long_s = max(MIN_WINDOW_S, interval_s / MAX_ERROR)
        remedy = f"let the exporter collect every second (-c 1000), or runs of at least {long_s:,.0f} s"
    return [_warn("energy_window_short", finding, remedy)]


def power_differs(counted_j: float, sampled_j: float, error: float) -> list[Finding]:
    """The counter against power integrated over the same windows; error: what the counter's edges leave open."""
    if counted_j <= 0 or abs(sampled_j / counted_j - 1) <= MAX_DIFFERENCE + error:
        return []
    finding = f"the energy counter and the integrated power differ by {sampled_j / counted_j - 1:+.1%}"
    remedy = "some cards' power sensors see a part of the time alone: longer windows, and trust the counter"
    return [_warn("energy_power_differs", finding, remedy)]


def lost(finding: str) -> Finding:
    return _warn("gpu_lost", finding, f"look for Xid errors in the kernel's log, then {_REPEAT}")


def missing(finding: str) -> Finding:
    return _warn("gpu_samples_missing", finding, "a lower --gpu-sample-hz, or cores that the sampler need not share")


def assumed_power_note(watts: float) -> Finding:
    finding = f"{watts:,.0f} W as given, not measured: the same at every load"
    return _warn("energy_constant_power", finding, "measure: NVML on the GPUs' host, or --dcgm-url")


def _warn(code: EnergyCode, finding: str, remedy: str) -> Finding:
    return Finding(code, finding, remedy)


RESET = _warn("energy_counter_reset", "an energy counter started anew in the window: no energy", _REPEAT)
STOOD_STILL = _warn(
    "energy_counter_still",
    "an energy counter stood still while its GPU drew power: power is integrated instead",
    "longer runs; an exporter that collects every second (-c 1000)",
)
NO_COUNTER = _warn(
    "energy_no_counter",
    "no energy counter: power is integrated between samples",
    "--gpu-sample-hz 10, and windows of minutes",
)
WHOLE_CARD = _warn(
    "energy_whole_card",
    "a MIG slice: power and energy are of the whole card, whoever used it",
    "take the slice's share of the card by price; keep the other slices idle",
)
IDLE_UNKNOWN = _warn("energy_idle_unknown", "idle power was not measured: no net figures", "--idle-power-s 60")


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


J_PER_KWH = 3.6e6
COUNTER_REFRESH_S = 0.1  # the driver renews its counter every 20 to 100 ms
POWER_AVERAGE_S = 1.0  # and averages power over a second on most parts
MIN_COVERAGE = 0.9
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
    told = telemetry or {}
    gpu, idle = told.get("gpu") or {}, told.get("idle") or {}
    used = tuple(gpu.get("used") or ())
    devices = [one for one in gpu.get("devices") or () if not used or one.get("uuid") in used]
    start_s, end_s = idle.get("started_s"), idle.get("ended_s")
    return GpuFacts(
        used=used,
        interval_s=gpu.get("interval_s") if gpu.get("source") == "dcgm" else None,
        mig=any(one.get("mig") for one in devices) or any(uuid.startswith("MIG-") for uuid in used),
        idle=None if start_s is None or end_s is None or end_s <= start_s else (float(start_s), float(end_s)),
        constant_w=None if assumed_power_kw is None else assumed_power_kw * 1000,
        constant_gpus=gpus,
    )


def point_energy(
    table: pa.Table | None, windows: Sequence[Window], point: PointSummary, facts: GpuFacts
) -> PointEnergy | None:
    """The energy of one run of the set at `point`. None where nothing measured power, nor the user gave it.

    table: the columns of GpuSample, None if there are none. windows: of the point's repeats (`level_windows`).
    """
    level, total_s = point.concurrency, sum(end_s - start_s for start_s, end_s in windows)
    if total_s <= 0:
        return None
    gpus = {} if table is None else series_by(table, "uuid", facts.used)
    if not any(tells_power(one) for one in gpus.values()):
        if facts.constant_w is None:
            return None
        constant = _Drawn("constant", facts.constant_w * total_s, facts.constant_w)
        warn = _at(assumed_power_note(facts.constant_w), level)
        return _of(constant, facts.constant_gpus, windows, point, None, None, [warn])
    if facts.mig:  # power is on one row of each card; its other slices have none of their own
        gpus = {uuid: one for uuid, one in gpus.items() if tells_power(one)}
    each = [_gpu_energy(one, windows) for one in gpus.values()]
    drawn = _together(each, total_s)
    error = _error_ratio(drawn, windows, facts)
    idle_w = None if facts.idle is None else _idle_w(list(gpus.values()), facts)
    found = [
        *_losses(gpus, windows, each),
        *_counters(each, error or 0.0),
        *short_window(windows, error, facts.interval_s),
        *([WHOLE_CARD] if facts.mig else []),
        *([IDLE_UNKNOWN] if idle_w is None and drawn.joules is not None else []),
    ]
    return _of(drawn, len(gpus), windows, point, idle_w, error, [_at(warn, level) for warn in found])


Method = Literal["counter", "power", "mixed", "constant"]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Over all repeats, in joules; mean_w even where joules are not known, if the power was sampled."""

    method: Method | None
    joules: float | None
    mean_w: float | None


@dataclass(frozen=True, slots=True)
class _Gpu:
    method: Method
    joules: float | None
    sampled_j: float | None
    sampled_w: float | None
    was_reset: bool = False
    stood_still: bool = False


def _gpu_energy(one: Series, windows: Sequence[Window]) -> _Gpu:
    total_s = sum(end_s - start_s for start_s, end_s in windows)
    power = integral(*one.known(*POWER), windows, one.max_gap_s)
    whole = power.mean is not None and power.covered_s >= MIN_COVERAGE * total_s
    sampled_j = power.mean * total_s if whole and power.mean is not None else None
    sampled_w = power.mean if whole else None
    at_s, counter = one.known("energy_j")
    if not len(at_s):
        return _Gpu("power", sampled_j, sampled_j, sampled_w)
    grown = growth(at_s, counter, windows, one.max_gap_s)
    if grown.value == 0 and power.mean:  # an exporter that collects seldom repeats what it read
        return _Gpu("power", sampled_j, sampled_j, sampled_w, stood_still=True)
    return _Gpu("counter", grown.value, sampled_j, sampled_w, grown.was_reset)


def _together(each: Sequence[_Gpu], total_s: float) -> _Drawn:
    methods = {one.method for one in each}
    method: Method = "mixed" if len(methods) > 1 else methods.pop()
    joules = _sum([one.joules for one in each])
    mean_w = _sum([one.sampled_w for one in each]) if joules is None else joules / total_s
    return _Drawn(None if joules is None else method, joules, mean_w)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _error_ratio(drawn: _Drawn, windows: Sequence[Window], facts: GpuFacts) -> float | None:
    """|error| <= delta P at each window: both of its edges may be read up to delta late."""
    if not drawn.joules or drawn.mean_w is None:
        return None
    delta_s = facts.interval_s or (COUNTER_REFRESH_S if drawn.method == "counter" else POWER_AVERAGE_S)
    return len(windows) * delta_s * drawn.mean_w / drawn.joules


def _idle_w(gpus: Sequence[Series], facts: GpuFacts) -> float | None:
    assert facts.idle is not None
    start_s, end_s = facts.idle
    stale = (facts.interval_s or COUNTER_REFRESH_S) > MAX_ERROR * (end_s - start_s)
    found = []
    for one in gpus:
        joules = None if stale else growth(*one.known("energy_j"), [facts.idle], one.max_gap_s).value
        found.append(joules / (end_s - start_s) if joules else mean_power_w(one, [facts.idle]))
    return _sum(found)


def _of(
    drawn: _Drawn, n_gpus: int, windows: Sequence[Window], point: PointSummary, idle_w: float | None,
    error: float | None, found: Sequence[Finding],
) -> PointEnergy:  # fmt: skip
    n, total_s = len(windows), sum(end_s - start_s for start_s, end_s in windows)
    gross = drawn.joules
    net = None if gross is None or idle_w is None else gross - idle_w * total_s
    if net is not None and gross is not None and abs(net) < _ROUNDING * gross:
        net = 0.0  # an idle GPU's net is not the rounding of two products
    tokens = (point.input_tokens, point.output_tokens)
    return PointEnergy(
        n_gpus=n_gpus,
        window_s=total_s / n,
        method=drawn.method,
        gross_j=_per(gross, n),
        idle_w=idle_w,
        net_j=_per(net, n),
        mean_w=drawn.mean_w,
        j_per_output_token=_per(gross, point.output_tokens),
        net_j_per_output_token=_per(net, point.output_tokens),
        j_per_token=_per(gross, _sum(tokens)),
        j_per_request=_per(gross, point.n_ok),
        kwh=_per(gross, n * J_PER_KWH),
        error_ratio=error,
        wall_j=_per(gross, n),
        codes=tuple(found),
    )


def _at(warn: Finding, concurrency: int) -> Finding:
    return dataclasses.replace(warn, concurrency=concurrency)


def _per(joules: float | None, count: float | None) -> float | None:
    return None if joules is None or not count else joules / count


def _losses(gpus: Mapping[str, Series], windows: Sequence[Window], each: Sequence[_Gpu]) -> list[Finding]:
    """GPUs that fell silent, with the driver's own word where it left one; and samples that were not taken."""
    found = []
    for (uuid, one), gpu in zip(gpus.items(), each, strict=True):
        share, inside = coverage(one, windows), one.inside(windows)
        if share >= MIN_COVERAGE and (gpu.joules is not None or gpu.was_reset):
            continue
        silent = not inside.any() or bool((inside & ~told(one)).any())
        words = [word for word, own in zip(one.errors, inside, strict=True) if own and word]
        finding = f"readings of GPU {uuid} cover {share:.0%} of the time" + (f": {words[-1]}" if words else "")
        found.append(lost(finding) if silent else missing(finding))
    return found


def _counters(each: Sequence[_Gpu], error: float) -> list[Finding]:
    found = [RESET] if any(one.was_reset for one in each) else []
    if any(one.stood_still for one in each):
        found.append(STOOD_STILL)
    if any(one.method == "power" and one.joules is not None and not one.stood_still for one in each):
        found.append(NO_COUNTER)
    counted = [one for one in each if one.method == "counter" and one.joules is not None and one.sampled_j is not None]
    found += power_differs(sum(g.joules or 0.0 for g in counted), sum(g.sampled_j or 0.0 for g in counted), error)
    return found
