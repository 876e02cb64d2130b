"""Sweeps under schedules of one or two faults, drawn from a seed: exact rows, a status, an exit code, nothing left.

A schedule has one or two sessions of one run: `benchsuite sweep` into a folder, under faults at named points; then the
same without a fault, which must make the run whole. Every fifth is a search, `benchsuite find`, which must come to its
end; of the others every third is an open loop, whose requests above a limit are dropped. Each session is a fork, so
that nothing is imported anew.
`python -m benchmarks.chaos --seed N` repeats schedule N.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos_kit import (
    ROOT,
    Row,
    find_words,
    group_of,
    in_fork,
    requests_seen,
    server,
    start_cli,
    sweep_words,
)
from benchsuite.simulator.server import RunningSimulator
from benchsuite.store.files import MANIFEST, REPORT, REQUESTS, SERVER, SUMMARY
from benchsuite.store.run_folder import read_run

REQUESTS_PER_POINT, LEVELS = 240, (8, 16)
RATES, _RATE_S = (60, 120), 2  # of open loops, for so many seconds, the warm-up among them
_PREFLIGHT = 2
_CODES = {0, 1, 2, 3, 6, 129, 130, 143}  # of docs/guide/reference.md
_HANGS_S, _LEAVES_S = 150, 30  # beyond every limit of a sweep that waits for a process or a server
# how often each kind of process reaches its points in such a sweep, about
_MAIN = {"spawn": 2, "order": 8, "compaction": 3, "report": 1, "sample": 2, "rename": 11, "unlink": 8, "fsync": 30}
_WORKER = {"start": 1, "order": 2, "batch": 12, "fsync": 5}
_SENDS = {"send": 60}  # of an open loop, too
_MAIN_OF_A_SEARCH = _MAIN | {"order": 24, "compaction": 12, "rename": 36, "unlink": 20}
_WORKER_OF_A_SEARCH = {"start": 1, "order": 10, "batch": 40, "fsync": 12}
KEPT = ROOT / "build" / "chaos-schedules.jsonl"
SERVER_PID = "SERVER"  # in a plan, until the server runs

# what is tried, by its name in docs/RELIABILITY.md: the action, and who it happens to ("any": either)
KINDS = {
    "SIGKILL of the sweep's process": ("kill", "main"),
    "SIGKILL of the sweep's process by a measuring process": ("kill-parent", "worker"),
    "SIGKILL of a measuring process": ("stop", "worker"),  # stopped before, so that the rows on its disk are known
    "SIGKILL of all processes": ("kill-group", "any"),
    "a process stopped, then continued": ("stop", "any"),
    "no space left on the disk": ("error=28", "any"),
    "I/O error": ("error=5", "any"),
    "a pause of 0.5 s": ("delay=0.5", "any"),
    "Ctrl-C": ("signal=2", "any"),
    "Ctrl-C twice": ("signal=2", "any"),
    "SIGTERM": ("signal=15", "any"),
    "SIGTERM twice": ("signal=15", "any"),
    "a lost terminal (SIGHUP)": ("signal=1", "any"),
    "the wall clock set back 40 min": ("step=-2400", "any"),
    "the wall clock set forward 0.4 s": ("step=0.4", "any"),
    "the server killed": (f"kill={SERVER_PID}", "any"),
}
_KILLED, _CONTINUED = "SIGKILL of a measuring process", "a process stopped, then continued"


@dataclass(frozen=True, slots=True)
class Schedule:
    """workers: measuring processes. sessions: of each session that meets faults, its kinds and its plan."""

    seed: int
    workers: int
    sessions: tuple[tuple[tuple[str, ...], str], ...]

    @property
    def search(self) -> bool:
        return self.seed % 5 == 3

    @property
    def open_loop(self) -> bool:
        return self.seed % 3 == 2 and not self.search

    @property
    def points(self) -> dict[str, int]:
        """Their rows when all is done, of a sweep."""
        if self.open_loop:
            return {f"q{rate}-r0": _RATE_S * rate for rate in RATES}
        return {f"c{level:04}-r0": REQUESTS_PER_POINT for level in LEVELS}

    def __str__(self) -> str:
        said = " | ".join(f"{' + '.join(kinds)} ({plan})" for kinds, plan in self.sessions)
        return f"search: {said}" if self.search else f"open loop: {said}" if self.open_loop else said


def draw(seed: int) -> Schedule:
    """The schedule of a seed: kinds in turn, so that 16 seeds in a row have each; the rest is chance."""
    rng = random.Random(seed)
    workers, kinds = rng.choice((1, 2)), [list(KINDS)[seed % len(KINDS)]]
    if rng.random() < 0.5:
        kinds.append(rng.choice([kind for kind in KINDS if kind not in (_KILLED, _CONTINUED)]))
    reached = (_MAIN, _WORKER | _SENDS if seed % 3 == 2 else _WORKER)
    if seed % 5 == 3:
        reached = (_MAIN_OF_A_SEARCH, _WORKER_OF_A_SEARCH)
    plans = [_plan(kind, rng, workers, *reached) for kind in kinds]
    if len(kinds) == 2 and rng.random() < 0.5:
        return Schedule(seed, workers, tuple(((kind,), plan) for kind, plan in zip(kinds, plans, strict=True)))
    return Schedule(seed, workers, ((tuple(kinds), ",".join(plans)),))


def _plan(kind: str, rng: random.Random, workers: int, of_main: dict[str, int], of_worker: dict[str, int]) -> str:
    action, who = KINDS[kind]
    process = "main" if who == "main" or (who == "any" and rng.random() < 0.5) else f"worker-{rng.randrange(workers)}"
    reached = of_main if process == "main" else of_worker
    # none of our calls fails before there is a line of ours
    point = rng.choice([point for point in reached if point != "start" or not action.startswith("error")])
    n = rng.randint(1, reached[point])
    twice = f",{point}@{process}:{n + 1}:{action}" if kind.endswith("twice") else ""
    return f"{point}@{process}:{n}:{action}{twice}"


@dataclass(slots=True)
class Outcome:
    """How a schedule ended: exit codes and statuses of its sessions, rows that had to be there and were, findings."""

    schedule: Schedule
    ends: list[str]
    expected: int
    kept: int
    wrong: list[str]

    def __str__(self) -> str:
        verdict = f"WRONG: {'; '.join(self.wrong)}" if self.wrong else f"{self.kept} rows, whole"
        return f"seed {self.schedule.seed}: {self.schedule} -> {', '.join(self.ends)} -> {verdict}"


def facts_of(path: Path) -> dict[str, Any]:
    """What lies in a run folder, as plain values; "keys": (point, attempt, request) of each row."""
    left = sorted(str(p.relative_to(path)) for p in path.rglob("*")) if path.exists() else []
    facts: dict[str, Any] = {"status": None, "keys": [], "answers": [], "files": left, "whole": {}, "unsent": 0}
    if MANIFEST in left:
        run = read_run(path)
        columns = (run.table[name].to_pylist() for name in ("point_id", "attempt", "request_id"))
        facts |= {"status": run.manifest.status, "keys": [*zip(*columns, strict=True)]}
        facts["unsent"] = run.table["sent_s"].null_count  # dropped, or cancelled as it waited
        facts["answers"] = [answer for answer in run.table["response_id"].to_pylist() if answer]
        facts["whole"] = dict(Counter(run.whole["point_id"].to_pylist()))
        facts["complete"] = [point.point_id for point in run.manifest.complete_points]
        facts["planned"], search = run.manifest.planned_points, run.manifest.search
        facts["end"] = None if search is None or search.end is None else search.end.reason
    return facts


def run_schedule(seed: int) -> Outcome:
    """Run it in a folder of its own against a server of its own."""
    schedule = draw(seed)
    outcome = Outcome(schedule, [], 0, 0, [])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchsuite-chaos-")))
        # identifiers so long that what a measuring process is given is more than a pipe holds
        ids = [f"{i:0250d}" for i in range(REQUESTS_PER_POINT)]
        lines = [{"id": name, "prompt": f"question {name[-3:]}", "max_output_tokens": 3} for name in ids]
        (folder / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        running, before = stack.enter_context(server()), in_fork(lambda: facts_of(folder / "run"))
        for kinds, plan in [*schedule.sessions, ((), "")]:
            if requests_seen(running) is None:
                running = stack.enter_context(server(port=running.port))
            before = _session(folder, schedule, running, kinds, plan, before, outcome)
    return outcome


def _session(
    folder: Path,
    schedule: Schedule,
    running: RunningSimulator,
    kinds: Sequence[str],
    plan: str,
    before: dict[str, Any],
    outcome: Outcome,
) -> dict[str, Any]:
    """One sweep into the folder, held against what must be true of it; what lies there then."""
    path, wrong, seen = folder / "run", outcome.wrong, requests_seen(running)
    more = ("--workload", str(folder / "set.jsonl"), "--server-recovery-timeout-s", "0.2")
    if schedule.open_loop:
        more += ("--arrival", "constant", "--duration-s", "1", "--warmup-s", str(_RATE_S - 1), "--tail", "drain")
        more += ("--max-in-flight", "4", "--over", "drop", "--past-saturation")
    levels = RATES if schedule.open_loop else LEVELS
    words = sweep_words(running.base_url, path, levels, schedule.workers, *more, rate=schedule.open_loop)
    if schedule.search:
        words = find_words(running.base_url, path, LEVELS, schedule.workers, *more)
    pid = start_cli(words, plan.replace(SERVER_PID, str(running.pid)), folder / "log")
    code, on_disk = _ended(pid, path, plan, _KILLED in kinds)
    text = (folder / "log").read_text("utf-8", "replace")
    facts = in_fork(lambda: facts_of(path))
    outcome.ends.append(f"{code} {facts['status']}")
    killed = code == -signal.SIGKILL and any("SIGKILL" in kind for kind in kinds)
    if code is None:
        wrong.append(f"it hangs; its last words: {text[-300:]}")
    elif code not in _CODES and not killed:
        wrong.append(f"exit code {code}")
    if group := group_of(pid):
        wrong.append(f"{len(group)} processes are left")
        for process in group:
            with suppress(psutil.Error):
                process.kill()
    if "Traceback" in text or "Exception ignored" in text:
        wrong.append(f"a traceback: {text[-1500:]}")
    # an error may be that of the last manifest; then the code says that the run failed
    if facts["status"] == "running" and not killed and not (code == 1 and "error" in plan):
        wrong.append("the manifest says running")
    if not killed and (left := [name for name in facts["files"] if name.endswith(".tmp")]):
        wrong.append(f"left behind: {left}")
    rows, earlier = Counter(map(tuple, facts["keys"])), Counter(map(tuple, before["keys"]))
    if max(rows.values(), default=1) > 1 or len(set(facts["answers"])) < len(facts["answers"]):
        wrong.append("a row is there twice")
    missing = (earlier | Counter(map(tuple, on_disk))) - rows
    if missing:
        wrong.append(f"{missing.total()} rows are gone")
    expected, new = rows.total() + missing.total() - earlier.total(), rows.total() - earlier.total()
    if (seen_then := requests_seen(running)) is not None:
        sent = max(0, seen_then - (seen or 0) - _PREFLIGHT)
        lossy = bool({_KILLED, "SIGKILL of all processes"} & set(kinds))
        unsent = facts["unsent"] - before["unsent"]
        expected = max(expected, sent + unsent if not lossy else 0)
        if new - unsent > sent or (new - unsent < sent and not lossy):
            wrong.append(f"{sent} requests sent, {new - unsent} rows")
    outcome.expected, outcome.kept = outcome.expected + expected, outcome.kept + expected - missing.total()
    if not plan:
        at_rest = {MANIFEST, REQUESTS, SUMMARY, REPORT, f"{SERVER}.parquet"}
        if code not in (0, 3, 6) or facts["status"] != "complete":
            wrong.append(f"taken up again it ended with {code}, {facts['status']}: {text[-500:]}")
        if schedule.search and (facts["end"] in (None, "stopped", "server_lost") or not facts["planned"]):
            wrong.append(f"the search has no end: {facts['end']}")
        if schedule.search and facts["complete"] != facts["planned"]:
            wrong.append(f"probes {facts['complete']} of {facts['planned']}")
        if not schedule.search and facts["whole"] != schedule.points:
            wrong.append(f"rows of whole points {facts['whole']}")
        if odd := [name for name in facts["files"] if name not in at_rest]:
            wrong.append(f"left behind: {odd}")
    return facts


def _ended(pid: int, path: Path, plan: str, kills: bool) -> tuple[int | None, list[Any]]:
    """Its exit code, minus a signal, None if it hangs; the rows that lay on the disk when a process stood still.

    Who stopped is killed, or continued. Then all of its group have their time to end.
    """
    on_disk: list[Any] = []
    until_s, code = time.monotonic() + _HANGS_S, None
    while code is None and time.monotonic() < until_s:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code, until_s = os.waitstatus_to_exitcode(status), time.monotonic() + _LEAVES_S
        for process in group_of(pid, psutil.STATUS_STOPPED) if "stop" in plan else ():
            on_disk = on_disk or in_fork(lambda: facts_of(path))["keys"]
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL if kills else signal.SIGCONT)
        time.sleep(0.02)
    while code is not None and group_of(pid) and time.monotonic() < until_s:
        time.sleep(0.02)
    return code, on_disk


def schedules(seeds: Sequence[int]) -> bool:
    """Run these, each told as it ends and kept in build/; true if all went well. This process must have no threads."""
    for name in ("cli.find", "cli.sweep", "load.launched_sweep", "report.live", "report.page", "report.terminal"):
        import_module(f"benchsuite.{name}")  # once, and not in every fork
    import_module("pandas")
    good = True
    KEPT.parent.mkdir(exist_ok=True)
    for seed in seeds:
        began_s = time.monotonic()
        outcome = run_schedule(seed)
        good = good and not outcome.wrong
        kept = {"seed": seed, "expected": outcome.expected, "kept": outcome.kept, "good": not outcome.wrong}
        kept |= {"seconds": round(time.monotonic() - began_s, 1), "made": datetime.now(UTC).date().isoformat()}
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
        print(outcome, flush=True)
    return good


def kept_section() -> dict[str, Any]:
    """From the last run of each seed: a row of each kind of fault (the schedules that had it, alone or with another),
    the seconds of all, the last day."""
    lines = map(json.loads, KEPT.read_text("utf-8").splitlines())
    last = {line["seed"]: line for line in lines if "seconds" in line}  # those before it was kept count no more
    rows = []
    for kind in ("all schedules", *KINDS):
        had = {seed for seed in last if kind not in KINDS or any(kind in kinds for kinds, _ in draw(seed).sessions)}
        those = [last[seed] for seed in sorted(had)]
        wrong = [f"seed {one['seed']}" for one in those if not one["good"]]
        expected, kept = sum(one["expected"] for one in those), sum(one["kept"] for one in those)
        outcome = ", ".join(wrong) or "resumed, whole"
        rows.append(asdict(Row(kind, len(those), expected, kept, outcome, not wrong and expected == kept)))
    seconds, made = round(sum(line["seconds"] for line in last.values())), max(line["made"] for line in last.values())
    return {"rows": rows, "seconds": seconds, "made": made}
