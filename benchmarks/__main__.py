"""`python -m benchmarks [NAME...]`: run the benchmarks, print their tables, write build/bench.json.

All ratios are of one run of this program, with the server pinned to one core and the client to another. Without a name
all of BENCHMARKS are run.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import (
    capacity,
    clients,
    coverage,
    extremes,
    faults,
    gate,
    million,
    nvml_faults,
    open_loop,
    quality,
    search,
    true_warnings,
    verdicts,
    whole_run,
)
from benchsuite.telemetry.host import describe_host

BENCHMARKS = {
    "fidelity": clients.fidelity_table,
    "ceiling": extremes.ceiling,
    "requests": extremes.request_path,
    "memory": extremes.memory,
    "faults": faults.fault_table,
    "whole": whole_run.whole_run,
    "coverage": coverage.intervals,
    "verdicts": verdicts.verdicts,
    "calibration": verdicts.calibration,
    "gate": gate.gate,
    "history": gate.history,
    "ab": gate.ab,
    "million": million.million,
    "large-sets": million.large_sets,
    "nvml": nvml_faults.nvml_table,
    "capacity": capacity.capacity,
    "warnings": true_warnings.true_warnings,
    "lateness": open_loop.lateness,
    "queues": open_loop.queues,
    "stall": open_loop.stall,
    "saturation": open_loop.saturated,
    "saturation-model": open_loop.saturation_model,
    "search": search.search,
    "quality-coverage": quality.coverage,
    "letters": quality.letters,
}
OUT = Path(__file__).parent.parent / "build" / "bench.json"


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    wanted = names or list(BENCHMARKS)
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if len(os.sched_getaffinity(0)) < 2:
        print("only one core: server and client share it, and these figures say little", file=sys.stderr)
    results: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": describe_host(),
    }
    for name in wanted:
        print(f"\n== {name}: {(BENCHMARKS[name].__doc__ or '').splitlines()[0]}", flush=True)
        results[name] = BENCHMARKS[name]()
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(f"\nwritten to {OUT.relative_to(Path.cwd()) if OUT.is_relative_to(Path.cwd()) else OUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
