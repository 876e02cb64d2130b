"""The check-up of the GPUs that a sweep would sample, through its own sampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pynvml

from benchsuite.records import GpuSample
from benchsuite.telemetry.findings import Finding, judged
from benchsuite.telemetry.nvml_found import quietly
from benchsuite.telemetry.recorder import Sampler

_GB = 1e9


def gpu_findings(sampler: Sampler, throttles: Mapping[str, int], *, serving: bool) -> Iterator[Finding]:
    """What it finds now. throttles: the bits of GpuSample.throttle_reasons that are trouble, by name.

    serving: a server is expected to be on the GPUs.
    """
    rows = {row.uuid: row for row in sampler.sample() if isinstance(row, GpuSample)}
    facts = sampler.facts()
    names = {card["uuid"]: f"GPU {card['index']}" for card in facts["devices"] if "index" in card}
    if facts["source"] == "nvml":
        words = f"driver {facts['driver']}, NVML {facts['nvml']}, CUDA {facts['cuda_driver']}"
        yield Finding("gpu", "driver", "ok", words)
        yield from _cards(facts, rows)
    else:
        yield _exporter(facts, [row.error for row in rows.values() if not row.uuid])
    for uuid in facts.get("used") or [uuid for uuid in rows if uuid]:
        if uuid in rows:
            yield from _now(names.get(uuid, uuid[:12]), rows[uuid], throttles, serving)
    lost = [row.error for row in rows.values() if row.error]
    for problem in dict.fromkeys(sampler.problems()):
        if not any(error and error in problem for error in lost):
            yield Finding("gpu", "not told" if ": empty" in problem else "note", "ok", problem)


def _exporter(facts: Mapping[str, Any], errors: Sequence[str | None]) -> Finding:
    if errors:
        remedy = "start dcgm-exporter there, or check --dcgm-url"
        return Finding("gpu", "DCGM", "fail", errors[0] or facts["url"], remedy)
    n, every_s = len(facts["devices"]), facts["interval_s"]
    found = f"{facts['url']}: {n} GPU{'s' * (n != 1)}, collected every {every_s:g} s ({facts['interval_source']})"
    remedy = "start it with -c 1000 or DCGM_EXPORTER_INTERVAL=1000 (milliseconds): short points fall between readings"
    return judged("gpu", "DCGM", found, (every_s > 5, "warn", remedy))


def _cards(facts: Mapping[str, Any], rows: Mapping[str, GpuSample]) -> Iterator[Finding]:
    for card in facts["devices"]:
        name = f"GPU {card['index']}"
        memory = "" if card["memory_total_bytes"] is None else f", {card['memory_total_bytes'] / _GB:.0f} GB"
        limit = "" if card["power_limit_w"] is None else f", limit {card['power_limit_w']:.0f} W"
        used = card["uuid"] in rows or any(mig["uuid"] in rows for mig in card["mig_devices"])
        slices = len(card["mig_devices"])
        mig = f", MIG with {slices} device{'s' * (slices != 1)}" if card["mig"] else ""
        found = f"{card['name']}{memory}{limit}{mig}; {'sampled' if used else 'not sampled'} ({facts['used_how']})"
        remedy = "MIG tells no utilisation, and power only of the whole card: measure on a whole card where you can"
        yield judged("gpu", name, found, (card["mig"], "warn", remedy))
        kept = _persistence(card["uuid"])
        if kept is not None:
            word = (
                "persistence mode on" if kept else "persistence mode off: the driver lets go of a card that is not used"
            )
            remedy = f"sudo nvidia-smi -i {card['index']} -pm 1"
            yield judged("gpu", f"{name} kept", word, (not kept, "warn", remedy))


def _now(name: str, row: GpuSample, throttles: Mapping[str, int], serving: bool) -> Iterator[Finding]:
    if row.error and row.util_ratio is None and row.power_w is None:
        yield Finding("gpu", f"{name} now", "warn", row.error, "see nvidia-smi; a lost GPU needs a reset or a reboot")
        return
    words = [
        None if row.util_ratio is None else f"{100 * row.util_ratio:.0f} % busy",
        None if row.power_w is None else f"{row.power_w:.0f} W",
        None if row.memory_used_bytes is None else f"{row.memory_used_bytes / _GB:.1f} GB in use",
        None if row.sm_clock_mhz is None else f"{row.sm_clock_mhz} MHz",
        None if row.temperature_c is None else f"{row.temperature_c:.0f} degrees C",
    ]
    reasons = [reason for reason, bit in throttles.items() if (row.throttle_reasons or 0) & bit]
    found = ", ".join([*(word for word in words if word), *(f"throttled: {reason}" for reason in reasons)])
    yield judged(
        "gpu", f"{name} now", found or "tells nothing",
        (bool(reasons), "warn", "look at cooling, the power limit (nvidia-smi -q -d PERFORMANCE) and who else uses it"),
        (not serving and (row.util_ratio or 0.0) > 0.05, "warn", "something runs on it; nvidia-smi names it"),
    )  # fmt: skip
    yield from _processes(name, row.n_processes, serving)


def _processes(name: str, n_processes: int | None, serving: bool) -> Sequence[Finding]:
    if n_processes is None:
        return ()
    most = 1 if serving else 0
    found = f"{n_processes} compute process{'es' * (n_processes != 1)} on it"
    remedy = "see nvidia-smi: only the server's processes should be there while it is measured"
    return (judged("gpu", f"{name} use", found, (n_processes > most, "warn", remedy)),)


def _persistence(uuid: str) -> bool | None:
    """Whether the driver keeps the card ready while nobody uses it; None if not told. NVML is open."""
    handle = quietly(pynvml.nvmlDeviceGetHandleByUUID, uuid)
    mode = None if handle is None else quietly(pynvml.nvmlDeviceGetPersistenceMode, handle)
    return None if mode is None else mode == 1
