"""The monitoring targets, as warnings with remedies: what GPUs and server said while a level was measured. Pure.

Targets of a web article (docs/METHODS.md): GPU utilisation above 80 %, alert below 70 %; queue below 100; memory below
90 %. The last collides with servers that take their memory at start (vLLM's gpu-memory-utilization 0.9): there KV cache
use stands for it. Utilisation near 100 % is expected already with few users and is no warning: a server is not to be
sized by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchsuite.analysis.server_use import ServerUse
from benchsuite.results import GpuUse, Warn

UTIL_TARGET_RATIO, UTIL_ALERT_RATIO = 0.80, 0.70
MAX_QUEUE = 100
MAX_MEMORY_RATIO = 0.90
PREALLOCATES = ("vllm", "tgi", "llamacpp")  # profiles whose memory is taken at start, whatever the load
_HEAT = "cool the card or cap its clocks (nvidia-smi -lgc), then measure again"
_REMEDIES: Mapping[str, str] = {
    "sw_power_cap": "raise the power limit (nvidia-smi -pl), or quote it with the result; then measure again",
    "hw_slowdown": _HEAT,
    "sw_thermal": _HEAT,
    "hw_thermal": _HEAT,
    "power_brake": "the power supply asked for it: look at the host, then measure again",
}


def check_telemetry(gpu: GpuUse | None, server: ServerUse | None, concurrency: int, profile: str | None) -> list[Warn]:
    """What the level's readings say against it. profile: the kind of server, None if not known."""
    found: list[tuple[str, str, str]] = []
    if gpu is not None:
        found += [*_throttled(gpu), *_shared(gpu), *_idle(gpu), *_memory(gpu, server, profile)]
    if server is not None:
        found += [*_queue(server), *_kv_cache(server), *_preempted(server)]
    return [Warn(code, finding, remedy, concurrency) for code, finding, remedy in found]


_Found = list[tuple[str, str, str]]


def _throttled(gpu: GpuUse) -> _Found:
    return [
        ("gpu_throttled", f"{reason} for {seconds:,.1f} s: the run is not what the card can do", _REMEDIES[reason])
        for reason, seconds in (gpu.throttle_s or {}).items()
    ]


def _shared(gpu: GpuUse) -> _Found:
    if not gpu.foreign_processes:
        return []
    finding = f"{gpu.foreign_processes} other process{'es' * (gpu.foreign_processes > 1)} on the server's GPU"
    return [("gpu_shared", finding, "end it, or measure on a GPU of its own: speed, power and memory are of both")]


def _idle(gpu: GpuUse) -> _Found:
    if gpu.util_ratio is None or gpu.util_ratio.mean >= UTIL_ALERT_RATIO:
        return []
    finding = f"GPU utilisation {gpu.util_ratio.mean:.0%}, below the alert line of {UTIL_ALERT_RATIO:.0%} "
    finding += f"(target: above {UTIL_TARGET_RATIO:.0%})"
    remedy = (
        "more users, a smaller or one GPU less; if more users do not help, the server's CPU or the client holds it up"
    )
    return [("gpu_util_low", finding, remedy)]


def _memory(gpu: GpuUse, server: ServerUse | None, profile: str | None) -> _Found:
    if gpu.memory_ratio is None or gpu.memory_ratio.greatest < MAX_MEMORY_RATIO:
        return []
    finding = f"GPU memory {gpu.memory_ratio.greatest:.0%} in use (target: below {MAX_MEMORY_RATIO:.0%})"
    if profile not in PREALLOCATES:
        return [("gpu_memory", finding, "a shorter context, fewer slots, a quantised model, or a GPU with more memory")]
    if server is not None and server.kv_cache_max_ratio is not None:
        return []  # its KV cache says it
    finding += f", but {profile} takes it at start: no sign of load, and its KV cache use is not known"
    return [
        ("gpu_memory", finding, "let the server's metrics be read (--metrics-url): KV cache use is the sign of load")
    ]


def _kv_cache(server: ServerUse) -> _Found:
    ratio = server.kv_cache_max_ratio
    if ratio is None or ratio < MAX_MEMORY_RATIO:
        return []
    mean = "" if server.kv_cache_mean_ratio is None else f", {server.kv_cache_mean_ratio:.0%} on average"
    remedy = "next come preemptions: more memory for the cache, a shorter context, or fewer users"
    return [
        ("kv_cache_full", f"KV cache up to {ratio:.0%} in use{mean} (target: below {MAX_MEMORY_RATIO:.0%})", remedy)
    ]


def _queue(server: ServerUse) -> _Found:
    if server.waiting_max is None or server.waiting_max < MAX_QUEUE:
        return []
    mean = "" if server.waiting_mean is None else f", {server.waiting_mean:,.0f} on average"
    finding = f"up to {server.waiting_max:,.0f} requests waited in the server{mean} (target: below {MAX_QUEUE})"
    return [("queue_depth", finding, "more slots (vLLM: --max-num-seqs), another replica, or fewer users")]


def _preempted(server: ServerUse) -> _Found:
    if not server.preemptions:
        return []
    finding = f"{server.preemptions:,.0f} requests were preempted: their KV cache was thrown away and made again"
    return [("preemptions", finding, "more memory for the cache (vLLM: --gpu-memory-utilization), or fewer users")]
