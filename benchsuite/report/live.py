"""What a running sweep shows: a few live lines under a growing table, or plain lines where there is no terminal.

Drawn from the parent's own loop, never from a thread: the measuring processes are not disturbed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from benchsuite.analysis.gpu import POWER, THROTTLES
from benchsuite.records import GpuSample, ServerSample
from benchsuite.report.console import bar, safe, say, spark
from benchsuite.report.format import DASH, ms, number, tail
from benchsuite.results import PointSummary

if TYPE_CHECKING:
    import pyarrow as pa


_ONE_KNOWN = -0.5  # between a server that is full already and one that scales with its users


def point_s(level: int, known_s: Mapping[int, float]) -> float | None:
    """Seconds that a point at `level` takes, where points at other levels took known_s. None: nothing is known.

    The same set at N users takes t ~ N^s: s from the two nearest levels, in [-1, 0] outside of them, -0.5 from one.
    """
    if level in known_s or not known_s:
        return known_s.get(level)
    levels = sorted(one for one in known_s if known_s[one] > 0)
    if not levels:
        return None
    below = [one for one in levels if one < level]
    if len(levels) == 1:
        near, slope = levels[0], _ONE_KNOWN
    elif below and len(below) < len(levels):
        near, slope = below[-1], _slope(below[-1], levels[len(below)], known_s)
    else:
        near, other = levels[-2:][::-1] if below else levels[:2]
        slope = min(0.0, max(-1.0, _slope(near, other, known_s)))
    return float(known_s[near] * (level / near) ** slope)


def _slope(one: int, other: int, known_s: Mapping[int, float]) -> float:
    return log(known_s[other] / known_s[one]) / log(other / one)


def sweep_left_s(to_come: Sequence[int], known_s: Mapping[int, float], point_left_s: float | None) -> float | None:
    """Seconds until the sweep ends. to_come: the levels after the present point, of which point_left_s is left."""
    each = [point_s(level, known_s) for level in to_come]
    if point_left_s is None or None in each:
        return None
    return point_left_s + sum(one for one in each if one is not None)


CELLS = 40  # one a second
_SHORTEST_S, _LONGEST_S = 2.0, 10.0


class Recent:
    """Counts of a point as they were a moment ago. Counts move when requests end, so rates are over some seconds."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=400)
        self._tokens: deque[float] = deque(maxlen=400)
        self._ended: deque[float] = deque(maxlen=400)
        self._ttft_sum_s: deque[float] = deque(maxlen=400)

    def note(self, elapsed_s: float, output_tokens: int, ended: int, ttft_sum_s: float) -> None:
        """The counts at `elapsed_s` after the point began."""
        for kept, value in zip(
            (self._times_s, self._tokens, self._ended, self._ttft_sum_s),
            (elapsed_s, output_tokens, ended, ttft_sum_s),
            strict=True,
        ):
            kept.append(value)

    def tok_s(self, users: int) -> list[float | None]:
        """(<= CELLS,): output tokens/s of requests that ended, one a second up to now; None before the first end."""
        if not self._ended or not self._ended[-1]:
            return []
        window_s = self._window_s(users)
        return [None if d is None else d / s for d, s in self._changes(self._tokens, window_s)]

    def ttft_s(self, users: int) -> list[float | None]:
        """(<= CELLS,): mean TTFT of the requests that ended lately, one a second up to now; None where none did."""
        if not self._ended or not self._ended[-1] or not self._ttft_sum_s[-1]:
            return []
        window_s = self._window_s(users)
        sums, ends = self._changes(self._ttft_sum_s, window_s), self._changes(self._ended, window_s)
        return [s / n if s is not None and n and s > 0 else None for (s, _), (n, _) in zip(sums, ends, strict=True)]

    def _window_s(self, users: int) -> float:
        """About the time of a request (Little's law), so that a wave of ends is no peak and its absence no zero."""
        request_s = users * self._times_s[-1] / self._ended[-1]
        return min(_LONGEST_S, max(_SHORTEST_S, request_s))

    def _changes(self, values: Sequence[float], window_s: float) -> list[tuple[float | None, float]]:
        """The change over the window that ends in each cell, and the window's length in seconds."""
        times_s, last_s = list(self._times_s), self._times_s[-1]
        known = list(values)
        found: list[tuple[float | None, float]] = []
        for back in range(CELLS - 1, -1, -1):
            end_s = last_s - back
            start_s = max(end_s - window_s, 0.0)
            if end_s <= 0 or end_s < times_s[0]:
                continue
            one = at(end_s, times_s, known)
            before = 0.0 if start_s <= 0 else at(start_s, times_s, known)
            change = None if one is None or before is None else one - before
            found.append((change, end_s - start_s))
        return found


def at(time_s: float, times_s: Sequence[float], values: Sequence[float]) -> float | None:
    """`values` (known at times_s, which rise) at time_s, on the straight line between neighbours.

    The first value before the first time; None where nothing is known yet.
    """
    if not times_s or time_s > times_s[-1]:
        return None
    if time_s <= times_s[0]:
        return values[0]
    for (t0, v0), (t1, v1) in pairwise(zip(times_s, values, strict=True)):
        if t0 <= time_s <= t1:
            return v1 if t1 == t0 else v0 + (v1 - v0) * (time_s - t0) / (t1 - t0)
    return None


class Region:
    """The lines that are drawn anew. The cursor stays at the end of the last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._cells: list[int] = []

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines instead of those drawn before; what the terminal is too small for is left out."""
        # a full line would wrap, and a terminal writes ^C behind the last one; a full screen would scroll
        width, height = max(1, self._console.width - 3), max(1, self._console.height - 1)
        with self._console:
            self.clear()
            for i, line in enumerate(lines[:height]):
                shown = line.copy()
                shown.truncate(width, overflow="ellipsis")
                self._console.print(Text("\n") + shown if i else shown, end="", no_wrap=True, overflow="ignore")
                self._cells.append(shown.cell_len)

    def clear(self) -> None:
        """Take the lines away; the cursor is then where the first began."""
        if not self._cells:
            return
        codes: list[ControlType | tuple[ControlType, int]] = [ControlType.CARRIAGE_RETURN]
        codes += [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * (self._rows() - 1)
        self._console.control(Control(*codes, (ControlType.ERASE_IN_LINE, 2)))
        self._cells = []

    def _rows(self) -> int:
        """How many rows the lines take now: a terminal that was made narrower has wrapped them."""
        width = max(1, self._console.width)
        return sum(-(-max(1, cells) // width) for cells in self._cells)


_LABEL, _BAR, _WIDE_BAR, _PANEL_WIDE = 11, 24, 40, 100
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
    width = _WIDE_BAR if console.width >= _PANEL_WIDE else _BAR
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
    width = _WIDE_BAR if console.width >= _PANEL_WIDE else _BAR
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


_TERMINAL_EVERY_S = 0.25
_PLAIN_EVERY_S = 5.0
_WIDE = 100
_COLUMNS = (
    ("users", 6), ("repeat", 7), ("ok", 7), ("failed", 7), ("wall s", 8), ("TTFT ms", 9), ("TPOT ms", 9),
    ("tok/s/user", 11), ("out tok/s", 11),
)  # fmt: skip
_MORE_COLUMNS = (("TTFT p95 ms", 13), ("E2E s", 8), ("req/s", 8))


class FoundLike(Protocol):
    """What the preflight found; load.preflight.Preflight."""

    @property
    def model(self) -> str: ...
    @property
    def facts(self) -> dict[str, Any]: ...


def is_plain(console: Console, environment: Mapping[str, str]) -> bool:
    """True where lines are better than a live view: no terminal, TERM=dumb, NO_COLOR, or a CI job."""
    ci = environment.get("CI", "").lower() not in ("", "0", "false")
    return not console.is_terminal or console.is_dumb_terminal or ci or bool(environment.get("NO_COLOR"))


class SweepView:
    """Shows a sweep as it runs. Use as a context manager: leaving it takes the live lines away.

    quiet: nothing at all. plain: lines of text instead of live ones; None: where `is_plain` says so.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        console: Console | None = None,
        plain: bool | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console()
        self._quiet, self._now_s = quiet, now_s
        self._plain = is_plain(self._console, os.environ) if plain is None else plain
        self._region = Region(self._console)
        self._notes: deque[str] = deque()
        self._thread, self._drawing = threading.get_ident(), False
        self._shown: tuple[int, str] | None = None
        self._shown_at_s = 0.0
        self._restart()

    def _restart(self) -> None:
        """Nothing is known of the sweep: a new one begins."""
        self._shown, self._headed = None, False
        self._taken_s: dict[int, float] = {}
        self._began_s: float | None = None
        self._point_began_s = 0.0
        self._recent = Recent()

    def __enter__(self) -> SweepView:
        return self

    def __exit__(self, *_: object) -> None:
        self._say_notes()
        self._region.clear()

    def begun(self, run_id: str, path: Path, found: FoundLike) -> None:
        """The server answered; measuring starts."""
        if self._quiet:
            return
        self._restart()
        counts = "reports its token counts" if found.facts.get("reports_usage") else "does not report token counts"
        self._say_notes()
        self._region.clear()
        say(self._console, f"run {run_id} in {path}")
        say(self._console, f"{found.model} on {found.facts.get('profile', 'a server')}, which {counts}")

    def progress(self, step: StepLike, progress: ProgressLike, elapsed_s: float) -> None:
        """Called often; draws at most 4 times a second, or a line every 5 s where there is no terminal."""
        if self._quiet:
            return
        every_s = _PLAIN_EVERY_S if self._plain else _TERMINAL_EVERY_S
        fresh = self._shown != (step.index, step.phase)
        if fresh:
            self._note_phase(step)
        elif elapsed_s - self._shown_at_s < every_s:
            if self._notes:
                self._say_notes()
            return
        self._shown, self._shown_at_s = (step.index, step.phase), elapsed_s
        ended = progress.done + progress.failed
        self._recent.note(elapsed_s, progress.output_tokens, ended, (progress.ttft_s or 0.0) * ended)
        self._drawing = True
        try:
            if self._plain:
                self._say_notes(now=True)
                self._plain_line(step, progress, elapsed_s, fresh)
            else:
                with self._console:
                    self._say_notes(now=True)
                    times = self._times(step, progress, elapsed_s)
                    self._region.draw(panel(self._console, step, progress, elapsed_s, self._recent, times))
        finally:
            self._drawing = False

    def point_done(self, step: StepLike, rows: pa.Table, wall_s: float) -> None:
        """The point's row; its figures are computed from its rows as the report's are."""
        if self._quiet:
            return
        from benchsuite.analysis.metrics import summarise_points

        points = summarise_points(rows, model=None, intervals=False)
        self._taken_s[step.plan.concurrency] = self._now_s() - self._point_began_s
        self._say_notes()
        self._region.clear()
        cells = _cells(step, points[0] if points else None, wall_s)
        if not self._plain:
            if not self._headed:  # above the first row, so that notes of the start do not part them
                self._row([name for name, _ in self._columns()], style="bold")
            self._headed = True
            self._row(cells[: len(self._columns())])
        else:
            named = ", ".join(f"{name} {cell}" for (name, _), cell in zip(_COLUMNS[2:], cells[2:], strict=False))
            say(self._console, f"{_place(step)} done: {named}")

    def note(self, text: str) -> None:
        """Something that the person at the terminal should know now. From any thread; signal handlers too."""
        if self._quiet:
            return
        self._notes.append(text)
        if threading.get_ident() == self._thread and not self._drawing:
            self._say_notes()

    def _say_notes(self, *, now: bool = False) -> None:
        """Print the notes that wait, above the live lines. Only the view's own thread prints."""
        if self._drawing and not now:
            return
        while self._notes:
            self._region.clear()
            say(self._console, self._notes.popleft(), style="yellow")

    def _note_phase(self, step: StepLike) -> None:
        now_s = self._now_s()
        if self._shown is None or self._shown[0] != step.index or self._shown[1] == "measuring idle power":
            self._point_began_s = now_s
        if self._began_s is None:
            self._began_s = now_s
        self._recent = Recent()

    def _times(self, step: StepLike, progress: ProgressLike, elapsed_s: float) -> Times:
        """What is known of the time left; the present point, once it is under way, counts as known too."""
        now_s = self._now_s()
        spent_s, level, known_s = now_s - self._point_began_s, step.plan.concurrency, dict(self._taken_s)
        left_s = point_left_s(step, progress, elapsed_s)
        if left_s is not None:
            known_s[level] = spent_s + left_s
        elif (whole_s := point_s(level, known_s)) is not None:
            left_s = max(0.0, whole_s - spent_s)
        began_s = now_s if self._began_s is None else self._began_s
        return Times(now_s - began_s, sweep_left_s(step.levels[step.index + 1 :], known_s, left_s), left_s)

    def _plain_line(self, step: StepLike, progress: ProgressLike, elapsed_s: float, fresh: bool) -> None:
        if fresh and not step.n_requests and not step.at_least_s:
            return  # a wait that is over at once, as a rule; if not, the line of the next 5 s tells
        if fresh and step.n_requests:
            say(self._console, f"{_place(step)}: {step.phase}, {step.n_requests} requests")
        elif not step.n_requests:
            say(self._console, f"{_place(step)}: {step.phase}, {span(step, elapsed_s)}")
        else:
            left_s = self._times(step, progress, elapsed_s).left_s if step.n_points > 1 else None
            beside = [words for _, words, _ in gpu_lines(step.latest) if step.latest.gpus]
            beside.append(server_words(step.latest.servers))
            whole = "" if left_s is None else f", sweep {clock(left_s)}"
            words = "".join(f"; {words}" for words in beside if words)
            say(self._console, progress_line(step, progress, elapsed_s) + whole + words)

    def _columns(self) -> tuple[tuple[str, int], ...]:
        return (*_COLUMNS, *_MORE_COLUMNS) if self._console.width > _WIDE + 8 else _COLUMNS

    def _row(self, cells: list[str], style: str = "") -> None:
        line = "".join(cell.rjust(width) for cell, (_, width) in zip(cells, self._columns(), strict=False))
        self._console.print(Text(safe(self._console, line), style=style), no_wrap=True, overflow="crop")


def progress_line(step: StepLike, progress: ProgressLike, elapsed_s: float) -> str:
    """'[3/12] 16 users  48/64 done, 0 failed, 312 tok/s, TTFT 41 ms, ETA 0:12'. The ETA is the point's."""
    ended = progress.done + progress.failed
    rate = progress.output_tokens / elapsed_s if elapsed_s > 0 and ended else None
    phase = "" if step.phase == "measuring" else f", {step.phase}"
    return (
        f"{_place(step)}{phase} {ended}/{max(step.n_requests, ended)} done, {progress.failed} failed, "
        f"{number(rate)} tok/s, TTFT {ms(progress.ttft_s)} ms, ETA {clock(point_left_s(step, progress, elapsed_s))}"
    )


def _place(step: StepLike) -> str:
    return f"[{step.index + 1}/{step.n_points}] {users_words(step)}"


def _cells(step: StepLike, point: PointSummary | None, wall_s: float) -> list[str]:
    place = [str(step.plan.concurrency), str(step.plan.repeat + 1)]
    if point is None:
        return [*place, "0", "0", number(wall_s), *[DASH] * 7]
    return [
        *place,
        str(point.n_ok),
        DASH if point.n_failed is None else str(point.n_failed),
        number(wall_s if point.duration_s is None else point.duration_s),
        ms(point.ttft_s.mean),
        ms(point.tpot_s.mean),
        number(point.output_tok_s_per_user),
        number(point.output_tok_s),
        ms(tail(point.ttft_s, "p95")),
        number(point.e2e_s.mean),
        number(point.request_per_s),
    ]
