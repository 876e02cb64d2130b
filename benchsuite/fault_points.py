"""Named points at which a test lets a process die, stop, fail or pause. Without a plan `reach` does nothing.

A plan comes from the environment or from `set_plan`, never from a file: what a run folder, a workload or a server says
cannot bring one about. Its grammar, faults separated by commas:

    POINT[@PROCESS]:N:ACTION[=VALUE]     batch@worker-0:3:kill     rename@main:2:error=28     any:17:stop

The N-th time that PROCESS (main, worker-0, ...; without it, each process for itself) reaches POINT ("any": whichever).
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from typing import NamedTuple

from benchsuite.errors import InputError

VARIABLE = "BENCHSUITE_FAULT_POINTS"
POINTS = ("spawn", "order", "batch", "sample", "fsync", "rename", "unlink", "compaction", "report", "any")
# kill: SIGKILL to itself, or to the process VALUE; error: OSError with errno VALUE (5: I/O error); delay: VALUE seconds
ACTIONS = ("kill", "kill-parent", "kill-group", "stop", "error", "delay")
_FAULT = re.compile(r"([a-z]+)(?:@([a-z0-9-]+))?:([1-9]\d*):([a-z-]+)(?:=(\d+(?:\.\d+)?))?")


class _Fault(NamedTuple):
    point: str
    process: str | None
    n: int
    action: str
    value: float | None


def set_plan(text: str) -> None:
    """Follow this plan from now on, "" for none. Raises InputError."""
    global _plan
    matches = [_FAULT.fullmatch(item.strip()) for item in text.split(",")] if text else []
    if not all(m and m[1] in POINTS and m[4] in ACTIONS for m in matches):
        expected = f"POINT[@PROCESS]:N:ACTION[=VALUE] of {', '.join(POINTS)} and {', '.join(ACTIONS)}"
        raise InputError("a plan of faults cannot be read", where=VARIABLE, given=text, expected=expected)
    _plan = tuple(_Fault(m[1], m[2], int(m[3]), m[4], float(m[5]) if m[5] else None) for m in matches if m)
    reached.clear()


def reach(point: str) -> None:
    """Here is `point`. Raises OSError where the plan says so."""
    if _plan:
        import multiprocessing  # only here: who has no plan does not pay for it

        process = multiprocessing.current_process().name.removeprefix("benchsuite-").replace("MainProcess", "main")
        reached.update((point, "any"))
        for fault in _plan:
            if fault.point in (point, "any") and fault.process in (None, process) and fault.n == reached[fault.point]:
                _act(fault)


def _act(fault: _Fault) -> None:
    if fault.action == "error":
        raise OSError(number := int(fault.value or 5), os.strerror(number))
    if fault.action == "delay":
        time.sleep(fault.value or 0.0)
    elif fault.action == "kill-group":
        os.killpg(0, signal.SIGKILL)
    elif fault.action == "kill-parent":
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:  # it is dead when this returns
            time.sleep(0.001)
    else:
        victim = int(fault.value or os.getpid())
        os.kill(victim, signal.SIGSTOP if fault.action == "stop" else signal.SIGKILL)


reached: Counter[str] = Counter()  # since there is a plan
_plan: tuple[_Fault, ...] = ()
set_plan(os.environ.get(VARIABLE, ""))
