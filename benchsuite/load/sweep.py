"""A sweep: refuse, find the server out, then point by point warm up, cool down, measure and save; resume."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import httpx
from pyarrow import Table, array, compute, concat_tables

from benchsuite import __version__
from benchsuite.base_url import api_address
from benchsuite.clock import NS_PER_S, Anchor, ClockMark, boot_id, now_ns
from benchsuite.errors import BenchsuiteError, InputError, PointsError, RunError
from benchsuite.input_files import read_tokenizer, read_workload
from benchsuite.load.arrivals import schedule_hash
from benchsuite.load.preflight import calibrate_words, check_descriptors, check_levels, preflight, watch_queues
from benchsuite.load.schedule import (
    PointPlan,
    below_saturation,
    minutes_words,
    plan_points,
    plan_words,
    remaining,
    replayed,
    seconds_between,
)
from benchsuite.load.server_probe import control_client, reset_prefix_cache
from benchsuite.load.virtual_users import Preflight
from benchsuite.load.worker import GROUP_SIGNALS, WorkerReport
from benchsuite.load.worker_pool import WorkerPool, client_facts, signals_delayed, signals_handled
from benchsuite.manifest import (
    Clock,
    EndpointFacts,
    HostFacts,
    PointEntry,
    RunManifest,
    ServerProbe,
    TelemetryFacts,
    WorkloadFacts,
    refuse_another_run,
)
from benchsuite.progress import PlannedPoint, ProgressSnapshot, SweepResult, View
from benchsuite.records import SCHEMA_VERSION, RequestRecord
from benchsuite.saturation import saturation
from benchsuite.serving.launch import LaunchedServer
from benchsuite.spec import SweepSpec
from benchsuite.store.files import MANIFEST, SCORES
from benchsuite.store.run_folder import RunFolder, Scoring, new_run_id, not_kept, rows_to_score, write_scores
from benchsuite.telemetry.host import describe_host, read_calibration
from benchsuite.telemetry.recorder import open_recorder
from benchsuite.telemetry.server_metrics import ServerState, read_state
from benchsuite.workload.dataset import (
    PromptPlaces,
    Workload,
    copy_numbers,
    has_system_prompt,
    prompt_texts,
    shared_prefix_ratio,
)
from benchsuite.workload.random_set import TokensPerWord, length_errors, lengths_text
from benchsuite.workload.tokenizer import TextTokenizer, count_where_unknown


def utc(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / NS_PER_S, UTC).isoformat()


def new_manifest(
    spec: SweepSpec, workload: Workload, launched: dict[str, Any] | None, before: RunManifest | None, now: Anchor
) -> RunManifest:
    """The manifest of a session that begins now; `before`: that of the run so far.

    A run that goes on keeps its id, its birth, its origin in time, its points and the sessions before. What the server
    turns out to be comes later.
    """
    origin = now if before is None else continued_origin(before, now)
    session = {"monotonic_origin_ns": origin.monotonic_ns, "started": utc(now.wall_ns), "ended": None}
    session["started_s"] = (now.monotonic_ns - origin.monotonic_ns) / NS_PER_S
    moments = {"origin_monotonic_ns": origin.monotonic_ns, "origin_wall_ns": origin.wall_ns}
    points = [] if before is None else [point.model_copy() for point in before.points]
    for point in points:
        if point.status != "complete":  # given up, for a later attempt
            point.status = "abandoned"
    return RunManifest(
        schema_version=SCHEMA_VERSION,
        run_id="" if before is None else before.run_id,
        status="running",
        created=before.created if before is not None else utc(origin.wall_ns),
        benchsuite=__version__,
        spec=spec.model_dump(mode="json"),
        workload=workload_facts(workload, spec.sampling.system_prompt),
        clock=Clock(name="CLOCK_MONOTONIC", boot_id=boot_id(), **moments),
        sessions=[*([] if before is None else before.sessions), session],
        host=HostFacts.model_validate(describe_host()),
        calibration=read_calibration(),
        launched_server=launched,
        workers=spec.load.n_workers,
        points=points,
    )


def workload_facts(workload: Workload, system_prompt: str | None) -> WorkloadFacts:
    return WorkloadFacts(
        name=workload.name,
        requests=len(workload.prompts),
        content_hash=workload.content_hash,
        references_hash=workload.references_hash,
        distinct=copy_numbers(workload.prompts).count(0),
        own_system_prompts=sum(map(has_system_prompt, workload.prompts)),
        shared_prefix_ratio=shared_prefix_ratio(workload.prompts, system_prompt),
        lengths=workload.lengths,
        note=workload.note,
        **({} if workload.reading is None else workload.reading.facts()),
    )


_POLL_S = 0.25


def continued_origin(manifest: RunManifest, now: Anchor) -> Anchor:
    """The run's origin on this boot's monotonic clock: seconds go on where wall time says they are, and never go back.

    Within one boot it is what it was, whatever wall time says. After another, a wall clock that was set back in between
    would lay this session over an earlier one, whose samples and rows stay.
    """
    clock = manifest.clock
    if clock.origin_wall_ns is None:
        raise PointsError("the manifest lacks a key", where="manifest.json", expected="clock.origin_wall_ns")
    if clock.boot_id is not None and clock.boot_id == boot_id() and clock.origin_monotonic_ns is not None:
        return Anchor(clock.origin_monotonic_ns, clock.origin_wall_ns)
    passed_ns = now.wall_ns - clock.origin_wall_ns
    if clock.end_monotonic_ns is not None and clock.origin_monotonic_ns is not None:
        passed_ns = max(passed_ns, clock.end_monotonic_ns - clock.origin_monotonic_ns)
    for point in manifest.points:
        passed_ns = max(passed_ns, int((point.ended_s or 0) * NS_PER_S))
    return Anchor(now.monotonic_ns - passed_ns, clock.origin_wall_ns)


_SUSPENDED_S, _STEPPED_S = 0.5, 0.001
_DRAIN_S = 30.0  # for what is in flight, after SIGTERM or a lost terminal
_ABORT_S = 15.0  # after the second Ctrl-C, until it interrupts whatever this process waits for
COOLDOWN = "waiting until the server is idle"


@dataclasses.dataclass
class SweepRunner:
    """One session of a run in its folder, which it leaves finished whatever happens."""

    spec: SweepSpec
    workload: Workload
    folder: RunFolder
    manifest: RunManifest
    probed: Preflight
    control: httpx.Client
    view: View
    launched: LaunchedServer | None
    on_begun: Callable[[Path], None]
    tokenizer: TextTokenizer | None
    times_s: tuple[float, ...] = ()  # of a trace
    scoring: Callable[[Workload, str], Scoring] | None = None  # how answers are scored, by the run's id; None: not here
    _what: ClassVar = "the sweep"

    def __post_init__(self) -> None:
        manifest, probed, spec = self.manifest, self.probed, self.spec
        self._made_to_length = any(prompt.input_tokens is not None for prompt in self.workload.prompts)
        self._profile = probed.plan.profile
        self._addresses = [api_address(url) for url in self.spec.server.base_urls]
        self._failures: list[str] = []
        manifest.model = probed.plan.model
        manifest.server_probe = ServerProbe.model_validate(probed.facts)
        own, model = probed.endpoints, probed.plan.model
        manifest.endpoints = [EndpointFacts(base_url=e.base_url, role="own", model=model) for e in own]
        if (api := probed.fallback) is not None:
            url, model = api.endpoints[0].base_url, api.plan.model
            manifest.endpoints.append(EndpointFacts(base_url=url, role="fallback", model=model))
        self._origin_ns: int = manifest.clock.origin_monotonic_ns or 0
        self._scoring, self._keeps_text = self._scored(), spec.workload.save_text is True
        self._keeps_text |= spec.workload.save_text == "auto" and self._scoring is not None
        self.folder.left_out = not_kept(manifest)
        headers, pids = dict(probed.endpoints[0].headers), () if self.launched is None else self.launched.pids()
        self._recorder = open_recorder(spec, self._profile, headers, self.folder, self._origin_ns, pids, self.view.note)

    def _scored(self) -> Scoring | None:
        """What scores the answers, where the set has scorers."""
        if self.scoring is None or all(prompt.scorer is None for prompt in self.workload.prompts):
            return None
        if self.spec.workload.fixed_length:
            self.view.note("answers are not scored: made to a fixed length, they run on past their end")
            return None
        try:
            scoring = self.scoring(self.workload, self.manifest.run_id)
        except InputError as error:
            self.view.note(f"answers are not scored: {error.what}: {error.given}")
            return None
        if self.spec.workload.save_text is False:
            before, now = self.folder.before, self.manifest.workload
            if before is not None and before.workload.references_hash != now.references_hash:
                raise InputError(
                    "the references have changed, and the run keeps no texts (--no-text) to score its points again",
                    where=str(self.folder.path), given=f"references {now.references_hash}",
                    expected=f"references {before.workload.references_hash}", hint="use another --output for a new run",
                )  # fmt: skip
            self.view.note("texts are not kept (--no-text): answers are scored after each point, and never again")
        return scoring

    def run(self) -> SweepResult:
        spec, manifest, probed, prompts = self.spec, self.manifest, self.probed, self.workload.prompts
        points, before = self._points(), self.folder.before
        todo = self._below_saturation(remaining(points, manifest.points, self.folder.last_attempts))
        manifest.planned_points = [point.point_id for point in points]
        n, levels, latest = len(todo), tuple(plan.level for plan in todo), self._recorder.latest
        loops = [p.open_loop for p in todo]
        lasting_s = [0.0 if loop is None else loop.before_s + loop.window_s for loop in loops]
        planned = [
            PlannedPoint(i, n, p.point_id, p.level, p.repeat, "measuring", p.n_requests, s, None, levels, latest)
            for i, (p, s) in enumerate(zip(todo, lasting_s, strict=True))
        ]
        # SIGTERM and a lost terminal (not under nohup) are as Ctrl-C once
        handled = [n for n in GROUP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        measured, status, handlers = 0, "failed", ExitStack()
        self._timers: list[threading.Timer] = []
        try:
            with self._recorder:
                self._note_telemetry()
                if before is not None:  # only on the server and the GPUs that it began on
                    refuse_another_run(manifest, before, str(self.folder.path), probed=True)
                self._write_manifest()
                self.on_begun(self.folder.path)
                self.view.begun(self.folder.path, manifest)
                if todo:
                    self.view.note(f"{plan_words(todo)}; {self._estimate(todo)}")
                for warning in probed.facts["capacity"]["warnings"]:
                    self.view.note(f"{warning['finding']}; {warning['remedy']}")
                if (self.workload.lengths or {}).get("by") == "characters":
                    self.view.note(
                        "the server does not count prompt tokens, so random lengths are estimated from characters: "
                        "--tokenizer makes them exact"
                    )
                if len(todo) < len(points):
                    self.view.note(f"{len(points) - len(todo)} of {len(points)} points are already measured")
                keep_text = self._keeps_text or self._scoring is not None
                with (
                    WorkerPool(
                        probed, spec, prompts, manifest.run_id, self._origin_ns, keep_text=keep_text
                    ) as self._pool,
                    watch_queues(spec, self._profile, self._pool.waiting),
                ):
                    handlers.enter_context(signals_handled(handled, self._stop))
                    measured = self._conduct(points, planned, todo)
                    status = "stopped" if self._pool.stopping else "failed" if self._failures else "complete"
            self._score()
        except RunError as error:
            error.add_line("go on", manifest.resume_command(self.folder.path))
            raise
        finally:
            for timer in self._timers:
                timer.cancel()
            with handlers, signals_delayed():  # the files are put together whatever comes
                end = Anchor.now()
                manifest.status = status
                for entry in manifest.points:  # of what was cut short in its middle
                    entry.status = "failed" if entry.status == "running" else entry.status
                manifest.clock.end_monotonic_ns, manifest.clock.end_wall_ns = end.monotonic_ns, end.wall_ns
                manifest.sessions[-1]["ended"] = utc(end.wall_ns)
                try:
                    if not (self.folder.path / MANIFEST).exists():  # without it nobody knows what the other files are
                        self._write_manifest()
                    self.folder.finish()
                finally:
                    with signals_delayed(second_at_once=False):  # what has ended never says that it is running
                        self._write_manifest()
        return SweepResult(manifest.run_id, self.folder.path, status == "complete", measured, tuple(self._failures))

    def _score(self) -> None:
        """Score the complete points, where the texts are kept: what fails here can be done again."""
        if self._scoring is None or not self._keeps_text or not self.manifest.complete_points:
            return
        try:
            path = self.folder.path
            n = write_scores(path, self._scoring(rows_to_score(path, self.manifest)), self._scoring.facts)
            self.view.note(f"{n:,} answers scored: {path / SCORES}")
        except BenchsuiteError as error:
            self.view.note(f"not scored: {error.what}; benchsuite score {path}")

    def _points(self) -> list[PointPlan]:
        spec, n = self.spec, len(self.workload.prompts)
        return plan_points(spec.load, n, self.manifest.run_id, spec.arrivals, self.times_s, self.probed.request_s)

    def _conduct(self, points: Sequence[PointPlan], planned: Sequence[PlannedPoint], todo: Sequence[PointPlan]) -> int:
        """Measure what is to do, one point after the other; how many were complete."""
        manifest, measured = self.manifest, 0
        if planned:
            self._measure_idle_power(planned[0])
        for point, plan in zip(planned, todo, strict=True):
            if not self._pool.stopping and self._below_saturation([plan]):
                self._measure(point, plan)
                measured += manifest.points[-1].status == "complete"
            if self._pool.stopping or (self._failures and not self._server_is_back(point)):
                break
        below = {plan.point_id for plan in self._below_saturation(points)}
        if above := [name for name in manifest.planned_points if name not in below]:
            manifest.planned_points = [name for name in manifest.planned_points if name in below]
            words = "not measured, above two rates that saturated the server (--past-saturation)"
            self.view.note(f"{', '.join(above)}: {words}")
        return measured

    def _below_saturation(self, points: Sequence[PointPlan]) -> list[PointPlan]:
        return below_saturation(points, self.manifest.complete_points, self.spec.arrivals)

    def _saturation(self, plan: PointPlan, point_rows: Callable[..., Iterator[Table]]) -> dict[str, Any]:
        """Of a point of an open loop."""
        times = {"scheduled_s", "closed_s", "status", "window_start_s", "window_end_s"}
        rows = concat_tables(point_rows(left_out=set(RequestRecord._fields) - times))
        if not rows.num_rows:
            return {}
        due_s, ended_s, starts_s, ends_s = (
            rows[name].cast("float64").to_numpy()
            for name in ("scheduled_s", "closed_s", "window_start_s", "window_end_s")
        )
        dropped = compute.equal(rows["status"].cast("string"), "dropped").to_numpy()
        found = saturation(due_s, ended_s, dropped, starts_s[0], ends_s[0])
        if found is not None and found.saturated:
            self.view.note(f"{plan.point_id}: saturated: {plan.level.words} come faster than they end")
        return {} if found is None else found._asdict()

    def _estimate(self, todo: Sequence[PointPlan]) -> str:
        """How long the points take and what that costs, between two assumptions, by the probe's request."""
        request_s, price = self.probed.request_s, self.spec.price
        if request_s is None:
            return "how long they take is not known before one is measured"
        hour_usd = None if price.usd_per_hour is None else price.usd_per_hour * price.gpus
        return (
            f"{minutes_words(*seconds_between(todo, request_s), hour_usd)}: if all users are served as fast as one "
            "alone, or one request after another, and answers reach their cap"
        )

    def _note_telemetry(self) -> None:
        self.manifest.telemetry = TelemetryFacts.model_validate(self._recorder.facts())

    def _write_manifest(self) -> None:
        self._note_telemetry()
        self.folder.write_manifest(self.manifest)

    def _state(self) -> ServerState:
        """Of all servers together."""
        return read_state(self.control, self._profile, [address.root for address in self._addresses])

    def _servers_idle(self) -> bool | None:
        return self._state().idle

    def _measure_idle_power(self, point: PlannedPoint) -> None:
        """Let the samplers see the server with its model loaded and nothing to do; once in a run."""
        before = self.folder.before
        if before is not None and before.telemetry.idle is not None:
            self._recorder.idle = before.telemetry.idle.model_dump()
            return
        wanted_s = self._recorder.idle_s(self.spec.telemetry.idle_power_s, point.n_requests)
        if not wanted_s:
            return
        self._wait(point, COOLDOWN, self._servers_idle, most_s=self.spec.load.cooldown_max_s)
        started_s = self._now_s()
        self._wait(point, "measuring idle power", lambda: None, wanted_s)
        if not self._pool.stopping:
            self._recorder.idle = {"started_s": started_s, "ended_s": self._now_s()}

    def _new_entry(self, plan: PointPlan) -> PointEntry:
        entry = PointEntry(
            point_id=plan.point_id,
            attempt=plan.attempt,
            concurrency=plan.level.concurrency,
            rate_per_s=plan.level.rate_per_s,
            repeat=plan.repeat,
            status="running",
            cache_bust=self.probed.plan.cache_bust,
            salt=plan.salt(),
        )
        self.manifest.points.append(entry)
        return entry

    def _measure(self, point: PlannedPoint, plan: PointPlan) -> None:
        """Warm up, wait until the server is idle, measure; the point's entry in the manifest says how far it came."""
        pool, entry = self._pool, self._new_entry(plan)
        self._write_manifest()
        if plan.warmup_requests or plan.warmup_min_s:
            started_s = self._now_s()
            n, least_s = plan.warmup_requests, plan.warmup_min_s
            warming = dataclasses.replace(point, phase="warming up", n_requests=n, at_least_s=least_s)
            self._run_point(warming, plan)
            counts = pool.progress()
            entry.warmup = {"n_ok": counts.done, "n_failed": counts.failed, "output_tokens": counts.output_tokens}
            entry.warmup["duration_s"] = self._now_s() - started_s
            if (reason := self._given_up(plan)) is not None:
                self._fail(entry, f"{reason}, during the warm-up")
                self._write_manifest()
                return
        waited_s, idle = self._wait(point, COOLDOWN, self._servers_idle, plan.cooldown_min_s, plan.cooldown_max_s)
        entry.cooldown = {"waited_s": waited_s, "seen_idle": bool(idle)}
        if pool.stopping:  # nothing of it is measured yet
            entry.status = "stopped"
            self._write_manifest()
            return
        roots = [address.root for address in self._addresses]
        entry.cache_reset = reset_prefix_cache(self.control, self.probed.plan, roots)
        journal_path = partial(self.folder.journal_path, plan.point_id, attempt=plan.attempt)
        before, clocks = self._state().generated_tokens, ClockMark.now()
        self._recorder.mark()
        entry.started_s = self._now_s()
        try:
            reports = self._run_point(point, plan, self.spec.load.error_limit(plan.n_requests), journal_path)
        except RunError as error:
            entry.status = "failed"
            issued, n_rows = pool.n_issued(plan), self.folder.finish_point(plan.point_id, plan.attempt)
            entry.client = {"n_issued": issued, "n_lost": issued - n_rows}
            if issued > n_rows:
                entry.reason = f"{issued - n_rows} of {issued} requests have no row: in flight, or not yet written"
                error.add_line("lost", entry.reason)
            raise
        entry.ended_s = self._now_s()
        self._recorder.mark()
        entry.clocks = ClockMark.now().changes_since(clocks)
        texts = {request_id: text for report in reports for request_id, text in report.texts.items()}
        count_tokens = None if self.tokenizer is None else partial(self._count_tokens, entry, texts)
        scoring = None if self._keeps_text else self._scoring
        n_rows = self.folder.finish_point(plan.point_id, plan.attempt, count_tokens, scoring)
        rows = partial(self.folder.point_rows, plan.point_id, plan.attempt)
        entry.tokens |= self._length_errors(rows)
        if plan.open_loop is not None:
            entry.schedule_sha256 = schedule_hash(plan.offsets_ns)
            entry.saturation = self._saturation(plan, rows)
        states = [report.state for report in reports]
        n_measured = n_rows if plan.open_loop is None else sum(state.n_measured for state in states)
        whole = not pool.stopping and n_measured == plan.n_requests and n_rows == pool.n_issued(plan)
        in_vain = not pool.progress().done
        entry.status = "stopped" if not whole else "failed" if in_vain else "complete"
        if (reason := self._given_up(plan)) is not None:
            self._fail(entry, reason)
        entry.client = client_facts(reports)
        after = self._state().generated_tokens
        entry.server = {"generated_tokens": None if before is None or after is None else after - before}
        self._check_clocks(entry)
        first = sum(bool(point.tokens) for point in self.manifest.points) == 1  # the report has those of all
        if first and (text := lengths_text(self.manifest.workload.lengths or {}, [entry.tokens])):
            self.view.note(f"prompt lengths: {text}")
        self._write_manifest()
        self.view.point_done(point, rows, entry.ended_s - entry.started_s)
        if in_vain and reason is None and not pool.stopping:
            raise RunError(
                "no request of the point succeeded; the sweep ends here",
                where=plan.point_id,
                given=next((report.first_error for report in reports if report.first_error), None),
                hint="the points measured before are kept in " + str(self.folder.path),
            )

    @cached_property
    def _places(self) -> PromptPlaces:
        return PromptPlaces(self.workload.prompts)

    def _count_tokens(self, entry: PointEntry, texts: Mapping[str, str], rows: Table) -> Table:
        """The rows with the tokens that a tokenizer counts where the server did not; the manifest says how they fit."""
        assert self.tokenizer is not None
        names = ("request_id", "prompt_id", "status", "finish_reason", "n_chunks")
        filled = ("input_tokens", "output_tokens", "reasoning_tokens", "token_source")
        columns = {name: rows[name].to_pylist() for name in (*names, *filled)}
        texts = {name: texts[name] for name in columns["request_id"] if name in texts}
        unknown = [i for i, n in zip(columns["prompt_id"], columns["input_tokens"], strict=True) if n is None]
        places = zip(unknown, self._places.of(unknown), strict=True)
        prompts = {name: "\n".join(prompt_texts(self.workload.prompts[place])) for name, place in places}
        for key, n in count_where_unknown(columns, texts, prompts, self.tokenizer).items():
            entry.tokens[key] = entry.tokens.get(key, 0) + n
        for name in filled:
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(place), array(columns[name], rows.schema.field(place).type))
        return rows

    def _length_errors(self, point_rows: Callable[..., Iterator[Table]]) -> dict[str, Any]:
        """How far the server's counts of a point's prompts are from what their texts were made to have."""
        prompts, lengths = self.workload.prompts, self.manifest.workload.lengths or {}
        if not self._made_to_length:
            return {}
        overhead = lengths.get("overhead_tokens")
        if overhead is None:  # exact, or read from a file: what is more than the text has is the server's
            made, counted = prompts[0].input_tokens, self.probed.facts["input_tokens"]
            overhead = None if made is None or counted is None else counted - made
        tables = point_rows(left_out=set(RequestRecord._fields) - {"prompt_id", "input_tokens"})
        counted = ((rows["prompt_id"].to_pylist(), rows["input_tokens"].to_pylist()) for rows in tables)
        return length_errors(counted, self._places, overhead)

    def _given_up(self, plan: PointPlan) -> str | None:
        """Why what just ran measured a server that was not there, or failed too often; None if it did not."""
        breaker = self._pool.breaker
        if breaker.reason is None and breaker.streak >= plan.users and not self._servers_answer():
            return f"the server is down: the last {breaker.streak} requests could not connect"
        return breaker.reason

    def _server_ended(self) -> bool:
        """True once a server that we started ourselves is gone."""
        return self.launched is not None and self.launched.process.exit_code() is not None

    def _servers_answer(self) -> bool:
        """True if every server answers, and not that it cannot serve."""
        if self._server_ended():
            return False
        try:
            return all(self.control.get(address.url("/models")).status_code < 500 for address in self._addresses)
        except httpx.HTTPError:
            return False

    def _fail(self, entry: PointEntry, reason: str) -> None:
        entry.status, entry.reason = "failed", reason
        words = f"{entry.point_id} failed: {reason}"
        self._failures.append(words)
        self.view.note(f"{words}; measure it again with --resume")

    def _server_is_back(self, point: PlannedPoint) -> bool:
        """After a point that failed: wait for the servers as long as load.server_recovery_timeout_s says."""
        if self.manifest.points[-1].status != "failed":
            return True
        most_s = self.spec.load.server_recovery_timeout_s
        phase = "waiting for the server to come back"
        _, back = self._wait(point, phase, lambda: self._servers_answer() or self._server_ended(), most_s=most_s)
        if back and not self._server_ended():
            return True
        late = f"the server did not come back within {most_s:g} s (--server-recovery-timeout-s)"
        self._end_here("the server has ended" if back else late)
        return False

    def _end_here(self, reason: str) -> None:
        self._failures.append(f"{self._what} ends here: {reason}")
        self.view.note(self._failures[-1])

    def _check_clocks(self, entry: PointEntry) -> None:
        """A point during which the machine slept measured the sleep: it is no measurement, and a resume renews it.

        So is one whose kernel timestamps went wrong unseen. A wall clock that was set is seen, and costs only them.
        """
        suspended_s, stepped_s = entry.clocks["suspended_s"], entry.clocks["wall_step_s"]
        if suspended_s and suspended_s > _SUSPENDED_S:
            entry.invalid = f"the machine was suspended for {suspended_s:.1f} s"
        elif entry.client["clock_contradictions"]:
            entry.invalid = "the kernel's timestamps did not follow the wall clock"
        if entry.invalid is not None:
            if entry.status == "complete":
                entry.status = "invalid"
            self.view.note(f"{entry.point_id} is invalid: {entry.invalid}; measure it again with --resume")
        if abs(stepped_s) > _STEPPED_S or entry.client["clock_steps"]:
            self.view.note(f"{entry.point_id}: the wall clock was set while it ran ({stepped_s:+.3f} s in all)")

    def _wait(
        self, point: PlannedPoint, phase: str, over: Callable[[], bool | None], least_s: float = 0, most_s: float = 0
    ) -> tuple[float, bool | None]:
        """Wait `least_s` and until `over`, at most `most_s`: (seconds waited, what `over` said last).

        over: None where it cannot tell, which is not waited for. The wait ends too when the sweep is to stop.
        """
        waiting = dataclasses.replace(point, phase=phase, n_requests=0, at_least_s=least_s, at_most_s=most_s or None)
        began_s = time.monotonic()
        while True:
            said, waited_s = over(), time.monotonic() - began_s
            if waited_s >= least_s and (said is not False or waited_s >= most_s):
                return waited_s, said
            self.view.progress(waiting, ProgressSnapshot(), waited_s)
            if self._pool.stopping:
                return waited_s, said
            time.sleep(min(_POLL_S, max(0.0, max(least_s, most_s) - waited_s)) or 0.01)

    def _run_point(
        self,
        point: PlannedPoint,
        plan: PointPlan,
        max_failed: int | None = None,
        journal_path: Callable[[int], Path] | None = None,
    ) -> list[WorkerReport]:
        started_s = time.monotonic()

        def on_progress(progress: ProgressSnapshot) -> None:
            if self._server_ended():
                self._pool.breaker.trip()
            self.view.progress(point, progress, time.monotonic() - started_s)

        return self._pool.run_point(plan, journal_path, on_progress, max_failed)

    def _now_s(self) -> float:
        return (now_ns() - self._origin_ns) / NS_PER_S

    def _stop(self, number: int, _: FrameType | None) -> None:
        """Ctrl-C once drains, twice stops at once, whatever holds this process; SIGTERM drains for a while."""
        if number == signal.SIGINT and self._pool.aborted:
            raise KeyboardInterrupt
        if number == signal.SIGINT and self._pool.stopping:
            self._pool.abort()
            self.view.note(f"stopping now; go on with: {self.manifest.resume_command(self.folder.path)}")
            self._later(_ABORT_S, partial(signal.pthread_kill, threading.main_thread().ident or 0, signal.SIGINT))
        else:
            self._pool.drain()
            self.view.note("finishing what is in flight; press Ctrl-C again to stop at once")
            if number != signal.SIGINT:
                self._later(_DRAIN_S, self._pool.abort)

    def _later(self, wait_s: float, act: Callable[[], object]) -> None:
        """Do it if the session lasts so long."""
        timer = threading.Timer(wait_s, act)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)


def sweep(
    spec: SweepSpec,
    workload: Workload,
    output: Path | None,
    view: View,
    launched: LaunchedServer | None = None,
    on_begun: Callable[[Path], None] = lambda _: None,
    runner: Callable[..., SweepRunner] = SweepRunner,
) -> SweepResult:
    """Measure `spec` with `workload` and leave a run folder. Raises InputError or RunError; finished points stay.

    output: a new folder, or one with a run of the same spec: then only what it lacks is measured. None: a new one
    under results/. launched: a server that we started ourselves. on_begun: told the run folder once measuring starts.
    """
    asked = spec
    spec, workload, times_s = replayed(asked, workload)

    def made_by(ruler: TokensPerWord) -> Workload:
        return replayed(asked, read_workload(spec.workload, spec.load.random_seed, ruler=ruler))[1]

    check_levels(spec, workload, times_s)
    check_descriptors(spec)
    tokenizer = read_tokenizer(spec.workload.tokenizer) if spec.workload.tokenizer else None
    folder = None if output is None else RunFolder(output)
    try:
        before = None if folder is None else folder.before
        facts = None if launched is None else launched.facts()
        by_words = (workload.lengths or {}).get("by") == "characters"
        if by_words and before is not None:  # as calibrated when the run began
            workload, by_words = made_by(TokensPerWord.of(before.workload.lengths or {})), False
        manifest = new_manifest(spec, workload, facts, before, Anchor.now())
        if folder is not None and before is not None:
            refuse_another_run(manifest, before, str(output), probed=False)
            points = plan_points(spec.load, len(workload.prompts), before.run_id, spec.arrivals, times_s)
            points = below_saturation(points, before.complete_points, spec.arrivals)
            # no server is needed; of a search its planner says whether it is over
            if before.status == "complete" and points and not remaining(points, before.points):
                folder.finish()
                if before.workload.references_hash != manifest.workload.references_hash:
                    view.note(f"the references have changed: benchsuite score {folder.path}")
                before.workload.references_hash = manifest.workload.references_hash
                before.spec = manifest.spec  # only what the judgement takes from the spec may be new: prices, SLO
                before.planned_points = [point.point_id for point in points]
                folder.write_manifest(before)
                view.note("all points are already measured; the run is judged again")
                return SweepResult(before.run_id, folder.path, True, 0)
        with control_client(spec) as control:
            if by_words:
                workload = made_by(calibrate_words(spec, control, workload))
                manifest.workload = workload_facts(workload, spec.sampling.system_prompt)
            probed = preflight(spec, control, workload.prompts, facts)
            manifest.run_id = manifest.run_id or new_run_id(probed.plan.model)
            folder = folder or RunFolder(Path("results") / manifest.run_id)
            return runner(
                spec, workload, folder, manifest, probed, control, view, launched, on_begun, tokenizer, times_s
            ).run()
    finally:
        if folder is not None:
            folder.release()
