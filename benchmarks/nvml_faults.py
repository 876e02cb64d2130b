"""What the NVML sampler makes of each fault of a fake NVML, and what a sample costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FAKE = Path(__file__).parents[1] / "tests" / "telemetry"
COUNTED = ("util_ratio", "memory_used_bytes", "power_w", "energy_j", "throttle_reasons", "sm_active_ratio")
GET = "rc__nvmlDeviceGet"
NOT_SUPPORTED, DRIVER_NOT_LOADED, UNKNOWN = 3, 9, 999
READINGS = (
    "TotalEnergyConsumption", "PowerUsage", "FieldValues", "EnforcedPowerLimit", "UtilizationRates", "MemoryInfo_v2",
    "ClockInfo", "Temperature", "CurrentClocksEventReasons",
)  # fmt: skip
NEWER = (
    "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlGpmQueryDeviceSupport",
    "nvmlDeviceGetMemoryInfo_v2",
)  # fmt: skip


def _during(**knobs: object) -> list[dict[str, Any]]:
    """Two samples, two with the knobs, two after these were taken back (10 s later for NVML's next start)."""
    undone: dict[str, object] = dict.fromkeys(knobs)
    return [{"wait_s": 0.06, "sample": 1}] * 2 + [
        {"set": knobs, "wait_s": 0.06, "sample": 1},
        {"wait_s": 0.06, "sample": 1},
        {"set": undone, "wait_s": 0.06, "later_s": 10, "sample": 1},
        {"wait_s": 0.06, "sample": 1},
    ]


# name, knobs, what happens meanwhile, functions that are left out, GPUs asked for
Case = tuple[str, dict[str, Any], list[dict[str, Any]], Sequence[str], list[str]]
CASES: list[Case] = [
    ("none", {}, _during(), (), []),
    ("no library", {}, [], (), []),
    ("driver not loaded", {"init_rc": DRIVER_NOT_LOADED}, [], (), []),
    ("no permission", {"init_rc": 4}, [], (), []),
    ("library and driver differ", {"init_rc": 18}, [], (), []),
    ("no GPU", {"gpus": 0}, [], (), []),
    ("no such GPU", {}, [], (), ["GPU-7"]),
    ("one GPU lost", {}, _during(lost1=1)[:4], (), []),
    ("one GPU lost, then back", {}, _during(lost1=1), (), []),
    ("driver reloaded", {}, _during(generation=1, init_rc=DRIVER_NOT_LOADED), (), []),
    ("energy counter set back", {}, _during(energy_reset=1), (), []),
    ("no energy counter", {f"{GET}TotalEnergyConsumption": NOT_SUPPORTED}, _during(), (), []),
    ("power fails at times", {}, _during(**{f"{GET}PowerUsage": UNKNOWN}), (), []),
    ("old library", {}, _during(), NEWER, []),
    (
        "everything fails",
        {"rc__nvmlGpmSampleGet": UNKNOWN} | {GET + one: UNKNOWN for one in READINGS},
        _during(),
        (),
        [],
    ),
    ("MIG, one slice", {"mig0": 2}, _during(), (), ["MIG-00000000"]),
]


def nvml_table() -> dict[str, Any]:
    """Fault -> rows, empty readings and what was said; then CPU and memory of 10,000 samples."""
    sys.path.insert(0, str(FAKE))
    from fake_nvml import FakeNvml, compiler
    from fake_nvml.session import play

    if compiler() is None:
        print("needs a C compiler")
        return {}
    found = []
    print(
        f"{'fault':<27}{'rows':>5}  empty: " + " ".join(f"{name.partition('_')[0]:>8}" for name in COUNTED) + "  said"
    )
    with tempfile.TemporaryDirectory(prefix="benchsuite-bench-") as folder:
        for i, (name, knobs, steps, without, ids) in enumerate(CASES):
            fake = FakeNvml(Path(folder) / str(i), without=without, **({"gpus": 2, "gpm": 1} | knobs))
            environment = {"LD_LIBRARY_PATH": ""} if name == "no library" else {}
            report = play(fake, steps, hz=10.0, gpu_ids=ids, environment=environment)
            found.append(_row(name, report))
        cost = [_cost(FakeNvml(Path(folder) / f"cost{n}", gpus=n, gpm=1), n) for n in (1, 8)]
    return {"faults": found, "cost": cost}


def _row(name: str, report: dict[str, Any]) -> dict[str, Any]:
    rows = [row for rows in report.get("rows", []) for row in rows]
    empty = {field: sum(row[field] is None for row in rows) for field in COUNTED}
    said = [f"{report['error']} ({report['given']})"] if "error" in report else report["problems"]
    counts = " ".join(f"{n:>8}" for n in empty.values()) if rows else " " * 53
    print(f"{name:<27}{len(rows):>5}         {counts}  {said[0] if said else '-'}")
    for words in said[1:]:
        print(" " * 96 + words, flush=True)
    return {"fault": name, "rows": len(rows), "empty": empty, "said": said}


def _cost(fake: Any, gpus: int) -> dict[str, Any]:
    """CPU per sample and the growth of memory over 10,000, in a process of its own."""
    code = f"from benchmarks.nvml_faults import measure; measure({gpus})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=fake.environment(), timeout=300
    )
    cpu_us, grown_kb = (float(word) for word in done.stdout.split())
    print(f"10,000 samples of {gpus} GPU(s): {cpu_us:.0f} us CPU a sample, memory grew by {grown_kb:.0f} kB")
    return {"gpus": gpus, "cpu_us_per_sample": cpu_us, "grown_kb": grown_kb}


def measure(gpus: int) -> None:
    """Take 10,000 samples at 10 Hz's rules without the pauses; print CPU (us a sample) and growth (kB)."""
    import time

    from benchsuite.telemetry.host import rss_bytes
    from benchsuite.telemetry.nvml import NvmlSampler

    sampler = NvmlSampler(time.monotonic_ns(), 10.0)
    for _ in range(500):
        sampler.sample()
    before, begun_s = rss_bytes(), time.process_time()
    for _ in range(10_000):
        rows = sampler.sample()
    spent_s, after = time.process_time() - begun_s, rss_bytes()
    assert len(rows) == gpus
    assert all(row.error is None for row in rows)
    sampler.close()
    print(spent_s / 10_000 * 1e6, ((after or 0) - (before or 0)) / 1e3)
