"""The monitoring targets: what is warned of, and what is not though it looks bad."""

from __future__ import annotations

import pytest

from benchsuite.analysis.ttft_breakdown import ServerUse
from benchsuite.analysis.warnings import check_telemetry
from benchsuite.level import Level
from benchsuite.results import GpuUse, Spread


def use(**fields):
    return GpuUse("nvml", ("GPU-a",), 100, 1.0, **fields)


def even(value):
    return Spread(value, value, value)


def codes(gpu, server=None, profile="vllm"):
    return [warn.code for warn in check_telemetry(gpu, server, Level(8), profile)]


@pytest.mark.parametrize(("ratio", "found"), [(0.69, ["gpu_util_low"]), (0.70, []), (0.75, []), (1.0, [])])
def test_utilisation(ratio, found):
    """Below 70 % is the alert; near 100 %, expected already with few users, is none."""
    assert codes(use(util_ratio=even(ratio))) == found


def test_memory_is_no_sign_of_load_where_it_is_taken_at_start():
    """92 % warns on a server that grows; with vLLM the KV cache is asked instead, and missed where it is not known."""
    full = use(memory_ratio=even(0.92))
    assert codes(full, profile="openai") == ["gpu_memory"]
    assert codes(full, ServerUse(Level(8), kv_cache_max_ratio=0.4)) == []
    assert codes(full, ServerUse(Level(8), kv_cache_max_ratio=0.97)) == ["kv_cache_full"]
    assert codes(full, ServerUse(Level(8))) == ["gpu_memory_reserved"]


@pytest.mark.parametrize(("waiting", "found"), [(99.0, []), (100.0, ["queue_depth"]), (None, [])])
def test_queue(waiting, found):
    """100 requests waiting are the target's end."""
    assert codes(None, ServerUse(Level(8), waiting_max=waiting, waiting_mean=waiting)) == found


def test_preemptions():
    """Any at all; none and unknown are not warned of."""
    (warn,) = check_telemetry(None, ServerUse(Level(8), preemptions=7.0), Level(64), None)
    assert (warn.code, warn.level.users) == ("preemptions", 64)
    assert warn.values["requests"] == 7
    assert codes(None, ServerUse(Level(8), preemptions=0.0)) == []
    assert codes(None, ServerUse(Level(8))) == []


def test_throttling_and_strangers():
    """Each kind of reason with its own code and so remedy; another process on the GPU."""
    throttle_s = {"sw_power_cap": 12.0, "hw_thermal": 3.0, "power_brake": 1.0}
    throttled = ["gpu_power_capped", "gpu_thermal_throttling", "gpu_power_brake"]
    assert codes(use(throttle_s=throttle_s, foreign_processes=1)) == [*throttled, "gpu_shared"]
    assert codes(use(throttle_s={}, foreign_processes=0)) == []


def test_nothing_known_warns_of_nothing():
    """Missing is not bad."""
    assert codes(use()) == []
    assert codes(None) == []
