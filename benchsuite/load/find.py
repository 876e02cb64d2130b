"""The search for the cheapest level that meets an SLO, on a server: probes that hand over to each other, each a point.

The planner (load/search.py) names the next probe. How a probe is judged is passed in, since what measures judges
nothing itself. Every probe's result lies in its entry of the manifest, so that a resumed search goes on with the next.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.clock import NS_PER_S, ClockMark
from benchsuite.errors import InputError, PointsError, RunError
from benchsuite.find_spec import FindSpec
from benchsuite.level import Level
from benchsuite.load.schedule import PointPlan, open_loop
from benchsuite.load.search import End, Probe, ProbeResult, Search, SearchSpec
from benchsuite.load.sweep import COOLDOWN, SweepRunner
from benchsuite.load.worker import WorkerReport
from benchsuite.load.worker_pool import client_facts
from benchsuite.manifest import PointEntry, RunManifest, SearchEnd, SearchFacts
from benchsuite.progress import PlannedPoint, ProgressSnapshot, SearchProgress
from benchsuite.saturation import saturates
from benchsuite.spec import SweepSpec
from benchsuite.store.files import SCHEMA
from benchsuite.store.journal import read_journal
from benchsuite.store.run_folder import RunFolder, read_manifest, read_run

_POLL_S = 0.05
_FAILED_SHARE = 0.5  # of a probe's requests: there is nothing to judge
_CHECKS = 4  # within a rate's window, whether it saturates
_LOOK_USERS, _LOOK_S, _LOOK_SHARE = 32, 5.0, 0.7  # of a closed loop before the first rate, which is that share of its X


class Judged(Protocol):
    """analysis.probe.Look."""

    verdict: Any
    margins: Mapping[str, tuple[float, float]]
    shares: Mapping[str, tuple[float, float]]
    ln_x: tuple[float, float] | None


# of a probe's rows so far, its level and from when on they count: how many requests are judged, and their judgement
Judge = Callable[[pa.Table, Level, float], tuple[int, Judged | None]]


@dataclasses.dataclass
class _Running:
    """A probe that has users, or requests in flight."""

    plan: PointPlan
    point: PlannedPoint
    entry: PointEntry
    paths: list[Path]
    clocks: ClockMark
    asked_s: float
    start_s: float | None = None  # of its window
    end_s: float | None = None
    result: ProbeResult | None = None
    reason: str | None = None  # why it has failed


def search_spec(asked: SweepSpec, usd_per_hour: float | None, *, has_tail: bool) -> SearchSpec:
    """What is asked of the planner, as far as it is known without the server. usd_per_hour: of all GPUs."""
    find = asked.find
    assert find is not None
    if find.budget_usd is not None and not usd_per_hour:
        raise InputError(
            "a budget in dollars needs a price", where="--budget-usd (find.budget_usd)", given=f"{find.budget_usd:g}",
            expected="a price of an hour: --usd-per-hour, --preset or [price.owned]", hint="or --budget-min alone",
        )  # fmt: skip
    low, high = find.range
    return SearchSpec(
        kind=find.variable, low=low, high=high, start=find.start,
        tolerance=find.tolerance, slack=find.slack, confidence=find.confidence, budget_s=60 * find.budget_min,
        budget_usd=find.budget_usd, usd_per_hour=usd_per_hour, has_tail=has_tail, random_seed=asked.load.random_seed,
        settle_s=30.0 if asked.arrivals.warmup_s is None else asked.arrivals.warmup_s,
        window_s=asked.arrivals.duration_s,
    )  # fmt: skip


def continued(search: SearchSpec, find: FindSpec | None, manifest: RunManifest) -> tuple[SearchSpec, list[ProbeResult]]:
    """The search with what the server and the points so far say, and the probes that count.

    What ended with probes that failed is measured again: its server is likely to be another by now.
    """
    capacity, n_servers = manifest.server_probe.capacity, sum(one.role == "own" for one in manifest.endpoints)
    slots = capacity.get("concurrent_requests")
    if isinstance(slots, int) and find is not None:
        slots = float(slots * max(n_servers, 1))
        high = max(search.high, 2 * slots) if find.high is None else search.high
        search = dataclasses.replace(search, slots=slots if find.start is None else None, high=high)
    results, spent_s = list[ProbeResult](), 0.0
    for entry in manifest.points:
        if entry.probe is not None:
            try:
                results.append(ProbeResult.of(entry.probe))
            except (KeyError, TypeError) as error:
                raise PointsError(
                    "a probe in the manifest is damaged", where=entry.point_id, given=str(error)
                ) from None
        elif entry.started_s is not None and entry.ended_s is not None:
            spent_s += entry.ended_s - entry.started_s
    while results and results[-1].failed:
        spent_s += results.pop().seconds
    return dataclasses.replace(search, spent_s=spent_s), results


def facts_of(search: SearchSpec, asked: SweepSpec) -> SearchFacts:
    """What a manifest has of a search before its end."""
    of_rates = search.kind == "rate" and asked.limits.goodput
    facts = {"asked": dataclasses.asdict(search), "per": "good_request" if of_rates else "output_token"}
    return SearchFacts.model_validate(facts)


def end_of(search: SearchSpec, end: End, results: Sequence[ProbeResult], reason: str | None = None) -> SearchEnd:
    """How it ended, and what it took. reason: instead of the planner's."""
    seconds = search.spent_s + sum(one.seconds for one in results)
    return SearchEnd(
        reason=reason or end.reason,
        answer=end.answer,
        probes=len(results),
        seconds=seconds,
        spent_usd=None if search.usd_per_hour is None else seconds / 3600 * search.usd_per_hour,
        lowest_missed=None if end.answer else min((one.level for one in results), default=None),
        most_x=end.most_x,
    )


def end_again(path: Path, asked: SweepSpec, search: SearchSpec) -> bool:
    """Whether the search in the folder has ended and has no more to do by this price and these budgets: then its
    manifest has its answer by them. No server is asked. Raises InputError for another SLO."""
    before = read_manifest(path)
    refuse_another_slo(asked, before, path)
    if before.status != "complete":
        return False
    search, results = continued(search, asked.find, before)
    step = Search(search).next(results)
    if isinstance(step, Probe):
        return False
    folder = RunFolder(path)
    try:
        before.search = facts_of(search, asked)
        before.search.end = end_of(search, step, results)
        before.spec = asked.model_dump(mode="json")
        folder.finish()
        folder.write_manifest(before)
    finally:
        folder.release()
    return True


def refuse_another_slo(asked: SweepSpec, before: RunManifest, path: Path) -> None:
    """Probes were judged, and so chosen, by the SLO. Raises InputError."""
    for name in ("slo", "goodput"):
        now, then = getattr(asked, name), before.spec.get(name)
        if now != then:
            raise InputError(
                "a search goes on with the SLO that it began with", where=f"--{name}, {path}", given=now,
                expected=str(then), hint=f"another --output; or benchsuite decide {path} --{name} ...",
            )  # fmt: skip


@dataclasses.dataclass
class FindRunner(SweepRunner):
    """One session of a search. on_step: told the planner's every word, the end too.

    A probe counts once its last row is on the disk: its entry has a result then. One that was cut short is measured
    again, and so is the first at a level during which the server went away, which may have had another cause.
    """

    judge: Judge = dataclasses.field(kw_only=True)
    search: SearchSpec = dataclasses.field(kw_only=True)
    on_step: Callable[[Probe | End], None] = dataclasses.field(kw_only=True, default=lambda _: None)
    rival: str | None = dataclasses.field(kw_only=True, default=None)  # whose throughput search.least_x is
    _what: ClassVar = "the search"
    # the probe before the present one, until its last request has ended
    _draining: _Running | None = dataclasses.field(init=False, default=None)
    _n_rows = 0  # of the probes that have ended, since the first hand-over

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folder.before is not None:
            refuse_another_slo(self.spec, self.folder.before, self.folder.path)

    def _points(self) -> list[PointPlan]:
        return []

    def _conduct(self, *_: object) -> int:
        manifest = self.manifest
        judged = [entry for entry in manifest.points if entry.probe is not None]
        while judged and judged[-1].probe and judged[-1].probe["failed"]:  # its server may be another by now
            judged.pop().probe = None
        manifest.planned_points = [entry.point_id for entry in judged]
        if lacking := [one for one in manifest.points if one.started_s is not None and one.ended_s is None]:
            # of a killed session: what it cost counts
            kept = {"point_id", "attempt", "concurrency", "rate_per_s", "closed_s"}
            rows = read_run(self.folder.path, set(SCHEMA.names) - kept).table
            ends = rows.group_by(["point_id", "attempt"]).aggregate([("closed_s", "max")]).to_pylist()
            last_s = {(one["point_id"], one["attempt"]): one["closed_s_max"] for one in ends}
            for entry in lacking:
                entry.ended_s = last_s.get((entry.point_id, entry.attempt))
        try:
            return self._search()
        except RunError as error:
            self._pool.__exit__()  # before anyone reads the journals
            unfinished = [entry for entry in manifest.points if entry.status == "running"]
            for entry in unfinished:
                entry.status, entry.ended_s = "failed", self._now_s()
                self._n_rows += self.folder.finish_point(entry.point_id, entry.attempt)
            if unfinished and (lost := self._pool.n_issued(None) - self._n_rows) > 0:
                unfinished[-1].client = {"n_lost": lost}
                unfinished[-1].reason = f"{lost} requests have no row: in flight, or not yet written"
                error.add_line("lost", unfinished[-1].reason)
            raise

    def _search(self) -> int:
        manifest, running, step, asked_s = self.manifest, None, None, self._now_s()
        self.search, results = continued(self.search, self.spec.find, manifest)
        before, look = len(results), dict[str, Any]()
        if before:
            spent_s = self.search.spent_s + sum(one.seconds for one in results)
            self.view.note(f"{before} probes are measured already, in {spent_s / 60:.1f} min")
        elif self.search.kind == "rate" and self.search.start is None:
            look = self._look_at_users()
        planner, manifest.search = Search(self.search), facts_of(self.search, self.spec)
        while not self._pool.stopping:
            step = planner.next(results)
            self.on_step(step)
            if isinstance(step, End):
                if step.reason == "server_lost":
                    self._end_here("two probes in a row gave no figures")
                break
            started = self._begin(step, results, asked_s)
            started.entry.warmup, look = look, {}
            self._drain(results)
            self._n_rows *= running is not None
            since_s = asked_s if started.plan.open_loop is None else self._now_s()
            show = partial(self._show, started, "handing over", since_s)
            self._pool.hand_over(started.plan, started.paths.__getitem__, show, first=running is None)
            self._draining, running = running, started
            result = self._watch(step, started, results)
            if result is None:  # to be measured again
                break
            started.result = result
            if (known := started.point.search) is not None:
                known = dataclasses.replace(known, verdict=result.verdict, margins=result.margins)
                started.point = dataclasses.replace(started.point, search=known)
            asked_s = started.end_s or asked_s
            if not result.failed:
                results.append(result)
            if not (result.failed or result.saturated):
                continue
            self._drain(results)
            # its users are given up; what queued up would be in the next one
            self._finish(started, self._pool.end_probes(give_up=result.saturated))
            running, entry = None, started.entry
            if result.saturated:
                self._wait(started.point, COOLDOWN, self._servers_idle, most_s=self.spec.load.cooldown_max_s)
                continue
            self.view.note(f"{entry.point_id} failed: {entry.reason}")
            by_level = started.reason is not None and self._servers_answer()  # it fails requests, and is there
            if not self._server_is_back(started.point):
                break
            asked_s = self._now_s()
            again = sum(one.point_id == entry.point_id and one.status == "failed" for one in manifest.points)
            if by_level or again > 1:
                entry.probe = result.as_json()
                results.append(result)
            else:
                self.search = dataclasses.replace(self.search, spent_s=self.search.spent_s + result.seconds)
                planner = Search(self.search)
        self._drain(results)
        if running is not None:
            self._finish(running, self._pool.end_probes(partial(self._show, running, "ending", self._now_s())))
        reason = None
        if not isinstance(step, End) or self._failures:
            reason = "server_lost" if self._failures else "stopped"
            step = End("server_lost", planner.so_far(results) if results else None)
        manifest.search.end = end_of(self.search, step, results, reason)
        manifest.search.end.beaten_by = self.rival if step.reason == "given_up" else None
        return len(results) - before

    def _begin(self, step: Probe, results: Sequence[ProbeResult], asked_s: float) -> _Running:
        manifest, level, n_before = self.manifest, Level(step.level, self.search.kind), len(results)
        repeat = sum(one.level == step.level for one in results)
        point_id = f"f{n_before + 1:02d}-{level.point_id(repeat)}"
        attempts = [entry.attempt for entry in manifest.points if entry.point_id == point_id]
        attempt = max([*attempts, self.folder.last_attempts.get(point_id, -1)]) + 1
        n, seed, loop = len(self.workload.prompts), self.spec.load.random_seed, None
        if level.kind == "rate":  # each has arrivals and an order of its own
            seed, loop = seed + n_before, open_loop(self.spec.arrivals, level, (), self.probed.request_s)
        plan = PointPlan(manifest.run_id, point_id, level, repeat, n, seed, 0, 0.0, 0.0, 0.0, attempt, loop)
        entry = self._new_entry(plan)
        entry.started_s = self._now_s()
        manifest.planned_points.append(point_id)
        self._write_manifest()
        paths = [self.folder.journal_path(point_id, worker, attempt) for worker in range(self._pool.n_workers)]
        at = [None if one is None else Level(one, level.kind) for one in (*step.bracket, step.best)]
        asked, spent_s = self.search, sum(one.seconds for one in results)
        known = SearchProgress(
            step.phase, (at[0], at[1]), at[2], step.p_good, spent_s, asked.budget_s, asked.budget_usd,
            asked.usd_per_hour,
        )  # fmt: skip
        point = PlannedPoint(
            n_before, n_before + 1, point_id, level, repeat, "", 0, levels=(level,), readings=self._recorder.latest,
            search=known,
        )  # fmt: skip
        return _Running(plan, point, entry, paths, ClockMark.now(), asked_s)

    def _look_at_users(self) -> dict[str, Any]:
        """Let a closed loop say where rates may begin; of what it did, for the manifest."""
        users = int(min(_LOOK_USERS, self.search.slots or _LOOK_USERS))
        n, seed, seen = len(self.workload.prompts), self.spec.load.random_seed, [(self._now_s(), 0)]
        level = Level(users)
        plan = PointPlan(self.manifest.run_id, "look", level, 0, n, seed, 4 * users, _LOOK_S, 0.0, 0.0)
        point = PlannedPoint(0, 1, "look", level, 0, "looking at a closed loop", 4 * users, levels=(level,))

        def note(progress: ProgressSnapshot) -> None:
            seen.append((self._now_s(), progress.done))
            self.view.progress(point, progress, seen[-1][0] - seen[0][0])

        reports = self._pool.run_point(plan, None, note)
        counts, lasted_s = self._pool.progress(), self._now_s() - seen[0][0]
        if self._pool.stopping:
            return {}
        if not counts.done:
            given = next((report.first_error for report in reports if report.first_error), None)
            raise RunError("no request succeeded: there is no rate to begin at", where=level.at, given=given)
        # without its beginning, when all users send at once, and its end, when they leave
        even = [one for one in seen if users <= one[1] <= counts.done - users]
        first, last = seen[0], (seen[0][0] + lasted_s, counts.done)
        if even and even[-1][1] > even[0][1]:
            first, last = even[0], next(one for one in even if one[1] == even[-1][1])
        start = _LOOK_SHARE * (last[1] - first[1]) / (last[0] - first[0])
        self.search = dataclasses.replace(self.search, start=min(max(start, self.search.low), self.search.high))
        return {
            "n_ok": counts.done, "n_failed": counts.failed, "output_tokens": counts.output_tokens,
            "duration_s": lasted_s, "concurrency": users,
        }  # fmt: skip

    def _show(
        self, probe: _Running, phase: str, since_s: float, _: object = None, *, n_requests: int = 0, n_before: int = 0,
        least_s: float = 0.0,
    ) -> None:  # fmt: skip
        """What it is at, to the view; and whether the server's process has ended."""
        if self._server_ended():
            self._pool.breaker.trip()
        now_s, known = self._now_s(), probe.point.search
        assert known is not None
        known = dataclasses.replace(known, spent_s=known.spent_s + now_s - probe.asked_s, n_before=n_before)
        point = dataclasses.replace(probe.point, phase=phase, n_requests=n_requests, at_least_s=least_s, search=known)
        self.view.progress(point, self._pool.progress(), now_s - since_s)

    def _drain(self, results: list[ProbeResult], reports: list[WorkerReport] | None = None) -> None:
        """Finish the probe before the present one, whose last request has ended, or is waited for."""
        probe, self._draining = self._draining, None
        if probe is None:
            return
        if reports is None:
            reports = self._pool.drained(partial(self._show, probe, "ending", self._now_s()))
        assert reports is not None
        self._finish(probe, reports)
        if probe.entry.probe is None:  # its clocks went wrong
            results[:] = [one for one in results if one is not probe.result]

    def _watch(self, step: Probe, probe: _Running, results: list[ProbeResult]) -> ProbeResult | None:
        """Let it settle, then look at its rows until a look decides; None: the search is to stop. Meanwhile the last
        requests of the one before end."""
        pool, settled, looks, loop = self._pool, probe.plan.users, list(step.looks), probe.plan.open_loop
        since_s, before = probe.asked_s if loop is None else self._now_s(), 0
        begun_s = (pool.handed_over_ns - self._origin_ns) / NS_PER_S
        marked: tuple[float, int] | None = None  # when a look is due, and what has ended
        part, next_s = 1, 0.0  # of a rate's window, at whose end its saturation is looked for
        settle_s, window_s = (0.0, 0.0) if loop is None else (loop.before_s, loop.window_s)

        def result(n: int, judged: Judged | None, *, failed: bool = False, saturated: bool = False) -> ProbeResult:
            probe.end_s = at_s
            names = ("margins", "shares", "ln_x", "verdict")
            found = {} if judged is None else {name: getattr(judged, name) for name in names}
            if saturated:
                found["verdict"] = "missed"
            seconds = at_s - probe.asked_s
            return ProbeResult(step.level, step.phase, n, seconds, **found, failed=failed, saturated=saturated)

        while True:
            if probe.start_s is None:
                self._show(probe, "settling", since_s, n_requests=settled if loop is None else 0, least_s=settle_s)
            else:
                least_s = settle_s + window_s
                self._show(probe, "measuring", since_s, n_requests=looks[0], n_before=before, least_s=least_s)
            if (reports := pool.check()) is not None:
                self._drain(results, reports)
            if pool.stopping:
                return None
            counts, at_s = pool.progress(), self._now_s()
            if pool.breaker.reason is not None:
                return result(0, None, failed=True)
            if probe.start_s is None and (counts.ended >= settled if loop is None else at_s >= begun_s + settle_s):
                if counts.failed > _FAILED_SHARE * counts.ended and not (loop is not None and loop.drops):
                    probe.reason = f"{counts.failed} of its first {counts.ended} requests failed"
                    pool.breaker.trip()
                    continue
                if loop is None:
                    probe.start_s, before = at_s, counts.ended + settled  # what is in flight now is not judged
                else:
                    probe.start_s, settled = begun_s + settle_s, counts.ended
                    next_s, before = probe.start_s + window_s / _CHECKS, settled
            elif probe.start_s is not None and (counts.ended >= settled + looks[0] if loop is None else at_s >= next_s):
                rows = pa.concat_tables([read_journal(path) for path in probe.paths])
                if loop is not None:  # what has ended is in the journals a moment later
                    at_s, n_ended = marked = marked or (at_s, counts.ended)
                    if len(rows) < n_ended:
                        time.sleep(_POLL_S)
                        continue
                    due_s, whole, marked = probe.plan.due_s(begun_s, at_s), part == _CHECKS, None
                    numbers = [int(name.rpartition("-")[2]) for name in rows["request_id"].to_pylist()]
                    closed_s = rows["closed_s"].cast("float64").to_numpy()
                    dropped = pc.equal(rows["status"].cast("string"), "dropped").to_numpy()
                    if saturates(due_s, numbers, closed_s, dropped, probe.start_s, at_s, whole=whole):
                        return result(len(rows), None, saturated=True)
                    if not whole:
                        part += 1
                        next_s = probe.start_s + window_s * part / _CHECKS
                        continue
                n, judged = self.judge(rows, probe.plan.level, probe.start_s)
                while judged is not None and n >= looks[0]:
                    if judged.verdict != "undecided" or len(looks) == 1:
                        return result(n, judged)
                    looks.pop(0)
                next_s = at_s + max(1.0, (looks[0] - n) / step.level)  # of a rate, when there will be enough
            time.sleep(_POLL_S if probe.start_s is None else 4 * _POLL_S)

    def _finish(self, probe: _Running, reports: Sequence[WorkerReport]) -> None:
        """Put the rows of a probe together, whose last request has ended."""
        entry, plan = probe.entry, probe.plan
        entry.ended_s, entry.clocks = self._now_s(), ClockMark.now().changes_since(probe.clocks)

        def amend(rows: pa.Table) -> pa.Table:
            for name, at_s in (("window_start_s", probe.start_s), ("window_end_s", probe.end_s)):
                place = rows.schema.get_field_index(name)
                rows = rows.set_column(place, SCHEMA.field(name), pa.array([at_s] * len(rows), SCHEMA.field(name).type))
            return rows

        self._n_rows += self.folder.finish_point(plan.point_id, plan.attempt, amend)
        entry.client, entry.status = client_facts(list(reports)), "stopped"
        rows = partial(self.folder.point_rows, plan.point_id, plan.attempt)
        if plan.open_loop is not None and probe.end_s is not None:
            entry.saturation = self._saturation(plan, rows)
        if probe.result is not None:
            entry.status = "failed" if probe.result.failed else "complete"
        if entry.status == "failed":
            entry.reason = probe.reason or self._pool.breaker.reason
        self._check_clocks(entry)
        if entry.status == "complete" and probe.result is not None:
            entry.probe = probe.result.as_json()
        self._write_manifest()
        self.view.point_done(probe.point, rows, entry.ended_s - (entry.started_s or 0.0))
