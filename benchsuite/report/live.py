"""What a running sweep shows: a few live lines under a growing table, or plain lines where there is no terminal.

Drawn from the parent's own loop, never from a thread: the measuring processes are not disturbed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from benchsuite.analysis.gpu import POWER, THROTTLES
from benchsuite.analysis.requests import Floats
from benchsuite.errors import SloError
from benchsuite.level import LevelKind
from benchsuite.manifest import RunManifest
from benchsuite.metrics import BY_COLUMN
from benchsuite.progress import LatestReadings, PlannedPoint, ProgressSnapshot, SearchProgress, View
from benchsuite.records import UNJUDGED, GpuSample, ServerSample
from benchsuite.report.console import bar, safe, say, spark
from benchsuite.report.format import DASH, chance, count, level_head, margin_text, ms, number, plural, show, usd
from benchsuite.results import PointSummary
from benchsuite.slo import parse_slo

_LABEL, _BAR, _WIDE_BAR, _WIDE = 11, 24, 40, 100
_MEASURING, _IDLE_POWER = "measuring", "measuring idle power"
_HINT = "Ctrl-C: finish what is in flight and stop; twice: stop at once"
_TERMINAL_EVERY_S, _PLAIN_EVERY_S = 0.25, 5.0
# of a finished point, behind its counts and duration: those that the SLO limits, then these as far as there is room
_COLUMNS = (
    "ttft_mean_s", "tpot_mean_s", "output_tok_s_per_user", "in_flight", "output_tok_s", "e2e_mean_s", "request_per_s",
)  # fmt: skip


def limited_columns(manifest: RunManifest) -> tuple[str, ...]:
    """The columns that the SLO of a run limits, of those that a point is summed up by as it ends."""
    try:
        limited = [limit.statistic for limit in parse_slo(manifest.spec["slo"]).limits]
    except (KeyError, SloError):
        return ()
    later = [one for one in limited if one.metric.each == "chunks" or one.metric.needs_goodput or one.metric.of_answers]
    return tuple(one.column for one in limited if one not in later)


def point_cells(
    point: PointSummary | None, duration_s: float | None, limited: Sequence[str], kind: LevelKind
) -> dict[str, str]:
    """Head and value of each figure of a finished point that levels of this kind have; None: a point without rows.
    limited: columns of the SLO."""
    counts = (0, 0) if point is None else (point.n_ok, point.n_failed)
    cells = {"ok/failed": "/".join(map(count, counts)), "duration s": number(duration_s)}
    for one in (BY_COLUMN[column] for column in dict.fromkeys((*limited, *_COLUMNS))):
        if one.metric.of_kind not in (None, kind):
            continue
        cells[one.label] = show(one.metric, None if point is None else one.of_point(point))
    return cells


def point_duration_s(level: float, known_s: Mapping[float, float]) -> float | None:
    """Seconds that a point at `level` takes, where points at other levels took known_s. None: nothing is known.

    The same set at N users takes t ~ N^s: s from the two nearest levels, in [-1, 0] outside of them. From one level
    -0.5, between a server that is full already and one that scales with its users.
    """
    levels = sorted(known for known in known_s if known_s[known] > 0)
    if level in known_s or not levels:
        return known_s.get(level)
    if len(levels) == 1:
        near, power = levels[0], -0.5
    else:
        i = sum(known < level for known in levels)
        near, other = (levels[i - 1], levels[i]) if 0 < i < len(levels) else levels[-2:][::-1] if i else levels[:2]
        power = log(known_s[other] / known_s[near]) / log(other / near)
        if not 0 < i < len(levels):
            power = min(0.0, max(-1.0, power))
    return float(known_s[near] * (level / near) ** power)


def sweep_remaining_s(to_come: Sequence[float], known_s: Mapping[float, float], point_s: float | None) -> float | None:
    """Seconds until the sweep ends. to_come: the levels after the present point, of which point_s is left."""
    each = [point_s, *(point_duration_s(level, known_s) for level in to_come)]
    return None if None in each else sum(filter(None, each))


def point_remaining_s(point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> float | None:
    """Seconds until the measured point ends, at its rate so far. None in other phases, and before a wave has ended.

    Of an open loop: until its window ends, and then as of any other, for the window's requests may be far from ended.
    """
    ended = progress.ended
    if point.phase == _MEASURING and point.level.kind == "rate" and elapsed_s < point.at_least_s:
        return point.at_least_s - elapsed_s
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


def _users(point: PlannedPoint) -> str:
    return point.level.words + (f", repeat {point.repeat + 1}" * (point.repeat > 0))


def _place(point: PlannedPoint) -> str:
    of = "" if point.search else f"/{point.n_points}"
    return f"[{point.index + 1}{of}] {_users(point)}"


def search_words(search: SearchProgress) -> str:
    """'bracket 64 to 128; best so far 96, P(good) 0.91'; of an end alone 'kept at 64', 'missed at 128'."""
    lo, hi = search.bracket
    bracket = f"bracket {lo} to {hi}" if lo and hi else f"kept at {lo}" if lo else f"missed at {hi}" if hi else ""
    best = "" if search.best is None else f"best so far {search.best}, P(good) {chance(search.p_good)}"
    return "; ".join(filter(None, (bracket, best))) or "nothing is known yet"


def budget_words(search: SearchProgress) -> str:
    """'2:10 of 20:00, $0.072 of $2.00': spent of what the search may take."""
    words = f"{clock(search.spent_s)} of {clock(search.budget_s)}"
    if search.usd_per_hour is not None:
        of = "" if search.budget_usd is None else f" of {usd(search.budget_usd)}"
        words += f", {usd(search.spent_s / 3600 * search.usd_per_hour)}{of}"
    return words


def _judged(point: PlannedPoint, progress: ProgressSnapshot) -> int:
    """Requests of the probe's phase that have ended; no more than the look has, which may wait for an earlier one."""
    assert point.search is not None
    return min(max(0, progress.ended - point.search.n_before), point.n_requests)


def probe_cells(search: SearchProgress) -> dict[str, str]:
    """Head and value of what a finished probe was for, its verdict, and the limit that is nearest with its margin."""
    binds = "" if search.binding is None else f"{search.binding} {margin_text(search.margins[search.binding][0])}"
    return {"phase": search.phase, "verdict": search.verdict or DASH, "binds": binds or DASH}


def clock(seconds: float | None) -> str:
    """'0:12', '1:02:03'."""
    if seconds is None:
        return DASH
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _span(point: PlannedPoint, elapsed_s: float) -> str:
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
    if len(gpus) > 2:
        return [(f"{len(gpus)} GPUs", *_gpu_words(gpus))]
    return [(f"GPU {i}" if len(gpus) > 1 else "GPU", *_gpu_words([gpu])) for i, gpu in enumerate(gpus, 1)]


def _gpu_words(gpus: Sequence[GpuSample]) -> tuple[str, str]:
    def known(*fields: str, per: float = 1.0) -> list[float]:
        """Of each GPU the first of the fields that it reports."""
        each = ([value for field in fields if (value := getattr(gpu, field)) is not None] for gpu in gpus)
        return [values[0] / per for values in each if values]

    def total(values: Sequence[float], limits: Sequence[float], shape: str) -> str:
        of = f" of {sum(limits):{shape}}" if len(limits) == len(values) else ""
        return f"{sum(values):{shape}}{of}" if values else ""

    def spread(values: Sequence[float]) -> str:
        return "-".join(dict.fromkeys(f"{value:,.0f}" for value in (min(values), max(values)))) if values else ""

    silent = [gpu for gpu in gpus if gpu.util_ratio is None and not any(getattr(gpu, field) for field in POWER)]
    lost = [gpu.error for gpu in silent if gpu.error]
    bits = [gpu.throttle_reasons or 0 for gpu in gpus]
    throttled = [f"throttled: {name}" for name, bit in THROTTLES.items() if any(bit & held for held in bits)]
    figures = {
        "% busy": spread(known("util_ratio", per=0.01)),
        "W": total(known(*POWER), known("power_limit_w"), ",.0f"),
        "GB": total(known("memory_used_bytes", per=1e9), known("memory_total_bytes", per=1e9), ".1f"),
        "MHz": spread(known("sm_clock_mhz")),
        "\u00b0C": spread(known("temperature_c")),
    }
    words = [f"{f'{len(lost)} ' * (len(gpus) > 1)}lost: {lost[0]}"] if lost else []
    words += [f"{figure} {unit}" for unit, figure in figures.items() if figure] + throttled
    return ", ".join(words) or "no values yet", "yellow" if throttled else ""


def server_words(servers: Sequence[ServerSample]) -> str:
    """'16 running, 0 waiting, KV cache 34 %', summed over servers; '' if none reports them."""
    words = []
    for field in ("running", "waiting"):
        known = [value for server in servers if (value := getattr(server, field)) is not None]
        if known and len(known) == len(servers):
            words.append(f"{sum(known):.0f} {field}")
    if full := [server.kv_cache_ratio for server in servers if server.kv_cache_ratio is not None]:
        words.append(f"KV cache {100 * max(full):.0f} %")
    return ", ".join(words)


def is_plain(console: Console, environment: Mapping[str, str]) -> bool:
    """True where lines are better than a live view: no terminal, TERM=dumb, NO_COLOR, or a CI job."""
    ci = environment.get("CI", "").lower() not in ("", "0", "false")
    return not console.is_terminal or console.is_dumb_terminal or ci or bool(environment.get("NO_COLOR"))


class SweepView(View):
    """Shows a sweep as it runs. Use as a context manager: leaving it removes the live lines.

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
        self._restart()

    def _restart(self) -> None:
        """Nothing is known of the sweep: a new one begins."""
        self._limited: tuple[str, ...] = ()
        self._longest = 0  # name of a limit
        self._shown: tuple[int, str] | None = None
        self._headed = False
        self._taken_s: dict[float, float] = {}
        self._began_s: float | None = None
        self._point_began_s = self._shown_at_s = 0.0
        self._rates = RollingRates()

    def __enter__(self) -> SweepView:
        return self

    def __exit__(self, *_: object) -> None:
        with self._printing():
            self._lines.clear()
        self._say_notes()

    def begun(self, path: Path, manifest: RunManifest) -> None:
        """The server answered; measuring starts."""
        if self._quiet:
            return
        self._restart()
        self._say_notes()
        self._limited = limited_columns(manifest)
        with suppress(KeyError, SloError):
            self._longest = max(len(limit.name) for limit in parse_slo(manifest.spec["slo"]).effective)
        probe = manifest.server_probe
        counts = "reports its token counts" if probe.reports_usage else "reports no token counts that can be used"
        with self._printing():
            self._lines.clear()
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
        elif elapsed_s - self._shown_at_s < (_PLAIN_EVERY_S if self._plain else _TERMINAL_EVERY_S):
            self._say_notes()
            return
        begun = self._shown is None or self._shown[0] != point.index
        # a probe of a closed loop is handed over to, settles and is measured without a break
        if fresh and (begun or point.search is None or point.level.kind == "rate"):
            self._rates = RollingRates()
        self._shown, self._shown_at_s = (point.index, point.phase), elapsed_s
        self._rates.note(elapsed_s, progress)
        with self._printing():
            if self._plain:
                self._say_notes(now=True)
                self._plain_line(point, progress, elapsed_s, fresh, begun)
            else:
                with self._console:
                    self._say_notes(now=True)
                    self._lines.draw(self._panel(point, progress, elapsed_s))

    def point_done(self, point: PlannedPoint, rows: Callable[..., Any], duration_s: float) -> None:
        """The point's row; its figures are computed from its rows as the report's are."""
        if self._quiet:
            return
        from benchsuite.analysis.summary import point_figures

        self._taken_s[point.level.number] = self._now_s() - self._point_began_s
        self._say_notes()
        with self._printing():
            self._lines.clear()
        shown = (BY_COLUMN[column].metric for column in (*self._limited, *_COLUMNS))
        summary = point_figures(
            rows(left_out=UNJUDGED), duration_s, {metric.key for metric in shown if metric.per_request}
        )
        seconds = duration_s if summary is None else summary.duration_s
        cells = point_cells(summary, seconds, self._limited, point.level.kind)
        place = {"repeat": str(point.repeat + 1)} if point.search is None else probe_cells(point.search)
        if self._plain:
            shown_cells = cells if point.search is None else place | cells
            with self._printing():
                line = ", ".join(f"{head} {cell}" for head, cell in shown_cells.items())
                say(self._console, f"{_place(point)} done: {line}")
            return
        row = {level_head([point.level]): str(point.level)} | place | cells
        least = {"phase": 7, "verdict": 9, "binds": self._longest + 9}
        widths = [max(len(head), least.get(head, 6)) + 1 for head in row]
        n = sum(end <= self._console.width for end in accumulate(widths))  # that have room
        table = [tuple(row)] * (not self._headed)
        self._headed = True  # with the first row, so that no note parts them
        table.append(tuple(row.values()))
        for cells_of_row in table:
            line = "".join(cell.rjust(width) for cell, width in zip(cells_of_row[:n], widths, strict=False))
            text = Text(safe(self._console, line), style="bold" if cells_of_row == tuple(row) else "")
            with self._printing():
                self._console.print(text, no_wrap=True, overflow="crop")

    @contextmanager
    def _printing(self) -> Iterator[None]:
        """What a signal handler has to say meanwhile waits: a stream takes no write in the middle of another."""
        before, self._drawing = self._drawing, True
        try:
            yield
        finally:
            self._drawing = before

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
            with self._printing():
                self._lines.clear()
                say(self._console, self._notes.popleft(), style="yellow")

    def _remaining_s(
        self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float
    ) -> tuple[float | None, float | None]:
        """Seconds left of the sweep and of the present point, which counts as known once it is under way."""
        level, known_s, spent_s = point.level.number, dict(self._taken_s), self._now_s() - self._point_began_s
        point_s = point_remaining_s(point, progress, elapsed_s)
        if point.level.kind == "rate":  # all points take the same time
            left = len(point.levels) - point.index - 1
            return None if point_s is None else point_s + left * point.at_least_s, point_s
        if point_s is not None:
            known_s[level] = spent_s + point_s
        elif (whole_s := point_duration_s(level, known_s)) is not None:
            point_s = max(0.0, whole_s - spent_s)
        to_come = [level.number for level in point.levels[point.index + 1 :]]
        return sweep_remaining_s(to_come, known_s, point_s), point_s

    def _panel(self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> list[Text]:
        console, total, search = self._console, point.n_requests, point.search
        ended = progress.ended if search is None else _judged(point, progress)
        width = _WIDE_BAR if console.width >= _WIDE else _BAR
        sweep_s, point_s = (None, None) if search else self._remaining_s(point, progress, elapsed_s)
        since_s = self._now_s() - (self._began_s or 0.0)
        lines: list[Text] = []

        def add(label: str, words: str, style: str = "not bold", sparks: str = "") -> None:
            text = Text(safe(console, label.ljust(_LABEL)), style="bold")
            lines.append(text.append(safe(console, words), style=style).append(sparks, style="not bold green"))

        def left(seconds: float | None) -> str:
            return "" if seconds is None else f", about {clock(seconds)} left"

        measuring = point.phase == _MEASURING
        timed_s = 0.0 if measuring else point.at_least_s or point.at_most_s or 0.0
        shares = [done / whole for done, whole in ((ended, total), (elapsed_s, timed_s)) if whole]
        place = f"{bar(console, min(shares, default=0.0), width)}  " + f"{ended}/{max(total, ended)}  " * bool(total)
        place += clock(elapsed_s) + left(point_s) if measuring else _span(point, elapsed_s)
        add(
            f"probe {point.index + 1}" if search else f"point {point.index + 1}/{point.n_points}",
            place,
            "not bold cyan",
        )
        failed = f", {progress.failed} failed" * (progress.failed > 0)
        add("", f"{_users(point)}: {f'{search.phase}, ' if search else ''}{point.phase}{failed}", "bold")
        if search is None:
            share = point.index / point.n_points if sweep_s is None else since_s / max(since_s + sweep_s, 1e-9)
            swept = f"{point.index}/{point.n_points} done  {clock(since_s)}{left(sweep_s)}"
            add("sweep", f"{bar(console, share, width)}  {swept}", "not bold cyan")
        else:
            add("search", search_words(search), "bold")
            add("budget", f"{bar(console, search.share_spent, width)}  {budget_words(search)}", "not bold cyan")
        if total:
            users = point.level.concurrency or 1
            tok_s, ttfts_s = self._rates.tok_s(users), self._rates.ttft_s(users)
            ttft_s = next((known_s for known_s in reversed(ttfts_s) if known_s is not None), progress.ttft_s)
            rate = number(tok_s[-1] if tok_s else None)
            add("out tok/s", f"{rate:>7}  ", sparks=spark(console, tok_s[-CELLS:]))
            add("TTFT mean", f"{ms(ttft_s):>7}  ", sparks=spark(console, ttfts_s[-CELLS:]))
        for label, words, style in gpu_lines(point.readings):
            add(label, words, f"not bold {style}")
        if words := server_words(point.readings.servers):
            add("server", words)
        add("", _HINT, "not bold dim")
        return lines

    def _plain_line(
        self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float, fresh: bool, begun: bool
    ) -> None:
        """begun: nothing of the point was said before."""
        if point.search is not None and begun:
            search = point.search
            say(self._console, f"{_place(point)}: {search.phase}; {search_words(search)}; spent {budget_words(search)}")
        elif point.search is not None and fresh:
            return
        elif fresh and point.n_requests:
            say(self._console, f"{_place(point)}: {point.phase}, {plural(point.n_requests, 'request')}")
        elif point.n_requests:
            known = point.n_points > 1 and point.search is None
            left_s = self._remaining_s(point, progress, elapsed_s)[0] if known else None
            gpus = [words for _, words, _ in gpu_lines(point.readings) if point.readings.gpus]
            more = [f"; {words}" for words in (*gpus, server_words(point.readings.servers)) if words]
            whole = "" if left_s is None else f", sweep {clock(left_s)}"
            say(self._console, progress_line(point, progress, elapsed_s) + whole + "".join(more))
        elif not fresh or point.at_least_s:  # a wait is over at once, as a rule; if not, the line of the next 5 s tells
            say(self._console, f"{_place(point)}: {point.phase}, {_span(point, elapsed_s)}")


def progress_line(point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> str:
    """'[3/12] 16 users  48/64 done, 0 failed, 312 tok/s, TTFT 41 ms, ETA 0:12'. The ETA is the point's; of a search
    what is spent of its budget."""
    ended, search = progress.ended, point.search
    rate = progress.output_tokens / elapsed_s if elapsed_s > 0 and ended else None
    phase = "" if point.phase == _MEASURING else f", {point.phase}"
    end = f"ETA {clock(point_remaining_s(point, progress, elapsed_s))}"
    if search is not None:
        phase, ended = f", {search.phase}{phase}", _judged(point, progress)
        end = f"spent {budget_words(search)}"
    return (
        f"{_place(point)}{phase} {ended}/{max(point.n_requests, ended)} done, {progress.failed} failed, "
        f"{number(rate)} tok/s, TTFT {ms(progress.ttft_s)} ms, {end}"
    )
