"""The search for the cheapest level that meets an SLO, on a server: probes that hand over to each other, each a point.

The planner (load/search.py) names the next probe. How a probe is judged is passed in, since what measures judges
nothing itself. Every probe's result lies in its entry of the manifest, so that a resumed search goes on with the next.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from benchsuite.clock import ClockMark
from benchsuite.errors import InputError
from benchsuite.level import Level
from benchsuite.load.schedule import PointPlan
from benchsuite.load.search import End, Probe, ProbeResult, Search, SearchSpec
from benchsuite.load.sweep import SweepRunner
from benchsuite.load.worker import WorkerReport
from benchsuite.load.worker_pool import client_facts
from benchsuite.manifest import PointEntry, SearchEnd, SearchFacts
from benchsuite.progress import PlannedPoint, SearchProgress
from benchsuite.store.files import SCHEMA
from benchsuite.store.journal import read_journal

_POLL_S = 0.05
_FAILED_SHARE = 0.5  # of a probe's requests: there is nothing to judge


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


@dataclasses.dataclass
class FindRunner(SweepRunner):
    """One session of a search. on_step: told the planner's every word, the end too."""

    judge: Judge = dataclasses.field(kw_only=True)
    search: SearchSpec = dataclasses.field(kw_only=True)
    on_step: Callable[[Probe | End], None] = dataclasses.field(kw_only=True, default=lambda _: None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search.kind != "concurrency":  # an open loop's load does not hand over yet
            raise InputError("a search is of concurrency", where="SearchSpec.kind", given=self.search.kind)

    def _points(self) -> list[PointPlan]:
        return []

    def _conduct(self, *_: object) -> int:
        manifest, planner, running = self.manifest, Search(self.search), None
        results = [ProbeResult.of(entry.probe) for entry in manifest.points if entry.probe is not None]
        before, asked = len(results), dataclasses.asdict(self.search)
        manifest.search = SearchFacts(asked=asked)
        while not self._pool.stopping:
            step = planner.next(results)
            self.on_step(step)
            if isinstance(step, End):
                end = SearchEnd.model_validate_json(json.dumps(dataclasses.asdict(step)))
                manifest.search = SearchFacts(asked=asked, end=end)
                break
            started = self._begin(step, results)
            reports = self._hand_over(started, first=running is None)
            if running is not None:
                self._finish(running, reports)
            running = started
            result = self._watch(step, started)
            if result is None:  # to be measured again
                break
            started.entry.probe = result.as_json()
            if (known := started.point.search) is not None:
                known = dataclasses.replace(known, verdict=result.verdict, margins=result.margins)
                started.point = dataclasses.replace(started.point, search=known)
            results.append(result)
            self._write_manifest()
            if result.failed:  # its users were given up
                self._finish(running, self._pool.end_probes())
                running = None
                if self._pool.breaker.reason is not None and not self._servers_answer():
                    self._end_here("the search", self._pool.breaker.reason)
                    break
        if running is not None:
            self._finish(running, self._pool.end_probes(partial(self._show, running, "ending", self._now_s(), 0, 0)))
        return len(results) - before

    def _begin(self, step: Probe, results: Sequence[ProbeResult]) -> _Running:
        manifest, level, n_before = self.manifest, Level(step.level, self.search.kind), len(results)
        repeat = sum(entry.level == level and entry.probe is not None for entry in manifest.points)
        point_id = f"f{n_before + 1:02d}-{level.point_id(repeat)}"
        attempts = [entry.attempt for entry in manifest.points if entry.point_id == point_id]
        attempt = max([*attempts, self.folder.last_attempts.get(point_id, -1)]) + 1
        n, seed = len(self.workload.prompts), self.spec.load.random_seed
        plan = PointPlan(manifest.run_id, point_id, level, repeat, n, seed, 0, 0.0, 0.0, 0.0, attempt)
        entry = self._new_entry(plan)
        entry.started_s = asked_s = self._now_s()
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

    def _show(
        self, probe: _Running, phase: str, since_s: float, n_requests: int = 0, n_before: int = 0, *_: object
    ) -> None:
        """What it is at, to the view; and whether the server's process has ended."""
        if self._server_ended():
            self._pool.breaker.trip()
        now_s, known = self._now_s(), probe.point.search
        assert known is not None
        known = dataclasses.replace(known, spent_s=known.spent_s + now_s - probe.asked_s, n_before=n_before)
        point = dataclasses.replace(probe.point, phase=phase, n_requests=n_requests, search=known)
        self.view.progress(point, self._pool.progress(), now_s - since_s)

    def _hand_over(self, probe: _Running, *, first: bool) -> list[WorkerReport]:
        show = partial(self._show, probe, "handing over", self._now_s(), 0, 0)
        return self._pool.hand_over(probe.plan, lambda worker: probe.paths[worker], show, first=first)

    def _watch(self, step: Probe, probe: _Running) -> ProbeResult | None:
        """Let it settle, then look at its rows until a look decides; None: the search is to stop."""
        pool, settled, looks = self._pool, probe.plan.users, list(step.looks)
        since_s = self._now_s()

        def result(n: int, judged: Judged | None, *, failed: bool = False) -> ProbeResult:
            probe.end_s = self._now_s()
            names = ("margins", "shares", "ln_x", "verdict")
            found = {} if judged is None else {name: getattr(judged, name) for name in names}
            return ProbeResult(step.level, step.phase, n, probe.end_s - probe.asked_s, **found, failed=failed)

        while True:
            if probe.start_s is None:
                self._show(probe, "settling", since_s, settled)
            else:
                self._show(probe, "measuring", since_s, looks[0], settled)
            pool.check()
            if pool.stopping:
                return None
            if pool.breaker.reason is not None:
                return result(0, None, failed=True)
            counts = pool.progress()
            if probe.start_s is None and counts.ended >= settled:
                if counts.failed > _FAILED_SHARE * counts.ended:
                    pool.breaker.trip()
                    continue
                probe.start_s = self._now_s()
            elif probe.start_s is not None and counts.ended >= settled + looks[0]:
                tables = [read_journal(path) for path in probe.paths]
                n, judged = self.judge(pa.concat_tables(tables), probe.plan.level, probe.start_s)
                if judged is not None and n >= looks[0]:
                    if judged.verdict != "undecided" or len(looks) == 1:
                        return result(n, judged)
                    looks.pop(0)
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

        self.folder.finish_point(plan.point_id, plan.attempt, amend)
        entry.client = client_facts(list(reports))
        failed = entry.probe is not None and entry.probe["failed"]
        entry.status = "stopped" if entry.probe is None else "failed" if failed else "complete"
        self._check_clocks(entry)
        self._write_manifest()
        rows = partial(self.folder.point_rows, plan.point_id, plan.attempt)
        self.view.point_done(probe.point, rows, entry.ended_s - (entry.started_s or 0.0))
