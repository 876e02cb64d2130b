"""The check-up of the machine's clocks."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

from benchsuite.clock import ClockMark, now_ns
from benchsuite.telemetry.findings import Finding, judged

_GOOD_SOURCES = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")
_TIME_ERROR = 5  # adjtimex(2)
_STEP_S = 0.001


def clock_findings(root: Path = Path("/")) -> Iterator[Finding]:
    """The clock source and what a reading costs, whether wall time is kept by NTP and moves now."""
    yield source(root, reading_ns())
    before = ClockMark.now()
    time.sleep(0.2)
    yield wall_time(_adjtimex(), ClockMark.now().stepped_since_s(before))


def reading_ns() -> float:
    """What a reading of the run's clock costs: the least mean of five times 2,000."""
    best = float("inf")
    for _ in range(5):
        begun_ns = now_ns()
        for _ in range(2000):
            now_ns()
        best = min(best, (now_ns() - begun_ns) / 2000)
    return best


def source(root: Path, cost_ns: float) -> Finding:
    """Which clock the kernel keeps time by; a slow one makes every stamp late."""
    try:
        name = (root / "sys/devices/system/clocksource/clocksource0/current_clocksource").read_text("utf-8").strip()
    except OSError:
        name = ""
    found = f"{name or 'not told'}; a reading takes {cost_ns:.0f} ns"
    slow = cost_ns > 1000 or bool(name and name not in _GOOD_SOURCES)
    remedy = "clocksource=tsc on the kernel's command line, if the machine has a stable TSC"
    return judged("machine", "clock source", found, (slow, "warn", remedy))


def wall_time(state: int | None, stepped_s: float) -> Finding:
    """state: of adjtimex(2). Steps do not touch latencies (they are on a clock that never steps), but kernel stamps."""
    word = "not told" if state is None else "not kept by NTP" if state == _TIME_ERROR else "kept by NTP"
    stepped = abs(stepped_s) > _STEP_S
    found = f"{word}; stepped by {stepped_s * 1000:+.1f} ms just now" if stepped else word
    return judged(
        "machine",
        "wall time",
        found,
        (stepped, "warn", "let one program alone set the clock, and slew it"),
        (state == _TIME_ERROR, "warn", "timedatectl set-ntp true, so that runs of several machines can be compared"),
    )


def _adjtimex() -> int | None:
    """The kernel's word on wall time; None where it has none. Asks only."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else int(state)
