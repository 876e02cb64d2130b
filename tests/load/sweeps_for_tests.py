"""A whole sweep in a few lines, and what its folder says."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchsuite.load.sweep import sweep
from benchsuite.manifest import RunManifest
from benchsuite.progress import PlannedPoint, ProgressSnapshot, SweepResult
from benchsuite.spec import SweepSpec, parse_spec
from benchsuite.store.run_folder import Run, read_run
from benchsuite.workload.dataset import Prompt, Workload, make_workload


class Watcher:
    """A View that remembers what it was told; on_progress may act in the middle of a point."""

    def __init__(self, on_progress: Any = None) -> None:
        self.done: list[tuple[str, int]] = []
        self.notes: list[str] = []
        self._on_progress = on_progress

    def begun(self, path: Path, manifest: RunManifest) -> None:
        self.path, self.manifest = path, manifest

    def progress(self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> None:
        if self._on_progress is not None and point.phase == "measuring":
            self._on_progress(point, progress)

    def point_done(self, point: PlannedPoint, rows: Any, duration_s: float) -> None:
        self.done.append((point.point_id, sum(map(len, rows()))))

    def note(self, text: str) -> None:
        self.notes.append(text)


def prompts(n: int, tokens: int | None = None) -> Workload:
    """n prompts p0, p1, ... that ask for `tokens` tokens, or for 1, 2, ... 8, 1, ... of them."""
    made = [
        Prompt(f"p{i}", "triage", ({"role": "user", "content": f"question {i}"},), None, tokens or 1 + i % 8)
        for i in range(n)
    ]
    return make_workload("test", made)


def spec_of(base_url: str, levels: list[int], *, workers: int = 1, **more: Any) -> SweepSpec:
    """A spec without warm-up, pauses or GPUs. more: tables to merge in."""
    tree: dict[str, Any] = {
        "server": {"base_url": base_url},
        "load": {"concurrency": levels, "workers": workers, "warmup_requests": 0, "warmup_min_s": 0},
    }
    tree["load"] |= {"cooldown_min_s": 0, "cooldown_max_s": 0}
    tree["telemetry"] = {"gpu": "off"}
    for table, values in more.items():
        tree[table] = tree.get(table, {}) | values
    return parse_spec(tree, where="test")


def run(spec: SweepSpec, workload: Workload, path: Path, view: Watcher | None = None) -> tuple[SweepResult, Run]:
    """Sweep, and read what it left."""
    result = sweep(spec, workload, path, view or Watcher())
    return result, read_run(path)


def column(found: Run, name: str, point: str | None = None) -> list[Any]:
    """A column, of one point or of all."""
    rows = found.table.select(["point_id", name]).to_pylist()
    return [row[name] for row in rows if point in (None, row["point_id"])]


def each_once(found: Run, point: str, n: int) -> bool:
    """True if every one of n prompts has exactly one row in the point."""
    return Counter(column(found, "prompt_id", point)) == Counter(f"p{i}" for i in range(n))


def most_in_flight(found: Run, point: str | None = None, endpoint: str | None = None) -> int:
    """The most requests between their send and their close at any time, of one point or endpoint or of all."""
    rows = [
        row
        for row in found.table.select(["point_id", "endpoint", "sent_s", "closed_s"]).to_pylist()
        if point in (None, row["point_id"]) and endpoint in (None, row["endpoint"])
    ]
    changes = sorted([(row["sent_s"], 1) for row in rows] + [(row["closed_s"], -1) for row in rows])
    return max(accumulate(change for _, change in changes))
