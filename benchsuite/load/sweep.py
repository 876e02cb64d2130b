"""A sweep from its spec to its run folder: what is refused before, and who conducts it (conductor.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchsuite.errors import InputError
from benchsuite.load.conductor import Conductor
from benchsuite.load.manifest import new_run_id
from benchsuite.load.plan import plan_points
from benchsuite.load.preflight import control_client, preflight
from benchsuite.load.resume import (
    identity,
    identity_of,
    refuse_differences,
    remaining,
)
from benchsuite.load.view import SweepResult, View
from benchsuite.spec import SweepSpec
from benchsuite.store import Run, RunFolder
from benchsuite.telemetry.descriptors import raise_limit
from benchsuite.telemetry.host import describe_host
from benchsuite.workload.dataset import Workload

_OTHER_DESCRIPTORS = 256  # of a measuring process beside its connections: pipes, journal, libraries


def sweep(
    spec: SweepSpec,
    workload: Workload,
    output: Path | None,
    view: View,
    served: dict[str, Any] | None = None,
    server_pids: tuple[int, ...] = (),
    server_ended: Callable[[], bool] = lambda: False,
) -> SweepResult:
    """Measure `spec` with `workload` and leave a run folder. Raises InputError or RunError; finished points stay.

    output: a new folder, or one with a run of the same spec: then only what it lacks is measured. None: a new one
    under results/. served, server_pids, server_ended: facts and processes of a server that we started ourselves, and
    whether it has ended.
    """
    check_levels(spec, workload)
    check_descriptors(spec)
    folder = None if output is None else RunFolder(output)
    try:
        if folder is not None and folder.before is not None:
            now = identity(spec, workload.content_hash, describe_host()["code_hash"], served)
            refuse_differences(identity_of(folder.before.manifest), now, str(output))
            if _is_whole(folder.before, spec, workload):
                return _already_measured(folder, folder.before, spec, view)
        with control_client(spec) as control:
            found = preflight(spec, control, workload.prompts, served)
            folder = folder or RunFolder(Path("results") / new_run_id(found.model))
            return Conductor(spec, workload, folder, found, control, view, served, server_pids, server_ended).run()
    finally:
        if folder is not None:
            folder.release()


def _is_whole(before: Run, spec: SweepSpec, workload: Workload) -> bool:
    """True if every point that the spec asks for is measured: then no server is needed."""
    points = plan_points(spec.load, len(workload.prompts), before.manifest["run_id"])
    return before.manifest.get("status") == "complete" and not remaining(points, before.manifest.get("points", []))


def _already_measured(folder: RunFolder, before: Run, spec: SweepSpec, view: View) -> SweepResult:
    """Only what the judgement takes from the spec may be new: its prices and its SLO."""
    folder.finish()
    folder.write_manifest(before.manifest | {"spec": spec.model_dump(mode="json")})
    view.note("every point is measured already; it is judged anew")
    return SweepResult(before.manifest["run_id"], folder.path, True, 0)


def check_levels(spec: SweepSpec, workload: Workload) -> None:
    """Refuse a level that the set cannot keep busy."""
    highest = max(spec.load.concurrency)
    if highest > len(workload.prompts):
        raise InputError(
            "a level has more virtual users than the set has requests, so its concurrency is never reached",
            where="concurrency",
            given=f"level {highest} with {len(workload.prompts)} requests",
            expected=f"at least {highest} requests; 10 times the level or more for a steady state",
            hint=f"--requests {10 * highest}, or lower levels",
        )


def check_descriptors(spec: SweepSpec) -> None:
    """Raise the limit on open files to what the highest level needs; refuse what the system does not allow."""
    users = -(-max(spec.load.concurrency) // spec.load.n_workers)
    needed = users * (2 if spec.server.fallback else 1) + _OTHER_DESCRIPTORS
    allowed = raise_limit(needed)
    if allowed < needed:
        raise InputError(
            "a level needs more open files than this system lets one process have",
            where="ulimit -n",
            given=f"{allowed} for level {max(spec.load.concurrency)} over {spec.load.n_workers} measuring processes",
            expected=f"{needed} or more",
            hint=f"ulimit -Hn {needed} (as root), more --workers (each has its own limit), or lower levels",
        )
