"""Energy, GPU use and monitoring targets of a run's levels, from its samples: what stands beside the judgement."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchsuite.analysis.balance import Balance
from benchsuite.analysis.energy import gpu_facts, point_energy
from benchsuite.analysis.gpu_series import level_windows
from benchsuite.analysis.gpu_use import gpu_use
from benchsuite.analysis.server_series import ServerSeries, windows_of
from benchsuite.analysis.server_use import server_use
from benchsuite.analysis.telemetry_checks import check_telemetry
from benchsuite.economics.power import level_prices, power_warnings, priced
from benchsuite.results import GpuUse, Judged, PointEnergy, PointSummary, Warn
from benchsuite.spec import PriceSpec
from benchsuite.store import Run

# said beside the energy, but not against the level: what the user gave, or did not measure
_ASIDES = ("energy_constant_power", "energy_idle_unknown", "energy_no_counter", "energy_window_short")
MAX_ERROR = 0.05  # a short window is held against the level when its energy may be off by more


@dataclass(frozen=True, slots=True)
class Power:
    """By concurrency level. hourly: the machine's price, for owned GPUs whose power was measured at every level."""

    energies: Mapping[int, PointEnergy | None]
    uses: Mapping[int, GpuUse | None]
    warnings: tuple[Warn, ...]
    hourly: dict[int, float] | None

    def warned(self, points: Sequence[PointSummary]) -> list[PointSummary]:
        """The points with what telemetry says against them."""
        return [
            dataclasses.replace(
                p, warnings=(*p.warnings, *(warn for warn in self.warnings if warn.concurrency == p.concurrency))
            )
            for p in points
        ]

    def beside(self, judged: Sequence[Judged]) -> list[Judged]:
        """The judged levels with their energy and their GPUs' use."""
        return [
            dataclasses.replace(j, energy=self.energies[j.point.concurrency], gpu=self.uses[j.point.concurrency])
            for j in judged
        ]


def own_points(points: Sequence[PointSummary], levels: Mapping[int, Balance]) -> list[PointSummary]:
    """The points with the requests and tokens of the own servers: what a paid API answered no GPU of ours did."""
    return [_own(point, levels[point.concurrency]) for point in points]


def _own(point: PointSummary, level: Balance) -> PointSummary:
    if not any(part.requests for part in level.of("fallback")):
        return point
    own = level.of("own")
    return dataclasses.replace(
        point,
        n_ok=sum(part.requests - part.failures for part in own),
        input_tokens=_sum([part.input_tokens for part in own]),
        output_tokens=_sum([part.output_tokens for part in own]),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    """Over the servers that know; None where none does."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def read_power(
    run: Run, rows: Any, points: Sequence[PointSummary], price: PriceSpec, constant_kw: float | None
) -> Power:
    """rows, points (`own_points`): of the run's whole levels. constant_kw: of all GPUs, where nothing measured them."""
    facts = gpu_facts(run.manifest.get("telemetry"), constant_kw, price.gpus)
    profile = (run.manifest.get("preflight") or {}).get("profile")
    series = None if run.server is None else ServerSeries(run.server)
    servers = {use.concurrency: use for use in server_use(series, windows_of(run.manifest, rows))}
    energies: dict[int, PointEnergy | None] = {}
    uses: dict[int, GpuUse | None] = {}
    warnings: list[Warn] = []
    for point in points:
        level = point.concurrency
        windows = level_windows(rows, level)
        energy = point_energy(run.gpu, windows, point, facts)
        energies[level] = None if energy is None else priced(energy, point, price)
        uses[level] = None if run.gpu is None else gpu_use(run.gpu, windows, facts.used, mig=facts.mig)
        warnings += [warn for warn in energy.codes if _counts(warn, energy)] if energy is not None else []
        warnings += check_telemetry(uses[level], servers.get(level), level, profile)
    hourly = None if price.owned is None else level_prices(price, energies)
    return Power(energies, uses, (*warnings, *power_warnings(price, energies)), hourly)


def _counts(warn: Warn, energy: PointEnergy) -> bool:
    if warn.code == "energy_window_short":
        return energy.error_ratio is not None and energy.error_ratio > MAX_ERROR
    return warn.code not in _ASIDES
