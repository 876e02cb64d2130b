"""`python session.py PLAN`: a sampler on the fake NVML goes through the steps of a JSON plan; what it said, as JSON.

PLAN: {control, library, knobs, hz, gpu_ids, server_pids, listening_pids, steps}; a step has "sample": n,
"set": knobs, "wait_s": s or "later_s": s, which turns on the clock of the attempts to start NVML again. `play` does it
in a process of its own.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchsuite.errors import TelemetryError
from fake_nvml import SONAME, FakeNvml

COUNTED = ("nvmlInitWithFlags", "nvmlDeviceGetPcieThroughput", "nvmlDeviceGetTotalEnergyConsumption")


def play(fake: FakeNvml, steps: list[dict[str, Any]], **plan: Any) -> dict[str, Any]:
    """The session's report: {rows, facts, problems, calls, gpm_live}, or {error, given, hint} if nothing was opened."""
    plan = {"control": str(fake.control), "library": str(fake.library), "knobs": fake.knobs, "steps": steps} | plan
    command = [sys.executable, __file__, json.dumps(plan)]
    environment = fake.environment() | plan.pop("environment", {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _session(plan: dict[str, Any]) -> dict[str, Any]:
    from benchsuite.telemetry.nvml import NvmlSampler

    control = Path(plan["control"])
    fake = FakeNvml(control.parent, Path(plan["library"]), **plan["knobs"])
    try:
        pids = (plan.get("server_pids", ()), plan.get("listening_pids", ()))
        sampler = NvmlSampler(time.monotonic_ns(), plan.get("hz", 1.0), plan.get("gpu_ids", ()), *pids)
    except TelemetryError as error:
        return {"error": error.what, "given": error.given, "expected": error.expected, "hint": error.hint}
    now_s = [1000.0]
    sampler.clock_s = lambda: now_s[0]
    rows = []
    for step in plan["steps"]:
        fake.set(**step.get("set", {}))
        now_s[0] += step.get("later_s", 0)
        time.sleep(step.get("wait_s", 0))
        rows += [[row._asdict() for row in sampler.sample()] for _ in range(step.get("sample", 0))]
    facts, problems = sampler.facts(), sampler.problems()
    sampler.close()
    sampler.close()
    try:
        library = ctypes.CDLL(SONAME)
        library.fake_calls.restype = ctypes.c_long
        calls = {name: library.fake_calls(name.encode()) for name in COUNTED}
        live = library.fake_gpm_live()
    except OSError:
        calls, live = {}, None
    return {"rows": rows, "facts": facts, "problems": problems, "calls": calls, "gpm_live": live}


if __name__ == "__main__":
    print(json.dumps(_session(json.loads(sys.argv[1]))))
