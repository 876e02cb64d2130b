"""Sweeps that stop at a fault point, so that a test acts in the middle of one whatever the machine's speed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from benchsuite import fault_points


@contextmanager
def faults(plan: str) -> Iterator[None]:
    """Processes that are started in the block follow the plan."""
    os.environ[fault_points.VARIABLE] = plan
    try:
        yield
    finally:
        del os.environ[fault_points.VARIABLE]


def while_stopped(act: Callable[[], None]) -> Callable[[object, object], None]:
    """What a view does at each progress: when every measuring process is stopped, act, and let them go on."""

    def on_progress(step: object, progress: object) -> None:
        workers = [psutil.Process(child.pid) for child in multiprocessing.active_children()]
        if workers and all(worker.status() == psutil.STATUS_STOPPED for worker in workers):
            act()
            for worker in workers:
                with suppress(psutil.Error):
                    worker.send_signal(signal.SIGCONT)

    return on_progress


def stopped_children() -> list[psutil.Process]:
    """The processes that stand at a fault point now."""
    stopped = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            stopped += [child] if child.status() == psutil.STATUS_STOPPED else []
    return stopped


def stopped_child() -> psutil.Process:
    """The process that stands at its fault point, as soon as one does."""
    while not (stopped := stopped_children()):
        time.sleep(0.005)
    return stopped[0]
