"""What a running sweep shows: a few live lines under a growing table, or plain lines where there is no terminal.

Drawn from the parent's own loop, never from a thread: the measuring processes are not disturbed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from benchsuite.analysis.gpu import POWER, THROTTLES
from benchsuite.analysis.requests import Floats
from benchsuite.manifest import RunManifest
from benchsuite.progress import LatestReadings, PlannedPoint, ProgressSnapshot
from benchsuite.records import GpuSample, ServerSample
from benchsuite.report.console import bar, safe, say, spark
from benchsuite.report.format import DASH, ms, number, tail
from benchsuite.results import PointSummary

_LABEL, _BAR, _WIDE_BAR, _WIDE = 11, 24, 40, 100
_MEASURING, _IDLE_POWER = "measuring", "measuring idle power"
_HINT = "Ctrl-C: finish what is in flight and stop; twice: stop at once"
_TERMINAL_EVERY_S, _PLAIN_EVERY_S = 0.25, 5.0
_COLUMNS = (
    ("concurrency", 11), ("repeat", 7), ("successful", 11), ("failed", 7), ("duration s", 11), ("TTFT ms", 8),
    ("TPOT ms", 8), ("tok/s/user", 11),
)  # fmt: skip
_MORE_COLUMNS = (("output tok/s", 13), ("TTFT p95 ms", 12), ("E2E s", 7), ("req/s", 7))


def point_duration_s(level: float, known_s: Mapping[float, float]) -> float | None:
    """Seconds that a point at `level` takes, where points at other levels took known_s. None: nothing is known.

    The same set at N users takes t ~ N^s: s from the two nearest levels, in [-1, 0] outside of them. From one level
    -0.5, between a server that is full already and one that scales with its users.
    """
    levels = sorted(one for one in known_s if known_s[one] > 0)
    if level in known_s or not levels:
        return known_s.get(level)
    below = [one for one in levels if one < level]

    def slope(one: float, other: float) -> float:
        return log(known_s[other] / known_s[one]) / log(other / one)

    if len(levels) == 1:
        near, power = levels[0], -0.5
    elif below and len(below) < len(levels):
        near, power = below[-1], slope(below[-1], levels[len(below)])
    else:
        near, other = levels[-2:][::-1] if below else levels[:2]
        power = min(0.0, max(-1.0, slope(near, other)))
    return float(known_s[near] * (level / near) ** power)


def sweep_remaining_s(to_come: Sequence[float], known_s: Mapping[float, float], point_s: float | None) -> float | None:
    """Seconds until the sweep ends. to_come: the levels after the present point, of which point_s is left."""
    each = [point_duration_s(level, known_s) for level in to_come]
    if point_s is None or None in each:
        return None
    return point_s + sum(one for one in each if one is not None)


def point_remaining_s(point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> float | None:
    """Seconds until the measured point ends, at its rate so far. None in other phases, and before a wave has ended."""
    ended = progress.ended
    if point.phase != _MEASURING or ended < max(1, min(point.level.concurrency or 1, point.n_requests // 4)):
        return None
    return max(0.0, elapsed_s * (point.n_requests - ended) / ended)


CELLS = 40  # one a second
_SHORTEST_S, _LONGEST_S = 2.0, 10.0


class RollingRates:
    """Rates of a phase as they were a moment ago. Counts move when requests end, so rates are over some seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, float, float]] = deque(maxlen=400)  # time, tokens, ended, sum of TTFT

    def note(self, elapsed_s: float, progress: ProgressSnapshot) -> None:
        """The counts at `elapsed_s` after the phase began."""
        ttft_sum_s = (progress.ttft_s or 0.0) * progress.ended
        self._seen.append((elapsed_s, progress.output_tokens, progress.ended, ttft_sum_s))

    def tok_s(self, users: int) -> list[float | None]:
        """(<= CELLS,): output tokens/s of requests that ended, one a second up to now; [] before the first end."""
        change, seconds = self._changes(1, users)
        return list(change / seconds)

    def ttft_s(self, users: int) -> list[float | None]:
        """(<= CELLS,): mean TTFT of the requests that ended lately, one a second up to now; None where none did."""
        (sums_s, _), (ended, _) = self._changes(3, users), self._changes(2, users)
        known = [s / n if n and s > 0 else None for s, n in zip(sums_s, ended, strict=True)]
        return known if self._seen and self._seen[-1][3] else []

    def _changes(self, column: int, users: int) -> tuple[Floats, Floats]:
        """The change over the window that ends in each cell, and the window's length in seconds."""
        if not self._seen or not self._seen[-1][2]:
            return np.empty(0), np.empty(0)
        seen = np.array(self._seen)
        times_s, last_s = seen[:, 0], seen[-1, 0]
        # about the time of a request (Little's law), so that a wave of ends is no peak and its absence no zero
        window_s = min(_LONGEST_S, max(_SHORTEST_S, users * last_s / seen[-1, 2]))
        ends_s = last_s - np.arange(CELLS - 1, -1, -1.0)
        ends_s = ends_s[(ends_s > 0) & (ends_s >= times_s[0])]
        starts_s = np.maximum(ends_s - window_s, 0.0)
        after, before = (np.interp(at_s, times_s, seen[:, column]) for at_s in (ends_s, starts_s))
        return after - np.where(starts_s > 0, before, 0.0), ends_s - starts_s


class RedrawnLines:
    """The lines that are drawn anew, in one write. The cursor stays at the end of the last.

    Not rich.live: that leaves rows behind when a terminal is made narrower, and hides the cursor, which a killed
    process never shows again.
    """

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
        width = max(1, self._console.width)
        rows = sum(-(-max(1, cells) // width) for cells in self._cells)  # a terminal made narrower has wrapped them
        codes: list[ControlType | tuple[ControlType, int]] = [ControlType.CARRIAGE_RETURN]
        codes += [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * (rows - 1)
        self._console.control(Control(*codes, (ControlType.ERASE_IN_LINE, 2)))
        self._cells = []


class Remaining(NamedTuple):
    """Seconds since the sweep's first point began, seconds left of the sweep and of its present point, or None."""

    elapsed_s: float
    sweep_s: float | None
    point_s: float | None


def panel(
    console: Console,
    point: PlannedPoint,
    progress: ProgressSnapshot,
    elapsed_s: float,
    rates: RollingRates,
    left: Remaining,
) -> list[Text]:
    """All lines. elapsed_s: of the phase."""

    def line(label: str, words: str, style: str, sparks: str = "") -> Text:
        text = Text(safe(console, label.ljust(_LABEL)), style="bold")
        text.append(safe(console, words), style=f"not bold {style}" if style != "bold" else style)
        return text.append(sparks, style="not bold green")

    width = _WIDE_BAR if console.width >= _WIDE else _BAR
    ratio = point.index / point.n_points
    if left.sweep_s is not None:
        ratio = left.elapsed_s / max(left.elapsed_s + left.sweep_s, 1e-9)
    swept = f"{bar(console, ratio, width)}  {point.index}/{point.n_points} done  {clock(left.elapsed_s)}"
    failed = f", {progress.failed} failed" * (progress.failed > 0)
    place = _point_line(console, width, point, progress, elapsed_s, left.point_s)
    lines = [
        line(f"point {point.index + 1}/{point.n_points}", place, "cyan"),
        line("", f"{users_words(point)}: {point.phase}{failed}", "bold"),
        line("sweep", swept + _about_left(left.sweep_s), "cyan"),
    ]
    if point.n_requests:
        users = point.level.concurrency or 1
        tok_s, ttfts_s = rates.tok_s(users), rates.ttft_s(users)
        ttft_s = next((one for one in reversed(ttfts_s) if one is not None), progress.ttft_s)
        for label, value, values in (
            ("out tok/s", number(tok_s[-1] if tok_s else None), tok_s),
            ("TTFT ms", ms(ttft_s), ttfts_s),
        ):
            lines.append(line(label, f"{value:>7}  ", "", spark(console, values[-CELLS:])))
    lines += [line(label, words, style) for label, words, style in gpu_lines(point.readings)]
    if words := server_words(point.readings.servers):
        lines.append(line("server", words, ""))
    return [*lines, line("", _HINT, "dim")]


def _point_line(
    console: Console,
    width: int,
    point: PlannedPoint,
    progress: ProgressSnapshot,
    elapsed_s: float,
    left_s: float | None,
) -> str:
    ended, total = progress.ended, point.n_requests
    if not total:
        whole_s = point.at_least_s or point.at_most_s or 0.0
        return f"{bar(console, elapsed_s / whole_s if whole_s else 0.0, width)}  {span(point, elapsed_s)}"
    by_time = elapsed_s / point.at_least_s if point.phase != _MEASURING and point.at_least_s else 1.0
    counted = f"{bar(console, min(ended / total, by_time), width)}  {ended}/{max(total, ended)}  "
    if point.phase != _MEASURING:
        return counted + span(point, elapsed_s)
    return counted + clock(elapsed_s) + _about_left(left_s)


def _about_left(left_s: float | None) -> str:
    return "" if left_s is None else f", about {clock(left_s)} left"


def users_words(point: PlannedPoint) -> str:
    """'16 users, repeat 2'."""
    users = point.level.words
    return users + (f", repeat {point.repeat + 1}" * (point.repeat > 0))


def clock(seconds: float | None) -> str:
    """'0:12', '1:02:03'."""
    if seconds is None:
        return DASH
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span(point: PlannedPoint, elapsed_s: float) -> str:
    """How long a phase without a count of requests takes: '0:03 of 0:10', '0:03, at least 0:30, at most 5:00'."""
    if point.phase == _IDLE_POWER:
        return f"{clock(elapsed_s)} of {clock(point.at_least_s)}"
    ends = [("at least", point.at_least_s or None), ("at most", point.at_most_s)]
    return ", ".join([clock(elapsed_s), *(f"{word} {clock(end)}" for word, end in ends if end is not None)])


def gpu_lines(readings: LatestReadings) -> list[tuple[str, str, str]]:
    """(label, words, style): a line for each of up to two GPUs, one for all of more; or why there is none."""
    gpus = readings.gpus
    if not gpus:
        why = (readings.no_gpu or "").removeprefix("no GPU telemetry: ").partition(" (")[0].partition(";")[0]
        return [("GPU", f"not sampled: {why}", "dim")] if why else []
    labels = [f"GPU {i + 1}" if len(gpus) > 1 else "GPU" for i in range(len(gpus))]
    groups = zip(labels, ([one] for one in gpus), strict=True) if len(gpus) <= 2 else [(f"{len(gpus)} GPUs", gpus)]
    return [(label, _gpu_words(own), "yellow" if any(map(_throttles, own)) else "") for label, own in groups]


def server_words(servers: Sequence[ServerSample]) -> str:
    """'16 running, 0 waiting, KV cache 34 %', summed over servers; '' where none tells."""
    words = []
    for field in ("running", "waiting"):
        known = [value for one in servers if (value := getattr(one, field)) is not None]
        if known and len(known) == len(servers):
            words.append(f"{sum(known):.0f} {field}")
    full = max((one.kv_cache_ratio for one in servers if one.kv_cache_ratio is not None), default=None)
    return ", ".join([*words, *([] if full is None else [f"KV cache {100 * full:.0f} %"])])


def _gpu_words(gpus: Sequence[GpuSample]) -> str:
    def known(*fields: str) -> list[float]:
        """Of each GPU the first of the fields that it tells."""
        each = [[value for field in fields if (value := getattr(one, field)) is not None] for one in gpus]
        return [values[0] for values in each if values]

    def span_of(values: Sequence[float]) -> str:
        low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
        return low if low == high else f"{low}-{high}"

    lost = [one for one in gpus if one.error and one.util_ratio is None and not any(getattr(one, f) for f in POWER)]
    words = [f"{len(lost)} lost: {lost[0].error}" if len(gpus) > 1 else f"lost: {lost[0].error}"] if lost else []
    if busy := known("util_ratio"):
        words.append(f"{span_of([100 * one for one in busy])} % busy")
    for value, limit, unit, shape in (
        (known(*POWER), known("power_limit_w"), "W", "{:,.0f}"),
        ([b / 1e9 for b in known("memory_used_bytes")], [b / 1e9 for b in known("memory_total_bytes")], "GB", "{:.1f}"),
    ):
        if value:
            of = f" of {shape.format(sum(limit))}" if len(limit) == len(value) else ""
            words.append(f"{shape.format(sum(value))}{of} {unit}")
    if clocks := known("sm_clock_mhz"):
        words.append(f"{span_of(clocks)} MHz")
    if temperatures := known("temperature_c"):
        words.append(f"{span_of(temperatures)} \u00b0C")
    throttled = dict.fromkeys(name for one in gpus for name in _throttles(one))
    return ", ".join([*words, *throttled]) or "tells nothing yet"


def _throttles(one: GpuSample) -> list[str]:
    """The throttle reasons that hold now."""
    return [f"throttled: {name}" for name, bit in THROTTLES.items() if (one.throttle_reasons or 0) & bit]


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
        self._lines = RedrawnLines(self._console)
        self._notes: deque[str] = deque()
        self._thread, self._drawing = threading.get_ident(), False
        self._shown_at_s = 0.0
        self._restart()

    def _restart(self) -> None:
        """Nothing is known of the sweep: a new one begins."""
        self._shown: tuple[int, str] | None = None
        self._headed = False
        self._taken_s: dict[float, float] = {}
        self._began_s: float | None = None
        self._point_began_s = 0.0
        self._rates = RollingRates()

    def __enter__(self) -> SweepView:
        return self

    def __exit__(self, *_: object) -> None:
        self._say_notes()
        self._lines.clear()

    def begun(self, path: Path, manifest: RunManifest) -> None:
        """The server answered; measuring starts."""
        if self._quiet:
            return
        self._restart()
        self._say_notes()
        self._lines.clear()
        probe = manifest.server_probe
        counts = "reports its token counts" if probe.reports_usage else "does not report token counts"
        say(self._console, f"run {manifest.run_id} in {path}")
        say(self._console, f"{manifest.model} on {probe.profile or 'a server'}, which {counts}")

    def progress(self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> None:
        """Called often; draws at most 4 times a second, or a line every 5 s where there is no terminal."""
        if self._quiet:
            return
        fresh = self._shown != (point.index, point.phase)
        if fresh:
            now_s = self._now_s()
            if self._shown is None or self._shown[0] != point.index or self._shown[1] == _IDLE_POWER:
                self._point_began_s = now_s
            self._began_s = now_s if self._began_s is None else self._began_s
            self._rates = RollingRates()
        elif elapsed_s - self._shown_at_s < (_PLAIN_EVERY_S if self._plain else _TERMINAL_EVERY_S):
            self._say_notes()
            return
        self._shown, self._shown_at_s = (point.index, point.phase), elapsed_s
        self._rates.note(elapsed_s, progress)
        self._drawing = True
        try:
            if self._plain:
                self._say_notes(now=True)
                self._plain_line(point, progress, elapsed_s, fresh)
            else:
                with self._console:
                    self._say_notes(now=True)
                    left = self._remaining(point, progress, elapsed_s)
                    self._lines.draw(panel(self._console, point, progress, elapsed_s, self._rates, left))
        finally:
            self._drawing = False

    def point_done(self, point: PlannedPoint, rows: Any, duration_s: float) -> None:
        """The point's row; its figures are computed from its rows as the report's are."""
        if self._quiet:
            return
        from benchsuite.analysis.summary import summarise_points

        self._taken_s[point.level.number] = self._now_s() - self._point_began_s
        self._say_notes()
        self._lines.clear()
        summary = next(iter(summarise_points(rows, model=None, intervals=False)), None)
        cells = _cells(point, summary, duration_s)
        if self._plain:
            named = ", ".join(
                f"{name} {cell}" for (name, _), cell in zip((*_COLUMNS, *_MORE_COLUMNS)[2:9], cells[2:], strict=False)
            )
            say(self._console, f"{_place(point)} done: {named}")
            return
        columns = (*_COLUMNS, *_MORE_COLUMNS) if self._console.width > _WIDE + 15 else _COLUMNS
        heads = [[name for name, _ in columns]] * (not self._headed)  # with the first row, so that no note parts them
        self._headed = True
        for row in (*heads, cells):
            line = "".join(cell.rjust(width) for cell, (_, width) in zip(row, columns, strict=False))
            text = Text(safe(self._console, line), style="bold" if row in heads else "")
            self._console.print(text, no_wrap=True, overflow="crop")

    def note(self, text: str) -> None:
        """Something that the person at the terminal should know now. From any thread; signal handlers too."""
        if self._quiet:
            return
        self._notes.append(text)
        if threading.get_ident() == self._thread and not self._drawing:
            self._say_notes()

    def _say_notes(self, *, now: bool = False) -> None:
        """Print the notes that wait, above the live lines. Only the view's own thread prints."""
        while self._notes and (now or not self._drawing):
            self._lines.clear()
            say(self._console, self._notes.popleft(), style="yellow")

    def _remaining(self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> Remaining:
        """What is known of the time left; the present point, once it is under way, counts as known too."""
        now_s, level, known_s = self._now_s(), point.level.number, dict(self._taken_s)
        spent_s, point_s = now_s - self._point_began_s, point_remaining_s(point, progress, elapsed_s)
        if point_s is not None:
            known_s[level] = spent_s + point_s
        elif (whole_s := point_duration_s(level, known_s)) is not None:
            point_s = max(0.0, whole_s - spent_s)
        began_s = now_s if self._began_s is None else self._began_s
        to_come = [level.number for level in point.levels[point.index + 1 :]]
        return Remaining(now_s - began_s, sweep_remaining_s(to_come, known_s, point_s), point_s)

    def _plain_line(self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float, fresh: bool) -> None:
        if fresh and not point.n_requests and not point.at_least_s:
            return  # a wait that is over at once, as a rule; if not, the line of the next 5 s tells
        if fresh and point.n_requests:
            say(self._console, f"{_place(point)}: {point.phase}, {point.n_requests} requests")
        elif not point.n_requests:
            say(self._console, f"{_place(point)}: {point.phase}, {span(point, elapsed_s)}")
        else:
            left_s = self._remaining(point, progress, elapsed_s).sweep_s if point.n_points > 1 else None
            words = [words for _, words, _ in gpu_lines(point.readings) if point.readings.gpus]
            words = [f"; {one}" for one in (*words, server_words(point.readings.servers)) if one]
            whole = "" if left_s is None else f", sweep {clock(left_s)}"
            say(self._console, progress_line(point, progress, elapsed_s) + whole + "".join(words))


def progress_line(point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> str:
    """'[3/12] 16 users  48/64 done, 0 failed, 312 tok/s, TTFT 41 ms, ETA 0:12'. The ETA is the point's."""
    ended = progress.ended
    rate = progress.output_tokens / elapsed_s if elapsed_s > 0 and ended else None
    phase = "" if point.phase == _MEASURING else f", {point.phase}"
    left_s = point_remaining_s(point, progress, elapsed_s)
    return (
        f"{_place(point)}{phase} {ended}/{max(point.n_requests, ended)} done, {progress.failed} failed, "
        f"{number(rate)} tok/s, TTFT {ms(progress.ttft_s)} ms, ETA {clock(left_s)}"
    )


def _place(point: PlannedPoint) -> str:
    return f"[{point.index + 1}/{point.n_points}] {users_words(point)}"


def _cells(place: PlannedPoint, point: PointSummary | None, duration_s: float) -> list[str]:
    cells = [str(place.level), str(place.repeat + 1)]
    if point is None:
        return [*cells, "0", "0", number(duration_s), *[DASH] * 7]
    return [
        *cells,
        str(point.n_ok),
        DASH if point.n_failed is None else str(point.n_failed),
        number(duration_s if point.duration_s is None else point.duration_s),
        ms(point.ttft_s.mean),
        ms(point.tpot_s.mean),
        number(point.output_tok_s_per_user),
        number(point.output_tok_s),
        ms(tail(point.ttft_s, "p95")),
        number(point.e2e_s.mean),
        number(point.request_per_s),
    ]
