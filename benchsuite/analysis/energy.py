"""The energy of a level, from the GPUs' counters or their power, and what limits trust in it. GPUs only, no host. Pure.

gross = sum over GPUs and repeats of E(last close) - E(first send); net = gross - P_idle T. docs/METHODS.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from benchsuite.analysis import energy_codes as codes
from benchsuite.analysis.gpu_series import Series, Window, growth, integral, series_by
from benchsuite.analysis.gpu_use import POWER, coverage, mean_power_w, tells_power, told
from benchsuite.results import PointEnergy, PointSummary, Warn

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


def gpu_facts(telemetry: Mapping[str, Any] | None, constant_kw: float | None = None, gpus: int = 1) -> GpuFacts:
    """From `manifest["telemetry"]`; None: a run without. constant_kw: all GPUs'; gpus: how many that are."""
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
        constant_w=None if constant_kw is None else constant_kw * 1000,
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
        warn = _at(codes.constant(facts.constant_w), level)
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
        *codes.short_window(windows, error, facts.interval_s),
        *([codes.WHOLE_CARD] if facts.mig else []),
        *([codes.IDLE_UNKNOWN] if idle_w is None and drawn.joules is not None else []),
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
    stale = (facts.interval_s or COUNTER_REFRESH_S) > codes.MAX_ERROR * (end_s - start_s)
    found = []
    for one in gpus:
        joules = None if stale else growth(*one.known("energy_j"), [facts.idle], one.max_gap_s).value
        found.append(joules / (end_s - start_s) if joules else mean_power_w(one, [facts.idle]))
    return _sum(found)


def _of(
    drawn: _Drawn, n_gpus: int, windows: Sequence[Window], point: PointSummary, idle_w: float | None,
    error: float | None, found: Sequence[Warn],
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


def _at(warn: Warn, concurrency: int) -> Warn:
    return dataclasses.replace(warn, concurrency=concurrency)


def _per(joules: float | None, count: float | None) -> float | None:
    return None if joules is None or not count else joules / count


def _losses(gpus: Mapping[str, Series], windows: Sequence[Window], each: Sequence[_Gpu]) -> list[Warn]:
    """GPUs that fell silent, with the driver's own word where it left one; and samples that were not taken."""
    found = []
    for (uuid, one), gpu in zip(gpus.items(), each, strict=True):
        share, inside = coverage(one, windows), one.inside(windows)
        if share >= MIN_COVERAGE and (gpu.joules is not None or gpu.was_reset):
            continue
        silent = not inside.any() or bool((inside & ~told(one)).any())
        words = [word for word, own in zip(one.errors, inside, strict=True) if own and word]
        finding = f"readings of GPU {uuid} cover {share:.0%} of the time" + (f": {words[-1]}" if words else "")
        found.append(codes.lost(finding) if silent else codes.missing(finding))
    return found


def _counters(each: Sequence[_Gpu], error: float) -> list[Warn]:
    found = [codes.RESET] if any(one.was_reset for one in each) else []
    if any(one.stood_still for one in each):
        found.append(codes.STOOD_STILL)
    if any(one.method == "power" and one.joules is not None and not one.stood_still for one in each):
        found.append(codes.NO_COUNTER)
    counted = [one for one in each if one.method == "counter" and one.joules is not None and one.sampled_j is not None]
    found += codes.power_differs(sum(g.joules or 0.0 for g in counted), sum(g.sampled_j or 0.0 for g in counted), error)
    return found
