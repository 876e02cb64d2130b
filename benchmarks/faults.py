"""What each fault of a server becomes: its status, and no row lost."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchsuite.errors import ServerRefused
from benchsuite.load.sweep import sweep
from benchsuite.progress import View
from benchsuite.simulator.config import FAULT_KINDS, Fault, LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import parse_spec
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import Prompt, make_workload

REQUESTS, USERS, SHARE = 640, 128, 0.25
# what the simulator is told for kinds that need a number: longer than the client waits
NUMBERS: dict[str, dict[str, Any]] = {
    "stall": {"delay_s": 30.0},
    "slow_headers": {"delay_s": 30.0},
    "huge_line": {"size_bytes": 1 << 20},
}


def fault_table() -> list[dict[str, Any]]:
    """Fault -> status, over 128 users and 2 processes; a quarter of the requests meet the fault, none may be lost."""
    rows = []
    print(f"{'fault':<16}{'sent':>6}{'rows':>6}{'lost':>6}  statuses")
    for kind in FAULT_KINDS:
        found = _run(Fault(kind=kind, probability=SHARE, **NUMBERS.get(kind, {})))  # type: ignore[arg-type]
        statuses = Counter(found)
        row = {"fault": kind, "sent": REQUESTS, "rows": len(found), "statuses": dict(sorted(statuses.items()))}
        rows.append(row)
        shown = ", ".join(f"{name} {n}" for name, n in sorted(statuses.items()))
        print(f"{kind:<16}{REQUESTS:>6}{len(found):>6}{REQUESTS - len(found):>6}  {shown}", flush=True)
    return rows


def _run(fault: Fault) -> list[str]:
    workload = make_workload(
        "faults",
        tuple(Prompt(f"p{i}", None, ({"role": "user", "content": f"q {i}"},), None, 8) for i in range(REQUESTS)),
    )
    for seed in range(50):  # the two requests of the preflight must get through: take a seed that spares them
        config = SimulatorConfig(latency=LatencyModel(ttft_s=0.02, itl_s=0.002), faults=(fault,), seed=seed)
        with simulator(config) as server, tempfile.TemporaryDirectory(prefix="benchsuite-bench-") as folder:
            tree = {
                "server": {"base_url": server.base_url, "profile": "vllm"},
                "load": {"concurrency": [USERS], "warmup_requests": 0, "workers": 2},
                "timeouts": {"idle_s": 1.0, "request_s": 10.0},
            }
            try:
                sweep(parse_spec(tree, where="bench"), workload, Path(folder) / "run", View())
            except ServerRefused:
                continue
            statuses: list[str] = read_run(Path(folder) / "run").table["status"].to_pylist()
            return statuses
    raise RuntimeError(f"no seed lets the preflight through {fault}")
