"""The lines of a running sweep: the point and the sweep with their time left, rates, GPUs, the server. Text only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from benchsuite.analysis.gpu_use import POWER, THROTTLES
from benchsuite.records import GpuSample, ServerSample
from benchsuite.report.console import bar, safe, spark
from benchsuite.report.recent import CELLS, Recent
from benchsuite.report.words import DASH, ms, number

_LABEL, _BAR, _WIDE_BAR, _WIDE = 11, 24, 40, 100
_MEASURING = "measuring"
_HINT = "Ctrl-C: finish what is in flight and stop; twice: stop at once"


class PointPlanLike(Protocol):
    """The part of a planned point that is shown."""

    @property
    def concurrency(self) -> int: ...
    @property
    def repeat(self) -> int: ...


class LatestLike(Protocol):
    """The last readings of GPUs and servers; load.view.Latest."""

    @property
    def gpus(self) -> tuple[GpuSample, ...]: ...
    @property
    def servers(self) -> tuple[ServerSample, ...]: ...
    @property
    def no_gpu(self) -> str | None: ...


class StepLike(Protocol):
    """Where the sweep is; load.view.Step."""

    @property
    def index(self) -> int: ...
    @property
    def n_points(self) -> int: ...
    @property
    def plan(self) -> PointPlanLike: ...
    @property
    def phase(self) -> str: ...
    @property
    def n_requests(self) -> int: ...
    @property
    def at_least_s(self) -> float: ...
    @property
    def at_most_s(self) -> float | None: ...
    @property
    def levels(self) -> tuple[int, ...]: ...
    @property
    def latest(self) -> Any: ...


class ProgressLike(Protocol):
    """Live figures; load.workers.Progress. done: requests that ended well."""

    @property
    def done(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def ttft_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds since the sweep's first point began, seconds left of the sweep and of its present point, or None."""

    elapsed_s: float
    left_s: float | None
    point_left_s: float | None


def point_left_s(step: StepLike, progress: ProgressLike, elapsed_s: float) -> float | None:
    """Seconds until the measured point ends, at its rate so far. None in other phases, and before a wave has ended."""
    ended = progress.done + progress.failed
    if step.phase != _MEASURING or ended < max(1, min(step.plan.concurrency, step.n_requests // 4)):
        return None
    return max(0.0, elapsed_s * (step.n_requests - ended) / ended)


def panel(
    console: Console,
    step: StepLike,
    progress: ProgressLike,
    elapsed_s: float,
    recent: Recent,
    times: Times,
) -> list[Text]:
    """All lines. elapsed_s: of the phase."""
    users = step.plan.concurrency
    rates, ttfts = recent.tok_s(users), recent.ttft_s(users)
    lines = [
        _line(
            console,
            f"point {step.index + 1}/{step.n_points}",
            _point(console, step, progress, elapsed_s, times),
            "cyan",
        ),
        _line(console, "", what(step) + (f", {progress.failed} failed" * (progress.failed > 0)), "bold"),
        _line(console, "sweep", _sweep(console, step, times), "cyan"),
    ]
    if step.n_requests:
        rate = rates[-1] if rates else None
        ttft = next((one for one in reversed(ttfts) if one is not None), progress.ttft_s)
        lines += [
            _line(console, "out tok/s", f"{number(rate):>7}  ", "", spark(console, rates[-CELLS:])),
            _line(console, "TTFT ms", f"{ms(ttft):>7}  ", "", spark(console, ttfts[-CELLS:])),
        ]
    lines += [_line(console, head, words, style) for head, words, style in gpu_lines(step.latest)]
    words = server_words(step.latest.servers)
    if words:
        lines.append(_line(console, "server", words, ""))
    return [*lines, _line(console, "", _HINT, "dim")]


def what(step: StepLike) -> str:
    """'16 users, repeat 2: warming up'."""
    return f"{users_words(step)}: {step.phase}"


def users_words(step: StepLike) -> str:
    """'16 users, repeat 2'."""
    users = f"{step.plan.concurrency} user{'s' * (step.plan.concurrency > 1)}"
    return users + (f", repeat {step.plan.repeat + 1}" * (step.plan.repeat > 0))


def clock(seconds: float | None) -> str:
    """'0:12', '1:02:03'."""
    if seconds is None:
        return DASH
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span(step: StepLike, elapsed_s: float) -> str:
    """How long a phase without a count of requests takes: '0:03 of 0:10', '0:03, at least 0:30, at most 5:00'."""
    if step.phase == "measuring idle power":
        return f"{clock(elapsed_s)} of {clock(step.at_least_s)}"
    ends = [("at least", step.at_least_s or None), ("at most", step.at_most_s)]
    return ", ".join([clock(elapsed_s), *(f"{word} {clock(end)}" for word, end in ends if end is not None)])


def _point(console: Console, step: StepLike, progress: ProgressLike, elapsed_s: float, times: Times) -> str:
    width = _WIDE_BAR if console.width >= _WIDE else _BAR
    ended, total = progress.done + progress.failed, step.n_requests
    if not total:
        whole_s = step.at_least_s or step.at_most_s or 0.0
        return f"{bar(console, elapsed_s / whole_s if whole_s else 0.0, width)}  {span(step, elapsed_s)}"
    by_time = elapsed_s / step.at_least_s if step.phase != _MEASURING and step.at_least_s else 1.0
    counted = f"{bar(console, min(ended / total, by_time), width)}  {ended}/{max(total, ended)}  "
    if step.phase != _MEASURING:
        return counted + span(step, elapsed_s)
    left_s = times.point_left_s
    return counted + clock(elapsed_s) + ("" if left_s is None else f", about {clock(left_s)} left")


def _sweep(console: Console, step: StepLike, times: Times) -> str:
    elapsed_s, left_s = times.elapsed_s, times.left_s
    width = _WIDE_BAR if console.width >= _WIDE else _BAR
    ratio = step.index / step.n_points if left_s is None else elapsed_s / max(elapsed_s + left_s, 1e-9)
    left = "" if left_s is None else f", about {clock(left_s)} left"
    return f"{bar(console, ratio, width)}  {step.index}/{step.n_points} done  {clock(elapsed_s)}{left}"


def gpu_lines(latest: LatestLike) -> list[tuple[str, str, str]]:
    """(label, words, style): a line for each of up to two GPUs, one for all of more; or why there is none."""
    gpus = latest.gpus
    if not gpus:
        why = (latest.no_gpu or "").removeprefix("no GPU telemetry: ").partition(" (")[0].partition(";")[0]
        return [("GPU", f"not sampled: {why}", "dim")] if why else []
    if len(gpus) > 2:
        return [(f"{len(gpus)} GPUs", _gpu_words(gpus), "yellow" if any(map(_throttles, gpus)) else "")]
    return [
        (f"GPU {i + 1}" if len(gpus) > 1 else "GPU", _gpu_words([one]), "yellow" if _throttles(one) else "")
        for i, one in enumerate(gpus)
    ]


def server_words(servers: Sequence[ServerSample]) -> str:
    """'16 running, 0 waiting, KV cache 34 %', summed over servers; '' where none tells."""
    words = []
    for field, word in (("running", "running"), ("waiting", "waiting")):
        known = [value for one in servers if (value := getattr(one, field)) is not None]
        if known and len(known) == len(servers):
            words.append(f"{sum(known):.0f} {word}")
    full = max((one.kv_cache_ratio for one in servers if one.kv_cache_ratio is not None), default=None)
    if full is not None:
        words.append(f"KV cache {full:.0%}".replace("%", " %"))
    return ", ".join(words)


def _gpu_words(gpus: Sequence[GpuSample]) -> str:
    lost = [one.error for one in gpus if one.error and one.util_ratio is None and _power_w(one) is None]
    words = [f"{len(lost)} lost: {lost[0]}" if len(gpus) > 1 else f"lost: {lost[0]}"] if lost else []
    powers, limits = _known(gpus, _power_w), _known(gpus, lambda one: one.power_limit_w)
    used, total = (_known(gpus, lambda one, f=field: getattr(one, f)) for field in _MEMORY)
    busy, clocks = _known(gpus, lambda one: one.util_ratio), _known(gpus, lambda one: one.sm_clock_mhz)
    warm = _known(gpus, lambda one: one.temperature_c)
    if busy:
        words.append(f"{_range([100 * one for one in busy])} % busy")
    if powers:
        words.append(f"{sum(powers):,.0f}" + (f" of {sum(limits):,.0f}" if len(limits) == len(powers) else "") + " W")
    if used:
        words.append(_gb(sum(used)) + (f" of {_gb(sum(total))}" if len(total) == len(used) else "") + " GB")
    if clocks:
        words.append(f"{_range(clocks)} MHz")
    if warm:
        words.append(f"{_range(warm)} \u00b0C")
    return ", ".join([*words, *dict.fromkeys(name for one in gpus for name in _throttles(one))]) or "tells nothing yet"


_MEMORY = ("memory_used_bytes", "memory_total_bytes")


def _known(gpus: Sequence[GpuSample], read: Any) -> list[float]:
    return [value for one in gpus if (value := read(one)) is not None]


def _power_w(one: GpuSample) -> float | None:
    return next((value for field in POWER if (value := getattr(one, field)) is not None), None)


def _throttles(one: GpuSample) -> list[str]:
    """Names of the throttle reasons that hold now."""
    return [f"throttled: {name}" for name, bit in THROTTLES.items() if (one.throttle_reasons or 0) & bit]


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
    return low if low == high else f"{low}-{high}"


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f}"


def _line(console: Console, label: str, words: str, style: str, drawn: str = "") -> Text:
    text = Text(safe(console, label.ljust(_LABEL)), style="bold")
    text.append(safe(console, words), style=f"not bold {style}" if style != "bold" else style)
    return text.append(drawn, style="not bold green")
