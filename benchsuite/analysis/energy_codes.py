"""What limits trust in a level's energy, in words: a code, the finding, the remedy. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchsuite.analysis.gpu_series import Window
from benchsuite.results import EnergyCode, Warn

MIN_WINDOW_S = 60.0
MAX_DIFFERENCE = 0.05
MAX_ERROR = 0.05
_REPEAT = "measure the level again"


def short_window(windows: Sequence[Window], error: float | None, interval_s: float | None) -> list[Warn]:
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


def power_differs(counted_j: float, sampled_j: float, error: float) -> list[Warn]:
    """The counter against power integrated over the same windows; error: what the counter's edges leave open."""
    if counted_j <= 0 or abs(sampled_j / counted_j - 1) <= MAX_DIFFERENCE + error:
        return []
    finding = f"the energy counter and the integrated power differ by {sampled_j / counted_j - 1:+.1%}"
    remedy = "some cards' power sensors see a part of the time alone: longer windows, and trust the counter"
    return [_warn("energy_power_differs", finding, remedy)]


def lost(finding: str) -> Warn:
    return _warn("gpu_lost", finding, f"look for Xid errors in the kernel's log, then {_REPEAT}")


def missing(finding: str) -> Warn:
    return _warn("gpu_samples_missing", finding, "a lower --gpu-hz, or cores that the sampler need not share")


def constant(watts: float) -> Warn:
    finding = f"{watts:,.0f} W as given, not measured: the same at every load"
    return _warn("energy_constant_power", finding, "measure: NVML on the GPUs' host, or --dcgm-url")


def _warn(code: EnergyCode, finding: str, remedy: str) -> Warn:
    return Warn(code, finding, remedy)


RESET = _warn("energy_counter_reset", "an energy counter started anew in the window: no energy", _REPEAT)
STOOD_STILL = _warn(
    "energy_counter_still",
    "an energy counter stood still while its GPU drew power: power is integrated instead",
    "longer runs; an exporter that collects every second (-c 1000)",
)
NO_COUNTER = _warn(
    "energy_no_counter",
    "no energy counter: power is integrated between samples",
    "--gpu-hz 10, and windows of minutes",
)
WHOLE_CARD = _warn(
    "energy_whole_card",
    "a MIG slice: power and energy are of the whole card, whoever used it",
    "take the slice's share of the card by price; keep the other slices idle",
)
IDLE_UNKNOWN = _warn("energy_idle_unknown", "idle power was not measured: no net figures", "--idle-s 60")
