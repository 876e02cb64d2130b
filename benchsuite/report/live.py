"""What a running sweep shows: a few live lines under a growing table, or plain lines where there is no terminal.

Drawn from the parent's own loop, never from a thread: the measuring processes are not disturbed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.text import Text

from benchsuite.report.console import safe, say
from benchsuite.report.eta import point_s, sweep_left_s
from benchsuite.report.panel import (
    ProgressLike,
    StepLike,
    Times,
    clock,
    gpu_lines,
    panel,
    point_left_s,
    server_words,
    span,
    users_words,
)
from benchsuite.report.recent import Recent
from benchsuite.report.region import Region
from benchsuite.report.words import DASH, ms, number, tail
from benchsuite.results import PointSummary

if TYPE_CHECKING:
    import pyarrow as pa

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

        points = summarise_points(rows, model=None)
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
        number(wall_s if point.wall_s is None else point.wall_s),
        ms(point.ttft_s.mean),
        ms(point.tpot_s.mean),
        number(point.throughput_paper_tok_s),
        number(point.output_tok_s),
        ms(tail(point.ttft_s, "p95")),
        number(point.e2e_s.mean),
        number(point.request_per_s),
    ]
