"""What a running sweep shows: one live line and a growing table, or plain lines where there is no terminal.

Drawn from the parent's own loop, never from a thread: the measuring processes are not disturbed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from benchsuite.report.console import safe, say
from benchsuite.report.words import DASH, ms, number
from benchsuite.results import PointSummary

if TYPE_CHECKING:
    import pyarrow as pa

_TERMINAL_EVERY_S = 0.25
_PLAIN_EVERY_S = 5.0
_COLUMNS = (
    ("users", 6), ("repeat", 7), ("ok", 7), ("failed", 7), ("wall s", 8), ("TTFT ms", 9), ("TPOT ms", 9),
    ("tok/s/user", 11), ("out tok/s", 11),
)  # fmt: skip


class PointPlanLike(Protocol):
    """The part of a planned point that is shown."""

    @property
    def concurrency(self) -> int: ...
    @property
    def repeat(self) -> int: ...


class StepLike(Protocol):
    """Where the sweep is; load.sweep.Step."""

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


class FoundLike(Protocol):
    """What the preflight found; load.preflight.Preflight."""

    @property
    def model(self) -> str: ...
    @property
    def facts(self) -> dict[str, Any]: ...


class SweepView:
    """Shows a sweep as it runs. quiet: nothing at all. Use as a context manager: leaving it clears the live line."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console()
        self._quiet = quiet
        self._on_line = False
        self._shown: tuple[int, str] | None = None
        self._shown_at_s = 0.0

    def __enter__(self) -> SweepView:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def begun(self, run_id: str, path: Path, found: FoundLike) -> None:
        """The server answered; measuring starts."""
        if self._quiet:
            return
        counts = "reports its token counts" if found.facts.get("reports_usage") else "does not report token counts"
        say(self._console, f"run {run_id} in {path}")
        say(self._console, f"{found.model} on {found.facts.get('profile', 'a server')}, which {counts}")
        if self._console.is_terminal:
            self._row([name for name, _ in _COLUMNS], style="bold")

    def progress(self, step: StepLike, progress: ProgressLike, elapsed_s: float) -> None:
        """Called often; draws at most 4 times a second, or a line every 5 s where there is no terminal."""
        every_s = _TERMINAL_EVERY_S if self._console.is_terminal else _PLAIN_EVERY_S
        fresh = self._shown != (step.index, step.phase)
        if self._quiet or (not fresh and elapsed_s - self._shown_at_s < every_s):
            return
        self._shown, self._shown_at_s = (step.index, step.phase), elapsed_s
        if not self._console.is_terminal:
            say(self._console, _started(step) if fresh else progress_line(step, progress, elapsed_s))
        else:
            self._draw(progress_line(step, progress, elapsed_s, bar=self._console.width >= 100))

    def point_done(self, step: StepLike, rows: pa.Table, wall_s: float) -> None:
        """The point's row; its figures are computed from its rows as the report's are."""
        if self._quiet:
            return
        from benchsuite.analysis.metrics import summarise_points

        points = summarise_points(rows, model=None)
        self._clear()
        cells = _cells(step, points[0] if points else None, wall_s)
        if self._console.is_terminal:
            self._row(cells)
            if step.index + 1 < step.n_points:
                self._draw(f"[{step.index + 2}/{step.n_points}] waiting for the server to be idle")
        else:
            named = ", ".join(f"{name} {cell}" for (name, _), cell in zip(_COLUMNS[2:], cells[2:], strict=True))
            say(self._console, f"{_place(step)} done: {named}")

    def note(self, text: str) -> None:
        """Something that the person at the terminal should know now."""
        if not self._quiet:
            self._clear()
            say(self._console, text, style="yellow")

    def _row(self, cells: list[str], style: str = "") -> None:
        line = "".join(cell.rjust(width) for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
        self._console.print(Text(safe(self._console, line), style=style), no_wrap=True, overflow="crop")

    def _draw(self, text: str) -> None:
        self._clear()
        # one column less than there is: a full line would wrap, and then could not be erased
        line = Text(safe(self._console, text), style="cyan")
        line.truncate(self._console.width - 1)
        self._console.print(line, end="")
        self._on_line = True

    def _clear(self) -> None:
        if self._on_line:
            self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
            self._on_line = False


def progress_line(step: StepLike, progress: ProgressLike, elapsed_s: float, *, bar: bool = False) -> str:
    """'[3/12] 16 users  48/64 done, 0 failed, 312 tok/s, TTFT 41 ms, ETA 0:12'. The ETA is the point's."""
    ended = progress.done + progress.failed
    rate = progress.output_tokens / elapsed_s if elapsed_s > 0 and ended else None
    left_s = elapsed_s * (step.n_requests - ended) / ended if ended else None
    drawn = f" {_bar(ended, step.n_requests)}" if bar else ""
    phase = "" if step.phase == "measuring" else f", {step.phase}"
    return (
        f"{_place(step)}{phase}{drawn} {ended}/{max(step.n_requests, ended)} done, {progress.failed} failed, "
        f"{number(rate)} tok/s, TTFT {ms(progress.ttft_s)} ms, ETA {_clock(left_s)}"
    )


def _place(step: StepLike) -> str:
    users = f"{step.plan.concurrency} user{'s' * (step.plan.concurrency > 1)}"
    return f"[{step.index + 1}/{step.n_points}] {users}" + (f", repeat {step.plan.repeat + 1}" * (step.plan.repeat > 0))


def _started(step: StepLike) -> str:
    return f"{_place(step)}: {step.phase}, {step.n_requests} requests"


def _bar(done: int, of: int, width: int = 20) -> str:
    filled = width if of < 1 else min(width, width * done // of)
    return "[" + "=" * filled + " " * (width - filled) + "]"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cells(step: StepLike, point: PointSummary | None, wall_s: float) -> list[str]:
    place = [str(step.plan.concurrency), str(step.plan.repeat + 1)]
    if point is None:
        return [*place, "0", "0", number(wall_s), *[DASH] * 4]
    return [
        *place,
        str(point.n_ok),
        DASH if point.n_failed is None else str(point.n_failed),
        number(wall_s if point.wall_s is None else point.wall_s),
        ms(point.ttft_s.mean),
        ms(point.tpot_s.mean),
        number(point.throughput_paper_tok_s),
        number(point.output_tok_s),
    ]
