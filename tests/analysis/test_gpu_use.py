"""What the GPUs did, against answers on paper: time-weighted means, throttling in seconds, coverage, several GPUs."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from factory import request_row as row
from samples_for_tests import every, gpu_table

from benchsuite.analysis.gpu import gpu_use
from benchsuite.analysis.requests import level_rows
from benchsuite.analysis.time_series import level_windows
from benchsuite.records import RequestRecord
from benchsuite.results import Spread

SECONDS = [float(t) for t in range(0, 121)]
WINDOW = ((20.0, 100.0),)


def test_means_are_weighted_by_time():
    """0.2 for 20 s and 0.8 for 60 s, however often each was read, are 0.65."""
    times = [*SECONDS[:41], *(40 + k / 2 for k in range(1, 121)), *SECONDS[101:]]
    use = gpu_use(gpu_table(*every(times, lambda t: {"util_ratio": 0.2 if t <= 40 else 0.8})), WINDOW)
    assert use.util_ratio.mean == pytest.approx(0.65, abs=2e-3)  # the step is a slope of half a second
    assert use.coverage_ratio == pytest.approx(1)


def test_two_gpus():
    """Power adds up; activity is the least, the mean and the greatest GPU; the hottest one counts."""
    one = every(SECONDS, lambda _: {"power_w": 300.0, "sm_active_ratio": 0.9, "temperature_c": 61.0,
                                    "memory_used_bytes": 60.0, "memory_total_bytes": 80.0})  # fmt: skip
    two = every(SECONDS, lambda t: {"power_w": 200.0, "sm_active_ratio": 0.5, "temperature_c": 60.0 + 28 * (t == 50),
                                    "memory_used_bytes": 40.0, "memory_total_bytes": 80.0}, uuid="GPU-b")  # fmt: skip
    use = gpu_use(gpu_table(*one, *two), WINDOW)

    assert use.power_w == pytest.approx(500)
    assert dataclasses.astuple(use.sm_active_ratio) == pytest.approx((0.5, 0.7, 0.9))
    assert dataclasses.astuple(use.memory_ratio) == pytest.approx((0.5, 0.625, 0.75))
    assert (use.temperature_max_c, use.uuids, use.source) == (88, ("GPU-a", "GPU-b"), "nvml")
    assert use.n_samples == 162


def test_what_is_not_told_is_none():
    """A MIG slice tells no utilisation, an old card no tensors: None, never 0; power of one of two is no power."""
    use = gpu_use(gpu_table(*every(SECONDS, lambda _: {"power_w": 300.0}), *every(SECONDS, lambda _: {
        "util_ratio": 0.5}, uuid="GPU-b")), WINDOW)  # fmt: skip
    assert (use.power_w, use.tensor_active_ratio, use.temperature_max_c, use.throttle_s) == (None, None, None, None)
    assert (use.foreign_processes, use.sm_clock_mhz, use.memory_ratio) == (None, None, None)
    assert use.util_ratio == Spread(0.5, 0.5, 0.5)


def test_no_reading_in_the_window():
    """Samples elsewhere, or only errors: nothing to tell."""
    assert gpu_use(gpu_table(*every(SECONDS, lambda _: {"util_ratio": 0.5})), ((200.0, 300.0),)) is None
    assert gpu_use(gpu_table(*every(SECONDS, lambda _: {"error": "driver not loaded"})), WINDOW) is None


def test_throttling_by_reason():
    """10 s of power cap (4), 5 s of hardware heat (0x40, with its slowdown 8); idle and clock bits are no trouble."""

    def mask(at_s):
        heat = 0x48 if 60 <= at_s < 65 else 0
        return {"util_ratio": 1.0, "throttle_reasons": (0x4 if 40 <= at_s < 50 else 0x1 | 0x2 | 0x10) | heat}

    use = gpu_use(gpu_table(*every(SECONDS, mask)), WINDOW)
    assert use.throttle_s == {
        "sw_power_cap": pytest.approx(10),
        "hw_slowdown": pytest.approx(5),
        "hw_thermal": pytest.approx(5),
    }
    assert gpu_use(gpu_table(*every(SECONDS, lambda _: {"util_ratio": 1.0, "throttle_reasons": 1})), WINDOW
                   ).throttle_s == {}  # fmt: skip


def test_coverage_of_the_worst_gpu():
    """A GPU that is read for the first half of the window covers half of it."""
    half = [t for t in SECONDS if t <= 60]
    table = gpu_table(*every(SECONDS, lambda _: {"util_ratio": 0.5}), *every(half, lambda _: {"util_ratio": 0.5}, "b"))
    assert gpu_use(table, WINDOW).coverage_ratio == pytest.approx(0.5)


def test_windows_are_from_the_first_send_to_the_last_close():
    """Of each repeat by itself."""
    rows = [
        row(10.0, 0.5, [0.5], concurrency=8, repeat=0),
        row(10.5, 0.5, [0.5], tail_s=2.0, concurrency=8, repeat=0),
        row(50.0, 1.0, [], concurrency=8, repeat=1),
        row(90.0, 1.0, [], concurrency=16),
    ]
    (level, _) = level_rows(pd.DataFrame(rows, columns=list(RequestRecord._fields)))
    assert level_windows(level) == ((10.0, 13.5), (50.0, 51.0))
