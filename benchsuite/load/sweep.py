"""The conductor: preflight, then every point in its order - warm up, measure, save, cool down.

It judges nothing: what it leaves is the run folder. What happens is told to a `View` as it happens.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import httpx
import pyarrow as pa

from benchsuite import __version__
from benchsuite.client.request import PointContext
from benchsuite.clock import NS_PER_S, Anchor, now_ns
from benchsuite.errors import InputError, RunError
from benchsuite.load.plan import PointPlan, plan_points
from benchsuite.load.preflight import Preflight, control_client, preflight
from benchsuite.load.workers import Fleet, PointOrder, Progress, WorkerReport, WorkerSetup
from benchsuite.records import SCHEMA_VERSION
from benchsuite.spec import SweepSpec
from benchsuite.store import RunFolder
from benchsuite.telemetry.calibration import read_calibration
from benchsuite.telemetry.host import Histogram, describe_host
from benchsuite.telemetry.server import ServerState, read_state, wait_until_idle
from benchsuite.workload.prompts import Workload


@dataclass(frozen=True, slots=True)
class Step:
    """Where the sweep is: point `index` (from 0) of `n_points`, warming up or measuring `n_requests`."""

    index: int
    n_points: int
    plan: PointPlan
    phase: str
    n_requests: int


class View(Protocol):
    """Is told what happens; must return at once."""

    def begun(self, run_id: str, path: Path, found: Preflight) -> None: ...

    def progress(self, step: Step, progress: Progress, elapsed_s: float) -> None: ...

    def point_done(self, step: Step, rows: pa.Table, wall_s: float) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Where the facts are, and whether the sweep ran to its end."""

    run_id: str
    path: Path
    complete: bool


def sweep(
    spec: SweepSpec,
    workload: Workload,
    output: Path | None,
    view: View,
    served: dict[str, Any] | None = None,
    server_pids: tuple[int, ...] = (),
) -> SweepResult:
    """Measure `spec` with `workload` and leave a run folder. Raises InputError or RunError; finished points stay.

    served, server_pids: facts and processes of a server that we started ourselves, for the manifest and the samplers.
    """
    check_levels(spec, workload)
    with control_client(spec) as control:
        found = preflight(spec, control, workload.prompts)
        run_id = new_run_id(found.model)
        folder = RunFolder(output or Path("results") / run_id)
        return _Sweep(spec, workload, folder, run_id, found, control, view, served, server_pids).run()


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


def new_run_id(model: str) -> str:
    """A name that sorts by time and says the model."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", model.rsplit("/", 1)[-1]).strip("-")[:40].lower() or "model"
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(2)}"


class _Sweep:
    def __init__(
        self,
        spec: SweepSpec,
        workload: Workload,
        folder: RunFolder,
        run_id: str,
        found: Preflight,
        control: httpx.Client,
        view: View,
        served: dict[str, Any] | None,
        server_pids: tuple[int, ...],
    ) -> None:
        self._server_pids = server_pids
        self._spec, self._workload, self._folder, self._run_id = spec, workload, folder, run_id
        self._found, self._control, self._view = found, control, view
        self._origin = Anchor.now()
        self._manifest: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "run_id": run_id,
            "status": "running",
            "created": datetime.fromtimestamp(self._origin.wall_ns / NS_PER_S, UTC).isoformat(),
            "benchsuite": __version__,
            "spec": spec.model_dump(mode="json"),
            "model": found.model,
            "workload": {
                "name": workload.name,
                "requests": len(workload.prompts),
                "content_hash": workload.content_hash,
            },
            "clock": {
                "name": "CLOCK_MONOTONIC",
                "origin_monotonic_ns": self._origin.monotonic_ns,
                "origin_wall_ns": self._origin.wall_ns,
            },
            "host": describe_host(),
            "calibration": read_calibration(),
            "preflight": found.facts,
            "served": served,
            "points": [],
        }

    def run(self) -> SweepResult:
        points = plan_points(self._spec.load, len(self._workload.prompts), self._run_id)
        n_workers = self._spec.load.n_workers
        self._manifest["workers"] = n_workers
        self._manifest["planned_points"] = [point.point_id for point in points]
        self._folder.write_manifest(self._manifest)
        self._view.begun(self._run_id, self._folder.path, self._found)
        status = "failed"
        try:
            load = self._spec.load
            setup = WorkerSetup(
                self._found.endpoint, self._workload.prompts, self._spec.timeouts, load.driver, load.max_rps
            )
            with Fleet(setup, n_workers) as fleet, self._signals(fleet):
                for i, plan in enumerate(points):
                    self._point(fleet, Step(i, len(points), plan, "measuring", len(plan.order)))
                    if fleet.stopping:
                        break
                status = "stopped" if fleet.stopping else "complete"
        finally:
            end = Anchor.now()
            self._manifest |= {"status": status}
            self._manifest["clock"] |= {"end_monotonic_ns": end.monotonic_ns, "end_wall_ns": end.wall_ns}
            self._folder.finish()
            self._folder.write_manifest(self._manifest)
        return SweepResult(self._run_id, self._folder.path, status == "complete")

    def _point(self, fleet: Fleet, step: Step) -> None:
        plan = step.plan
        entry: dict[str, Any] = {
            "point_id": plan.point_id,
            "concurrency": plan.concurrency,
            "repeat": plan.repeat,
            "status": "running",
            "cache_bust": self._found.plan.cache_bust,
            "salt": plan.salt,
        }
        self._manifest["points"].append(entry)
        if plan.warmup_requests or plan.warmup_min_s:
            warming = dataclasses.replace(step, phase="warming up", n_requests=plan.warmup_requests)
            entry["warmup"] = self._warm_up(fleet, warming)
        entry["cooldown"] = self._cool_down(plan)
        before = read_state(self._control, self._found.profile)
        entry["started_s"] = self._now_s()
        try:
            reports = self._run_orders(fleet, step, self._found.plan, plan.salt, measured=True)
        except RunError:
            entry["status"] = "failed"
            self._folder.finish_point(plan.point_id)
            raise
        entry["ended_s"] = self._now_s()
        rows = self._folder.finish_point(plan.point_id)
        whole = not fleet.stopping and rows.num_rows == len(plan.order)
        entry["status"] = "complete" if whole else "stopped"
        entry["client"] = client_facts(reports)
        entry["server"] = _server_entry(before, read_state(self._control, self._found.profile))
        self._folder.write_manifest(self._manifest)
        self._view.point_done(step, rows, entry["ended_s"] - entry["started_s"])
        if not fleet.stopping and not any(report.n_ok for report in reports):
            first = next((report.first_error for report in reports if report.first_error), None)
            raise RunError(
                "no request of the point succeeded; the sweep ends here",
                where=plan.point_id,
                given=first,
                hint="the points measured before are kept in " + str(self._folder.path),
            )

    def _warm_up(self, fleet: Fleet, step: Step) -> dict[str, Any]:
        started_s = self._now_s()
        reports = self._run_orders(fleet, step, self._found.plan, step.plan.warmup_salt, measured=False)
        return {
            "n_ok": sum(report.n_ok for report in reports),
            "n_failed": sum(report.n_failed for report in reports),
            "output_tokens": sum(report.output_tokens for report in reports),
            "duration_s": self._now_s() - started_s,
        }

    def _cool_down(self, plan: PointPlan) -> dict[str, Any]:
        waited_s, seen_idle = wait_until_idle(
            self._control, self._found.profile, plan.cooldown_min_s, plan.cooldown_max_s
        )
        return {"waited_s": waited_s, "seen_idle": seen_idle}

    def _run_orders(self, fleet: Fleet, step: Step, body: Any, salt: str, *, measured: bool) -> list[WorkerReport]:
        plan = step.plan
        orders = [
            PointOrder(
                context=PointContext(
                    self._run_id,
                    plan.point_id,
                    plan.concurrency,
                    plan.repeat,
                    worker,
                    self._origin.monotonic_ns,
                    body.stream,
                    self._spec.workload.save_text,
                ),
                plan=dataclasses.replace(body, salt=salt),
                order=plan.order,
                n_users=n_users,
                journal=self._folder.journal_path(plan.point_id, worker) if measured else None,
                closes_after_response=self._found.closes_after_response,
                at_least=plan.warmup_requests,
                min_s=plan.warmup_min_s,
            )
            for worker, n_users in enumerate(fleet.share_users(plan.concurrency))
        ]
        started_s = time.monotonic()
        return fleet.run_point(
            orders, lambda progress: self._view.progress(step, progress, time.monotonic() - started_s)
        )

    def _now_s(self) -> float:
        return (now_ns() - self._origin.monotonic_ns) / NS_PER_S

    @contextmanager
    def _signals(self, fleet: Fleet) -> Iterator[None]:
        """Ctrl-C once drains, twice stops at once; SIGTERM is as once."""

        def heed(number: int, _: FrameType | None) -> None:
            if number == signal.SIGINT and fleet.stopping:
                fleet.abort()
                self._view.note("stopping now")
            else:
                fleet.drain()
                self._view.note("finishing what is in flight; press Ctrl-C again to stop at once")

        before = {number: signal.signal(number, heed) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def client_facts(reports: list[WorkerReport]) -> dict[str, Any]:
    """How the measuring processes fared, merged, for the manifest."""
    lags = {name: Histogram() for name in ("self_lag", "loop_lag", "dispatch_lag")}
    for report in reports:
        for name, merged in lags.items():
            merged.merge(getattr(report.state, name))
    states = [report.state for report in reports]
    n_reads = sum(state.n_reads for state in states)
    merged_reads = sum(state.merged_reads for state in states)
    steals = [state.steal_s for state in states if state.steal_s is not None]
    return {
        "workers": len(reports),
        **{name: histogram.summary_us() for name, histogram in lags.items()},
        "n_reads": n_reads,
        "merged_reads": merged_reads,
        "merged_read_share": merged_reads / n_reads if n_reads else None,
        "n_chunks": sum(state.n_chunks for state in states),
        "wall_s": max((state.wall_s for state in states), default=None),
        "cpu_s": sum(state.cpu_s for state in states),
        "parse_s": sum(state.parse_s for state in states),
        "cpu_share_mean": max((s.cpu_s / s.wall_s for s in states if s.wall_s), default=None),
        "cpu_share_max_1s": max((state.cpu_max_share for state in states), default=None),
        "steal_s": max(steals, default=None),
        "clock_steps": max((state.clock_steps for state in states), default=0),
        "rss_start_bytes": _sum(state.rss_start_bytes for state in states),
        "rss_end_bytes": _sum(state.rss_end_bytes for state in states),
        "connections_opened": sum(state.connections_opened for state in states),
    }


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _server_entry(before: ServerState | None, after: ServerState | None) -> dict[str, Any]:
    """The server's own count of generated tokens over the point; None where it does not tell."""
    delta = None
    if before and after and before.generated_tokens is not None and after.generated_tokens is not None:
        delta = after.generated_tokens - before.generated_tokens
    return {"generated_tokens": delta}
