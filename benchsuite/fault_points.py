"""Named points at which a test lets a process die, stop, fail or pause. Without a plan `reach` does nothing.

A plan comes from the environment or `set_plan`, never from a file: no run folder, workload or server brings one about.
Its grammar, faults separated by commas: POINT[.ORDER][@PROCESS]:N:ACTION[=VALUE]

    rename@main:2:error=28      the sweep's own process finds no room at its 2nd rename
    batch.2@worker-0:3:stop     measuring process 0 stops before the 3rd batch of its 2nd order (a warm-up or a point)
    order@main:1:signal=2       Ctrl-C as the sweep gives its first order
    any:17:kill                 whatever process reaches a 17th point, whichever, is gone

`send` is where an open loop has counted a request that is due, and not sent it yet. `start` is where a process has this
file and nothing else yet: a measuring process has not read what it is given.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter

from benchsuite.errors import InputError

VARIABLE = "BENCHSUITE_FAULT_POINTS"
POINTS = (
    "start", "spawn", "order", "send", "batch", "sample", "fsync", "rename", "unlink", "compaction", "report", "any",
)  # fmt: skip
# kill: SIGKILL to itself, or to process VALUE; signal: signal VALUE to the process group, as a terminal sends it;
# error: OSError with errno VALUE, else 5 (I/O); delay: VALUE seconds; step: the wall clock as this process reads it is
# set by VALUE seconds
ACTIONS = ("kill", "kill-parent", "kill-group", "stop", "signal", "error", "delay", "step")
_FAULT = re.compile(
    rf"((?:{'|'.join(POINTS)})(?:\.\d+)?)(?:@([a-z0-9-]+))?:([1-9]\d*):({'|'.join(ACTIONS)})(?:=(-?[\d.]+))?"
)

reached: Counter[str] = Counter()  # how often, since there is a plan
_plan: list[tuple[str, str | None, int, str, float]] = []


def set_plan(text: str) -> None:
    """Follow this plan from now on, "" for none. Raises InputError."""
    matches = [_FAULT.fullmatch(item.strip()) for item in text.split(",")] if text else []
    if None in matches:
        expected = f"POINT[.ORDER][@PROCESS]:N:ACTION[=VALUE] of {', '.join(POINTS)} and {', '.join(ACTIONS)}"
        raise InputError("a plan of faults cannot be read", where=VARIABLE, given=text, expected=expected)
    _plan[:] = [(m[1], m[2], int(m[3]), m[4], float(m[5] or 0)) for m in matches if m]
    reached.clear()


def reach(point: str) -> None:
    """Here is `point`. Raises OSError where the plan says so."""
    if not _plan:
        return
    import multiprocessing  # only here: who has no plan does not pay for it

    here = multiprocessing.current_process().name.removeprefix("benchsuite-").replace("MainProcess", "main")
    names = (point, "any", f"{point}.{reached['order']}")
    reached.update(names)
    for name, process, n, action, value in _plan:
        if name in names and process in (None, here) and n == reached[name]:
            _act(action, value)


def _act(action: str, value: float) -> None:
    match action:
        case "error":
            raise OSError(number := int(value or 5), os.strerror(number))
        case "delay":
            time.sleep(value)
        case "step":
            wall, wall_ns = time.time, time.time_ns
            vars(time).update(time=lambda: wall() + value, time_ns=lambda: wall_ns() + int(value * 1e9))
        case "kill-group":
            os.killpg(0, signal.SIGKILL)
        case "signal":
            os.killpg(0, int(value))
        case "kill-parent":
            os.kill(parent := os.getppid(), signal.SIGKILL)
            while os.getppid() == parent:  # it is dead when this returns
                time.sleep(0.001)
        case _:
            os.kill(int(value or os.getpid()), signal.SIGSTOP if action == "stop" else signal.SIGKILL)


set_plan(os.environ.get(VARIABLE, ""))
reach("start")
