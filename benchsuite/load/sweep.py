"""The conductor: preflight, then every point in its order - warm up, measure, save, cool down.

It judges nothing: what it leaves is the run folder. What happens is told to a `View` as it happens.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from benchsuite import __version__
from benchsuite.client.request import PointContext
from benchsuite.clock import NS_PER_S, Anchor, ClockMark, now_ns
from benchsuite.errors import InputError, RunError
from benchsuite.foreign import masked
from benchsuite.load.beside import Beside
from benchsuite.load.capacity import reset_prefix_cache
from benchsuite.load.orders import PointOrder, Progress, WorkerReport, WorkerSetup
from benchsuite.load.plan import PointPlan, plan_points
from benchsuite.load.point_facts import client_facts, server_entry
from benchsuite.load.preflight import Preflight, control_client, preflight
from benchsuite.load.queue_watch import watch_queues
from benchsuite.load.resume import (
    Remaining,
    abandoned,
    continued_origin,
    found_facts,
    identity,
    identity_of,
    refuse_differences,
    remaining,
)
from benchsuite.load.view import Step, SweepResult, View
from benchsuite.load.workers import Fleet
from benchsuite.records import SCHEMA_VERSION
from benchsuite.spec import SweepSpec
from benchsuite.store import RunFolder
from benchsuite.telemetry.calibration import read_calibration
from benchsuite.telemetry.descriptors import raise_limit
from benchsuite.telemetry.host import describe_host
from benchsuite.telemetry.server import ServerState, read_state, wait_until_idle
from benchsuite.workload.prompts import Workload

_SUSPENDED_S = 0.5
_OTHER_DESCRIPTORS = 256  # of a measuring process beside its connections: pipes, journal, libraries
_RETURN_POLL_S = 0.5


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
        with control_client(spec) as control:
            found = preflight(spec, control, workload.prompts, served)
            folder = folder or RunFolder(Path("results") / new_run_id(found.model))
            return _Sweep(spec, workload, folder, found, control, view, served, server_pids, server_ended).run()
    finally:
        if folder is not None:
            folder.release()


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


def new_run_id(model: str) -> str:
    """A name that sorts by time and says the model."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", masked(model).rsplit("/", 1)[-1]).strip("-")[:40].lower() or "model"
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(2)}"


class _Sweep:
    def __init__(
        self,
        spec: SweepSpec,
        workload: Workload,
        folder: RunFolder,
        found: Preflight,
        control: httpx.Client,
        view: View,
        served: dict[str, Any] | None,
        server_pids: tuple[int, ...],
        server_ended: Callable[[], bool],
    ) -> None:
        self._spec, self._workload, self._folder = spec, workload, folder
        self._found, self._control, self._view = found, control, view
        self._server_pids, self._server_ended = server_pids, server_ended
        self._stopping = False
        self._failures: list[str] = []
        now = Anchor.now()
        before = folder.before.manifest if folder.before else {}
        self._origin = continued_origin(before, now) if before else now
        self._run_id = before["run_id"] if before else new_run_id(found.model)
        self._entries: list[dict[str, Any]] = abandoned(before.get("points", []))
        self._session: dict[str, Any] = {
            "monotonic_origin_ns": self._origin.monotonic_ns,
            "started": _utc(now.wall_ns),
            "ended": None,
        }
        created = before.get("created") or _utc(self._origin.wall_ns)
        self._manifest: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "run_id": self._run_id,
            "status": "running",
            "created": created,
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
            "sessions": [*(before.get("sessions") or ([{}] if before else [])), self._session],
            "host": describe_host(),
            "calibration": read_calibration(),
            "preflight": found.facts,
            "endpoints": found.roles,
            "served": served,
            "points": self._entries,
        }

    def run(self) -> SweepResult:
        spec, load = self._spec, self._spec.load
        points = plan_points(load, len(self._workload.prompts), self._run_id)
        before = self._folder.before
        todo = remaining(points, self._entries, before.last_attempts if before else None)
        n_workers = load.n_workers
        self._manifest["workers"] = n_workers
        self._manifest["planned_points"] = [point.point_id for point in points]
        measured, status = 0, "failed"
        beside = Beside(
            spec,
            self._found.profile,
            self._endpoints(),
            self._found.endpoint.api_key,
            self._folder,
            self._origin.monotonic_ns,
            self._server_pids,
            self._view.note,
        )
        try:
            with beside:
                self._note_telemetry(beside)
                self._refuse_other_machines()
                self._folder.write_manifest(self._manifest)
                self._view.begun(self._run_id, self._folder.path, self._found)
                for words in self._found.facts["capacity"]["warnings"]:
                    self._view.note(words)
                if len(todo) < len(points):
                    self._view.note(f"{len(points) - len(todo)} of {len(points)} points are measured already")
                setup = WorkerSetup(
                    self._found.endpoint,
                    self._workload.prompts,
                    spec.timeouts,
                    load.driver,
                    load.max_rps,
                    self._found.more_endpoints,
                    self._found.fallback,
                )
                with Fleet(setup, n_workers, watch_queues(spec, self._found)) as fleet, self._signals(fleet):
                    levels = tuple(one.plan.concurrency for one in todo)
                    for i, one in enumerate(todo):
                        n_requests = len(one.plan.order)
                        step = Step(
                            i, len(todo), one.plan, "measuring", n_requests, levels=levels, latest=beside.latest
                        )
                        if i == 0:
                            self._idle(beside, step)
                        if not fleet.stopping:
                            self._point(fleet, beside, step, one)
                            measured += self._entries[-1]["status"] == "complete"
                        if fleet.stopping or (self._failures and not self._server_is_back(step)):
                            break
                    status = "stopped" if fleet.stopping else "failed" if self._failures else "complete"
        finally:
            self._end(status, beside)
        return SweepResult(self._run_id, self._folder.path, status == "complete", measured, tuple(self._failures))

    def _end(self, status: str, beside: Beside) -> None:
        end = Anchor.now()
        self._note_telemetry(beside)
        self._manifest |= {"status": status}
        self._manifest["clock"] |= {"end_monotonic_ns": end.monotonic_ns, "end_wall_ns": end.wall_ns}
        self._session["ended"] = _utc(end.wall_ns)
        self._folder.finish()
        self._folder.write_manifest(self._manifest)

    def _endpoints(self) -> list[str]:
        """Base URLs of the servers under test."""
        return list(self._spec.server.base_urls)

    def _server_state(self) -> ServerState | None:
        return read_state(self._control, self._found.profile, self._endpoints())

    def _note_telemetry(self, beside: Beside) -> None:
        self._manifest["telemetry"] = beside.facts()

    def _refuse_other_machines(self) -> None:
        """A run goes on only on the server and the GPUs that it began on."""
        if self._folder.before is None:
            return
        now = found_facts(self._found.model, self._found.facts, self._manifest["telemetry"]["gpu"])
        refuse_differences(identity_of(self._folder.before.manifest), now, str(self._folder.path))

    def _idle(self, beside: Beside, step: Step) -> None:
        """Let the samplers see the server with its model loaded and nothing to do."""
        wanted_s = beside.idle_s(len(step.plan.order))
        if not wanted_s:
            return
        most_s = self._spec.load.cooldown_max_s
        on_wait = self._showing_wait(step, 0.0, most_s)
        wait_until_idle(self._control, self._found.profile, 0.0, most_s, on_wait, self._endpoints())
        started_s = self._now_s()
        idling = dataclasses.replace(step, phase="measuring idle power", n_requests=0, at_least_s=wanted_s)
        self._wait(idling, wanted_s)
        if not self._stopping:
            beside.idle = {"started_s": started_s, "ended_s": self._now_s()}

    def _wait(self, step: Step, wanted_s: float) -> None:
        started_s = time.monotonic()
        while not self._stopping and (elapsed_s := time.monotonic() - started_s) < wanted_s:
            self._view.progress(step, Progress(0, 0, 0, None), elapsed_s)
            time.sleep(min(0.25, wanted_s - elapsed_s))

    def _point(self, fleet: Fleet, beside: Beside, step: Step, one: Remaining) -> None:
        plan = step.plan
        entry: dict[str, Any] = {
            "point_id": plan.point_id,
            "attempt": one.attempt,
            "concurrency": plan.concurrency,
            "repeat": plan.repeat,
            "status": "running",
            "cache_bust": self._found.plan.cache_bust,
            "salt": plan.salt,
        }
        self._entries.append(entry)
        self._folder.write_manifest(self._manifest)
        if plan.warmup_requests or plan.warmup_min_s:
            warming = dataclasses.replace(
                step, phase="warming up", n_requests=plan.warmup_requests, at_least_s=plan.warmup_min_s
            )
            entry["warmup"] = self._warm_up(fleet, warming, one.attempt)
            if (reason := self._given_up(fleet, plan)) is not None:
                self._fail(entry, f"{reason}, during the warm-up")
                self._folder.write_manifest(self._manifest)
                return
        entry["cooldown"] = self._cool_down(step)
        entry["cache_reset"] = reset_prefix_cache(self._control, self._found.plan, self._endpoints())
        before = self._server_state()
        clocks = ClockMark.now()
        beside.mark()
        entry["started_s"] = self._now_s()
        try:
            reports = self._run_orders(fleet, step, self._found.plan, plan.salt, one.attempt, measured=True)
        except RunError:
            entry["status"] = "failed"
            self._folder.finish_point(plan.point_id, one.attempt)
            raise
        entry["ended_s"] = self._now_s()
        beside.mark()
        entry["clocks"] = _clock_facts(clocks, ClockMark.now())
        rows = self._folder.finish_point(plan.point_id, one.attempt)
        whole = not fleet.stopping and rows.num_rows == len(plan.order)
        in_vain = not any(report.n_ok for report in reports)
        entry["status"] = "stopped" if not whole else "failed" if in_vain else "complete"
        reason = self._given_up(fleet, plan)
        if reason is not None:
            self._fail(entry, reason)
        entry["client"] = client_facts(reports)
        entry["server"] = server_entry(before, self._server_state())
        self._judge_clocks(entry)
        self._note_telemetry(beside)
        self._folder.write_manifest(self._manifest)
        self._view.point_done(step, rows, entry["ended_s"] - entry["started_s"])
        if in_vain and reason is None and not fleet.stopping:
            first = next((report.first_error for report in reports if report.first_error), None)
            raise RunError(
                "no request of the point succeeded; the sweep ends here",
                where=plan.point_id,
                given=first,
                hint="the points measured before are kept in " + str(self._folder.path),
            )

    def _given_up(self, fleet: Fleet, plan: PointPlan) -> str | None:
        """Why what just ran measured a server that was not there, or failed too often; None if it did not."""
        breaker = fleet.breaker
        if breaker.reason is None and breaker.streak >= plan.concurrency and not self._server_answers():
            return f"the server is gone: the last {breaker.streak} requests found no connection"
        return breaker.reason

    def _fail(self, entry: dict[str, Any], reason: str) -> None:
        entry |= {"status": "failed", "reason": reason}
        words = f"{entry['point_id']} failed: {reason}"
        self._failures.append(words)
        self._view.note(f"{words}; measure it again with --resume")

    def _server_is_back(self, step: Step) -> bool:
        """After a point that failed: wait for the servers as long as load.server_wait_s says."""
        if self._entries[-1]["status"] != "failed":
            return True
        most_s, started_s = self._spec.load.server_wait_s, time.monotonic()
        phase = "waiting for the server to come back"
        waiting = dataclasses.replace(step, phase=phase, n_requests=0, at_most_s=most_s)
        while not self._server_answers():
            elapsed_s = time.monotonic() - started_s
            if self._stopping or self._server_ended() or elapsed_s >= most_s:
                words = "the sweep ends here: the server " + (
                    "has ended" if self._server_ended() else f"did not come back within {most_s:g} s (--server-wait-s)"
                )
                self._failures.append(words)
                self._view.note(words)
                return False
            self._view.progress(waiting, Progress(0, 0, 0, None), elapsed_s)
            time.sleep(_RETURN_POLL_S)
        return True

    def _server_answers(self) -> bool:
        """True if every server answers, and not that it cannot serve."""
        if self._server_ended():
            return False
        try:
            return all(self._control.get(f"{url}/v1/models").status_code < 500 for url in self._endpoints())
        except httpx.HTTPError:
            return False

    def _judge_clocks(self, entry: dict[str, Any]) -> None:
        """A point during which the machine slept measured the sleep: it is no measurement, and a resume renews it."""
        suspended_s, stepped_s = entry["clocks"]["suspended_s"], entry["clocks"]["wall_step_s"]
        if suspended_s and suspended_s > _SUSPENDED_S:
            if entry["status"] == "complete":
                entry["status"] = "invalid"
            entry["invalid"] = f"the machine was suspended for {suspended_s:.1f} s"
            self._view.note(f"{entry['point_id']} is invalid: {entry['invalid']}; measure it again with --resume")
        if abs(stepped_s) > _SUSPENDED_S:
            self._view.note(f"{entry['point_id']}: the wall clock was set by {stepped_s:+.1f} s while it was measured")

    def _warm_up(self, fleet: Fleet, step: Step, attempt: int) -> dict[str, Any]:
        started_s = self._now_s()
        reports = self._run_orders(fleet, step, self._found.plan, step.plan.warmup_salt, attempt, measured=False)
        return {
            "n_ok": sum(report.n_ok for report in reports),
            "n_failed": sum(report.n_failed for report in reports),
            "output_tokens": sum(report.output_tokens for report in reports),
            "duration_s": self._now_s() - started_s,
        }

    def _cool_down(self, step: Step) -> dict[str, Any]:
        plan = step.plan
        waited_s, seen_idle = wait_until_idle(
            self._control,
            self._found.profile,
            plan.cooldown_min_s,
            plan.cooldown_max_s,
            self._showing_wait(step, plan.cooldown_min_s, plan.cooldown_max_s),
            self._endpoints(),
        )
        return {"waited_s": waited_s, "seen_idle": seen_idle}

    def _showing_wait(self, step: Step, at_least_s: float, at_most_s: float) -> Callable[[float], bool]:
        """What `wait_until_idle` tells its seconds to: the view; True when the sweep is to stop."""
        phase = "waiting until the server is idle"
        waiting = dataclasses.replace(step, phase=phase, n_requests=0, at_least_s=at_least_s, at_most_s=at_most_s)

        def on_wait(elapsed_s: float) -> bool:
            self._view.progress(waiting, Progress(0, 0, 0, None), elapsed_s)
            return self._stopping

        return on_wait

    def _run_orders(
        self, fleet: Fleet, step: Step, body: Any, salt: str, attempt: int, *, measured: bool
    ) -> list[WorkerReport]:
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
                    attempt=attempt,
                ),
                plan=dataclasses.replace(body, salt=salt),
                order=plan.order,
                n_users=n_users,
                journal=self._folder.journal_path(plan.point_id, worker, attempt) if measured else None,
                closes_after_response=self._found.closes_after_response,
                at_least=plan.warmup_requests,
                min_s=plan.warmup_min_s,
            )
            for worker, n_users in enumerate(fleet.share_users(plan.concurrency))
        ]
        started_s = time.monotonic()

        def on_progress(progress: Progress) -> None:
            if self._server_ended():
                fleet.breaker.trip()
            self._view.progress(step, progress, time.monotonic() - started_s)

        max_failed = self._spec.load.error_limit(len(plan.order)) if measured else None
        return fleet.run_point(orders, on_progress, max_failed)

    def _now_s(self) -> float:
        return (now_ns() - self._origin.monotonic_ns) / NS_PER_S

    @contextmanager
    def _signals(self, fleet: Fleet) -> Iterator[None]:
        """Ctrl-C once drains, twice stops at once; SIGTERM is as once."""

        def heed(number: int, _: FrameType | None) -> None:
            self._stopping = True
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


def _utc(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / NS_PER_S, UTC).isoformat()


def _clock_facts(before: ClockMark, after: ClockMark) -> dict[str, Any]:
    return {
        "suspended_s": after.suspended_since_s(before),
        "wall_step_s": after.stepped_since_s(before),
    }
