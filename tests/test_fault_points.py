"""Fault points: nothing without a plan, the fault at the n-th time with one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from benchsuite import fault_points
from benchsuite.errors import InputError
from benchsuite.fault_points import reach, set_plan


@pytest.fixture(autouse=True)
def _without_a_plan_afterwards():
    yield
    set_plan("")


def test_nothing_without_a_plan():
    """Who has no plan passes every point, and nothing is counted."""
    for point in fault_points.POINTS:
        reach(point)
    assert not fault_points.reached


def test_the_nth_time():
    """The error comes at the n-th time at that point, with the number asked for, and not again."""
    set_plan("rename:2:error=28, fsync@main:1:error, batch@worker-7:1:error, any:5:error=1")
    seen = []
    for point in ("rename", "fsync", "batch", "rename", "unlink", "rename"):
        try:
            reach(point)
        except OSError as error:
            seen.append((point, error.errno))
    assert seen == [("fsync", 5), ("rename", 28), ("unlink", 1)]


def test_a_step_of_the_wall_clock():
    """The process reads its wall clock shifted from there on; the monotonic clock goes on."""
    script = (
        "import time\nfrom benchsuite.fault_points import reach\n"
        "before = time.time_ns() - time.monotonic_ns(); reach('order')\n"
        "print(round((time.time_ns() - time.monotonic_ns() - before) / 1e9))"
    )
    environment = os.environ | {fault_points.VARIABLE: "order@main:1:step=-2400"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout == "-2400\n"


@pytest.mark.parametrize("action", ["kill", "kill-group"])
def test_killed_where_it_stands(action):
    """The process dies at the point that its environment names."""
    script = (
        "from benchsuite.fault_points import reach\nreach('unlink'); print(1, flush=True); reach('unlink'); print(2)"
    )
    environment = os.environ | {fault_points.VARIABLE: f"unlink@main:2:{action}"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, start_new_session=True
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1\n")


@pytest.mark.parametrize("plan", ["fsync", "nowhere:1:kill", "fsync:0:kill", "fsync:1:burn", "fsync:1:kill,", "a b"])
def test_plans_that_cannot_be_read(plan):
    """They are refused, by the name of the variable."""
    with pytest.raises(InputError) as refused:
        set_plan(plan)
    assert (refused.value.where, refused.value.given) == (fault_points.VARIABLE, plan)
