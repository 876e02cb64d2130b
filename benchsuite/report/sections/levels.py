"""GPU use, power and energy over the concurrency level, where they were measured. GPUs only, the host not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchsuite.report.charts import Point, Series
from benchsuite.report.figures import Figure, Row, level_figure
from benchsuite.report.titles import course, least
from benchsuite.report.words import DASH, number, percent
from benchsuite.results import Decision, GpuUse, Judged, Spread

_ACTIVITY: tuple[tuple[str, Callable[[GpuUse], Spread | None]], ...] = (
    ("any kernel", lambda use: use.util_ratio),
    ("SM", lambda use: use.sm_active_ratio),
    ("tensor", lambda use: use.tensor_active_ratio),
    ("DRAM", lambda use: use.dram_active_ratio),
)
GPU_HEAD = (
    "users", "kernels running", "SM active", "tensor cores", "DRAM active", "memory in use", "power W", "limit W",
    "SM clock MHz", "hottest °C", "throttled s", "readings",
)  # fmt: skip
ENERGY_HEAD = (
    "users", "from", "window s", "energy J", "above idle J", "mean W", "J per output token", "above idle",
    "J per request", "error up to", "g CO2 per 1M output", "electricity $ per 1M output",
)  # fmt: skip


def gpu_figures(judged: Sequence[Judged], decision: Decision) -> list[Figure]:
    """Activity, power and energy per token; [] where nothing was measured."""
    found = []
    series = [one for name, get in _ACTIVITY if (one := _activity(name, get, judged)) is not None]
    if series:
        title = course("GPU use (any kernel running)", series[0], "%") if series[0].name == "any kernel" else "GPU use"
        note = "Any kernel running is the driver's utilisation: near 100 % already at few users, so no measure of room."
        found.append(level_figure(title, series, "GPU activity (%)", judged, decision, note=note))
    watts = _series("power", judged, lambda j: _watts(j))
    if any(p.y is not None for p in watts.points):
        found.append(level_figure(course("GPU power", watts, "W"), [watts], "power of all GPUs (W)", judged, decision))
    joules = _series("gross", judged, lambda j: None if j.energy is None else j.energy.j_per_output_token)
    net = _series("above idle", judged, lambda j: None if j.energy is None else j.energy.net_j_per_output_token)
    if any(p.y is not None for p in joules.points):
        title = least(
            "a token takes the least energy", [(j, p.y) for j, p in zip(judged, joules.points, strict=True)], _joule
        )
        shown = [joules, *([net] if any(p.y is not None for p in net.points) else [])]
        note = "GPUs only: host, fans and losses of the power supply are not in it."
        found.append(level_figure(title, shown, "energy (J per output token)", judged, decision, note=note))
    return found


def _joule(value: float) -> str:
    return f"{number(value)} J"


def _watts(j: Judged) -> float | None:
    if j.gpu is not None and j.gpu.power_w is not None:
        return j.gpu.power_w
    return None if j.energy is None else j.energy.mean_w


def _series(name: str, judged: Sequence[Judged], value: Callable[[Judged], float | None]) -> Series:
    return Series(name, tuple(Point(j.point.concurrency, value(j)) for j in judged))


def _activity(name: str, get: Callable[[GpuUse], Spread | None], judged: Sequence[Judged]) -> Series | None:
    """Percent, with the least and the greatest GPU as ends where there are several. None if no level knows it."""

    def at(j: Judged) -> Point:
        found = None if j.gpu is None else get(j.gpu)
        if found is None:
            return Point(j.point.concurrency, None)
        if j.gpu is not None and len(j.gpu.uuids) > 1:
            return Point(j.point.concurrency, 100 * found.mean, 100 * found.least, 100 * found.greatest)
        return Point(j.point.concurrency, 100 * found.mean)

    series = Series(name, tuple(at(j) for j in judged))
    return series if any(p.y is not None for p in series.points) else None


def gpu_rows(judged: Sequence[Judged]) -> list[Row]:
    """A row per level with samples of GPUs."""
    return [_gpu_row(j.point.concurrency, j.gpu) for j in judged if j.gpu is not None]


def _gpu_row(level: int, use: GpuUse) -> Row:
    shares = (use.util_ratio, use.sm_active_ratio, use.tensor_active_ratio, use.dram_active_ratio, use.memory_ratio)
    throttled = DASH if use.throttle_s is None else "0"
    if use.throttle_s:
        throttled = ", ".join(f"{reason} {number(s)}" for reason, s in use.throttle_s.items())
    return (
        str(level),
        *(percent(None if share is None else share.mean) for share in shares),
        number(use.power_w),
        number(use.power_limit_w),
        number(None if use.sm_clock_mhz is None else use.sm_clock_mhz.mean),
        number(use.temperature_max_c),
        throttled,
        f"{use.n_samples} ({percent(use.coverage_ratio)} of the time)",
    )


def energy_rows(judged: Sequence[Judged]) -> list[Row]:
    """A row per level with energy."""
    rows: list[Row] = []
    for j in judged:
        found = j.energy
        if found is None:
            continue
        cells = (
            number(found.window_s), number(found.gross_j), number(found.net_j), number(found.mean_w),
            number(found.j_per_output_token), number(found.net_j_per_output_token), number(found.j_per_request),
            percent(found.error_ratio), number(found.gco2_g_per_1m_output_tokens),
            number(found.electricity_usd_per_1m_output_tokens),
        )  # fmt: skip
        rows.append((str(j.point.concurrency), found.method or DASH, *cells))
    return rows
