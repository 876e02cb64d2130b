"""The conductor: every point in its order - warm up, measure, save, cool down.

It judges nothing: what it leaves is the run folder. What happens is told to a `View` as it happens.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import httpx

from benchsuite.client.request import PointContext
from benchsuite.clock import NS_PER_S, Anchor, ClockMark, now_ns
from benchsuite.errors import RunError
from benchsuite.load.beside import Beside
from benchsuite.load.capacity import reset_prefix_cache
from benchsuite.load.manifest import new_manifest, utc
from benchsuite.load.orders import GROUP_SIGNALS, PointOrder, Progress, WorkerReport, WorkerSetup
from benchsuite.load.plan import PointPlan, plan_points
from benchsuite.load.point_facts import client_facts, server_entry
from benchsuite.load.preflight import Preflight
from benchsuite.load.presence import Presence
from benchsuite.load.queue_watch import watch_queues
from benchsuite.load.resume import (
    Remaining,
    found_facts,
    identity_of,
    refuse_differences,
    remaining,
)
from benchsuite.load.view import Step, SweepResult, View
from benchsuite.load.workers import Fleet
from benchsuite.spec import SweepSpec
from benchsuite.store import RunFolder
from benchsuite.telemetry.server import ServerState, read_state, wait_until_idle
from benchsuite.workload.dataset import Workload

_SUSPENDED_S = 0.5
_IDLE = "waiting until the server is idle"


class Conductor:
    """Conducts one session of a run in its folder, which it leaves finished whatever happens."""

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
        self._server_pids = server_pids
        self._presence = Presence(control, self._endpoints(), server_ended)
        self._stopping = False
        self._failures: list[str] = []
        before = folder.before.manifest if folder.before else {}
        self._manifest = new_manifest(spec, workload, found, before, served, Anchor.now())
        self._run_id: str = self._manifest["run_id"]
        self._entries: list[dict[str, Any]] = self._manifest["points"]
        self._origin_ns: int = self._manifest["clock"]["origin_monotonic_ns"]

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
            self._origin_ns,
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
        self._manifest["sessions"][-1]["ended"] = utc(end.wall_ns)
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
        on_wait = self._showing_wait(step, _IDLE, 0.0, most_s)
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
        if fleet.stopping:  # nothing of it is measured yet
            entry["status"] = "stopped"
            self._folder.write_manifest(self._manifest)
            return
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
        if breaker.reason is None and breaker.streak >= plan.concurrency and not self._presence.answers():
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
        most_s = self._spec.load.server_wait_s
        on_wait = self._showing_wait(step, "waiting for the server to come back", 0.0, most_s)
        gone = self._presence.wait_for_return(most_s, on_wait)
        if gone is None:
            return True
        self._failures.append(f"the sweep ends here: {gone}")
        self._view.note(self._failures[-1])
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
            self._showing_wait(step, _IDLE, plan.cooldown_min_s, plan.cooldown_max_s),
            self._endpoints(),
        )
        return {"waited_s": waited_s, "seen_idle": seen_idle}

    def _showing_wait(self, step: Step, phase: str, at_least_s: float, at_most_s: float) -> Callable[[float], bool]:
        """What a wait tells its seconds to: the view; True when the sweep is to stop."""
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
                    self._origin_ns,
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
            if self._presence.ended():
                fleet.breaker.trip()
            self._view.progress(step, progress, time.monotonic() - started_s)

        max_failed = self._spec.load.error_limit(len(plan.order)) if measured else None
        return fleet.run_point(orders, on_progress, max_failed)

    def _now_s(self) -> float:
        return (now_ns() - self._origin_ns) / NS_PER_S

    @contextmanager
    def _signals(self, fleet: Fleet) -> Iterator[None]:
        """Ctrl-C once drains, twice stops at once; SIGTERM and a lost terminal are as once (not under nohup)."""

        def heed(number: int, _: FrameType | None) -> None:
            self._stopping = True
            if number == signal.SIGINT and fleet.stopping:
                fleet.abort()
                self._view.note("stopping now")
            else:
                fleet.drain()
                self._view.note("finishing what is in flight; press Ctrl-C again to stop at once")

        heeded = [n for n in GROUP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        before = {number: signal.signal(number, heed) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _clock_facts(before: ClockMark, after: ClockMark) -> dict[str, Any]:
    return {
        "suspended_s": after.suspended_since_s(before),
        "wall_step_s": after.stepped_since_s(before),
    }
