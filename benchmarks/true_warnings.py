"""Are warnings true? Runs on a simulator whose every token is due by a law, and demos of the embedded engine.

What a run should have measured is worked out in virtual time from the simulator's own law and the requests that were
sent; a warning is true if what it says of the figures holds by that, whatever its own rule. Of the engine no law is
known: a level is disturbed if it differs from the median of the runs. Only errors and warnings are counted.
"""

from __future__ import annotations

import heapq
import os
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.clients import ROOT
from benchsuite.level import Level
from benchsuite.load.sweep import sweep
from benchsuite.progress import View
from benchsuite.report.judge import Judgement, judge_run
from benchsuite.simulator.config import Fault, LatencyModel, ResponseShape, SimulatorConfig
from benchsuite.simulator.engine import BatchEngine
from benchsuite.simulator.server import simulator
from benchsuite.spec import parse_spec
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import Prompt, make_workload

RUNS = int(os.environ.get("RUNS", "3"))  # of a setting
FOLDER = ROOT / "build" / "warnings"  # what was measured stays, to be judged by another version
OFF, SLIGHTLY_OFF = 0.05, 0.01  # a figure that is so far from the law's is disturbed, or visibly so
ENGINE_OFF = 0.10
CLOSED = {"warmup_requests": 8, "warmup_min_s": 0, "cooldown_min_s": 0, "cooldown_max_s": 5.0}


@dataclass(frozen=True)
class Setting:
    """levels: of concurrency, or rates. tokens: asked of each request. expected: codes that a run has to give."""

    name: str
    levels: tuple[float, ...]
    latency: LatencyModel
    tokens: Callable[[int], int] = lambda _: 32
    requests: int = 64
    rates: bool = False
    endpoints: int = 1
    words: Callable[[int], int] = lambda _: 24
    equal: bool = False
    shape: ResponseShape = field(default_factory=ResponseShape)
    more: Mapping[str, Any] = field(default_factory=dict)  # of the simulator
    load: Mapping[str, Any] = field(default_factory=dict)
    cut: bool = False  # ended after its first point, and resumed
    expected: tuple[str, ...] = ()


STEPS = LatencyModel(ttft_s=0.01, itl_s=0.002, itl_per_stream_s=0.0001, slots=64)
SETTINGS = (
    Setting("paced, 2 to 64 users", (2, 8, 64), LatencyModel(ttft_s=0.03, itl_s=0.003, ttft_spread_s=0.003)),
    Setting("batch engine", (2, 8, 32, 64), STEPS, requests=128),
    Setting("a full server, 3 repeats", (4, 8, 16, 32), STEPS.model_copy(update={"slots": 8}), load={"repeats": 3}),
    Setting("a last wave of few", (8, 24, 32), STEPS, lambda i: 24 + i % 16),
    Setting("one user", (1,), STEPS, requests=24),
    Setting("answers of a token", (2, 8, 32), STEPS, lambda _: 1, requests=128),
    Setting("answers of 1 to 16", (2, 8, 32), STEPS, lambda i: 1 + i % 16, requests=128),
    Setting("answers that end", (2, 8, 32), STEPS, lambda _: 64, more={"natural_output_tokens": 24}),
    Setting("equal prompts", (2, 8, 32), STEPS, equal=True, words=lambda _: 200, more={"prefix_cache": True}),
    Setting("a trace's lengths", (2, 8), STEPS, lambda i: (12, 40, 7, 90)[i % 4], words=lambda i: 50 * (1 + i % 5)),
    Setting("two endpoints", (2, 8, 16), STEPS, endpoints=2),
    Setting("three users of two endpoints", (3,), STEPS.model_copy(update={"slots": 1}), endpoints=2, requests=24),
    Setting("a limit on the request rate", (4, 8), STEPS, requests=48, load={"max_request_rate": 30.0}),
    Setting("resumed", (2, 8, 32), STEPS, cut=True),
    Setting("rates", (15, 40), STEPS, rates=True),
    Setting("as fast as it can", (1, 8), LatencyModel(), requests=400, expected=("client_bound",)),
    Setting("a rate beyond capacity", (90,), STEPS.model_copy(update={"slots": 4}), rates=True,
            expected=("saturated",)),
    Setting("4 tokens a chunk", (2, 8), STEPS, shape=ResponseShape(tokens_per_chunk=4),
            expected=("several_tokens_per_chunk",)),
    Setting("a tenth fails", (2, 8), STEPS, more={"faults": (Fault(kind="http_500", probability=0.1),)},
            expected=("errors",)),
)  # fmt: skip


def true_warnings() -> list[dict[str, Any]]:
    """The share of runs with an untrue warning: simulated servers with known laws, demos of the embedded engine."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for setting in SETTINGS:
        _measure(setting)
    for run in range(RUNS):
        demo = [sys.executable, "-m", "benchsuite", "demo", "--quiet", "--output", str(FOLDER / f"demo-{run}")]
        subprocess.run(demo, stdout=subprocess.DEVNULL, check=False, timeout=240)
    return judge_kept()


def judge_kept() -> list[dict[str, Any]]:
    """The same of the runs that are kept, by this version."""
    rows = [_row(setting.name, _judged(_name(setting)), _truth_of(setting), setting) for setting in SETTINGS]
    rows.append(_row("demo of the embedded engine", demos := _judged("demo"), lambda j: _of_median(j, demos)))
    for row in (*rows, _total(rows)):
        untrue = ", ".join(f"{code} {n} of {row['codes'][code]}" for code, n in row["untrue_codes"].items())
        true = ", ".join(f"{code} {n}" for code, n in row["codes"].items() if code not in row["untrue_codes"])
        found = (("untrue", untrue), ("true", true), ("not found", row["missed"]))
        counts = f"{row['runs']:>3} runs, {row['warned']:>3} with a warning, {row['untrue']:>3} with an untrue one"
        print(f"{row['setting']:<30}{counts}{''.join(f'; {word}: {text}' for word, text in found if text)}", flush=True)
    return rows


def _name(setting: Setting) -> str:
    return setting.name.replace(" ", "-").replace(",", "").replace("'", "")


def _measure(setting: Setting) -> None:
    config = SimulatorConfig(latency=setting.latency, response=setting.shape, **setting.more)
    made = []
    for i in range(setting.requests):
        words = (f"w{k}" if setting.equal else f"w{i}x{k}" for k in range(setting.words(i)))
        made.append(Prompt(f"p{i}", None, ({"role": "user", "content": " ".join(words)},), None, setting.tokens(i)))
    with ExitStack() as servers:
        urls = [servers.enter_context(simulator(config)).base_url for _ in range(setting.endpoints)]
        tree: dict[str, Any] = {
            "server": {"base_url": urls, "profile": "vllm", "model": "simulator"},
            "load": CLOSED | {"concurrency": setting.levels} | setting.load,
            "telemetry": {"gpu": "off"},
        }
        if setting.rates:
            tree["load"] = {"rate": setting.levels, "cooldown_min_s": 0, "cooldown_max_s": 5.0}
            tree["arrivals"] = {"duration_s": 4.0, "warmup_s": 0.5, "tail_max_s": 2.0}
        for run in range(RUNS):
            spec = parse_spec(tree | {"load": tree["load"] | {"random_seed": run}}, where="benchmark")
            folder = FOLDER / f"{_name(setting)}-{run}"
            if setting.cut:
                with suppress(KeyboardInterrupt):
                    sweep(spec, make_workload("w", made), folder, _Cut())
            sweep(spec, make_workload("w", made), folder, View())


class _Cut(View):
    def point_done(self, *_: Any) -> None:
        raise KeyboardInterrupt


def _judged(name: str) -> list[Judgement]:
    return [judge_run(read_run(path)) for path in sorted(FOLDER.glob(f"{name}-[0-9]*"))]


Truth = Callable[[Judgement], Callable[[str, Level], bool | None]]


def _row(name: str, runs: list[Judgement], truth: Truth, setting: Setting | None = None) -> dict[str, Any]:
    codes, untrue_codes, warned, untrue, missed = Counter[str](), Counter[str](), 0, 0, 0
    for run in runs:
        holds = truth(run)
        given = [(w.code, one.point.level) for one in run.judged for w in one.point.warnings if w.severity != "info"]
        false = [code for code, level in given if not holds(code, level)]
        codes.update(code for code, _ in given)
        untrue_codes.update(false)
        warned, untrue = warned + bool(given), untrue + bool(false)
        missed += any(code not in dict(given) for code in (setting.expected if setting else ()))
    return {"setting": name, "runs": len(runs), "warned": warned, "untrue": untrue, "missed": missed,
            "codes": dict(codes), "untrue_codes": dict(untrue_codes)}  # fmt: skip


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    sums = {key: sum(row[key] for row in rows) for key in ("runs", "warned", "untrue", "missed")}
    both = {key: dict(sum((Counter(row[key]) for row in rows), Counter())) for key in ("codes", "untrue_codes")}
    return {"setting": "all", **sums, **both}


@dataclass
class Figures:
    """Of a level, means over its requests, and of its runs; tok_s of a rate is not known."""

    ttft_s: float
    tpot_s: float
    tok_s: float
    itl_p99_s: float

    def off(self, ideal: Figures) -> float:
        """The largest difference of a mean from the ideal one, relative to that."""
        pairs = [(getattr(self, name), getattr(ideal, name)) for name in ("ttft_s", "tpot_s", "tok_s")]
        return max((abs(a - b) / b if b else float("inf") for a, b in pairs if not np.isnan(a + b)), default=0.0)


@dataclass
class Sent:
    """A request: where it went, when it was due, what it asks the law for, what was measured of it."""

    endpoint: str
    due_s: float
    work: tuple[int, int, int]  # input tokens, cached ones of them, output tokens
    times_s: tuple[float, float, float]  # sent, first token, last
    gaps_s: Any
    in_window: bool


def _truth_of(setting: Setting) -> Truth:
    """Whether a code holds at a level, by the law; None, which counts as untrue, where no truth is known."""
    latency, per_chunk = setting.latency, setting.shape.tokens_per_chunk

    def of_run(run: Judgement) -> Callable[[str, Level], bool | None]:
        found = {one.point.level: list(_repeats(run, one.point.level)) for one in run.judged}
        measured, ideal, endless = {}, {}, {}
        for level, repeats in found.items():
            measured[level] = _mean([_figures(sent, level) for sent in repeats])
            ideal[level] = _mean([_figures(_by_law(setting, sent, level), level) for sent in repeats])
            endless[level] = ideal[level]
            if not setting.rates:
                endless[level] = _mean([_figures(_by_law(setting, sent * 8, level), level) for sent in repeats])
        lengths = {
            level: statistics.mean(one.work[2] for sent in runs for one in sent) for level, runs in found.items()
        }

        def holds(code: str, level: Level) -> bool | None:
            users = level.concurrency or 0
            off = {at: measured[at].off(ideal[at]) for at in ideal}
            below = max((at for at in ideal if at < level), default=level)
            beyond = setting.rates and level.number > _capacity_per_s(setting)
            ragged = abs(lengths[level] / statistics.median(lengths.values()) - 1)
            cached, read = (sum(one.work[i] for sent in found[level] for one in sent) for i in (1, 0))
            return {
                "client_degraded": off[level] > SLIGHTLY_OFF
                or abs(measured[level].itl_p99_s / (ideal[level].itl_p99_s or 1e-9) - 1) > OFF,
                "throughput_drop": max(off[level], off[below]) > OFF or ideal[level].tok_s < 0.99 * ideal[below].tok_s,
                "duration_rises": max(off[level], off[below]) > OFF or ideal[level].tok_s < 0.99 * ideal[below].tok_s,
                "ramp_up_down": measured[level].tok_s < (1 - OFF) * endless[level].tok_s,
                "truncated_by_max_tokens": ragged > SLIGHTLY_OFF,
                "output_length": ragged > OFF,
                "single_chunk": per_chunk > 1 or off[level] > OFF,
                "several_tokens_per_chunk": per_chunk > 1,
                "merged_reads": setting.shape.events_per_write > 1 or off[level] > OFF,
                "errors": "faults" in setting.more,
                "saturated": beyond,
                "prefix_hits_unexpected": cached > 0.05 * read,
                "uneven_users": users % setting.endpoints != 0,
                "run_cut_short": any(p.status != "complete" for p in run.facts.manifest.complete_points),
                "queue_depth": beyond or (latency.slots is not None and users >= latency.slots + 100),
                "imbalance": False,  # the servers are the same
                "slow_endpoint": False,
                "near_miss": _near(run, ideal[level], level), "fragile_optimum": _near(run, ideal[level], level),
            }.get(code, off[level] > OFF if code in OF_FIGURES else None)  # fmt: skip

        return holds

    return of_run


# true where the figures are not those of the law
OF_FIGURES = {
    "client_bound", "concurrency_not_reached", "slow_level", "superlinear_scaling", "usl_residual", "idle_users",
    "drift", "no_steady_state",
}  # fmt: skip


def _near(run: Judgement, ideal: Figures, level: Level) -> bool:
    """The law's own figure is as near to a limit of the SLO as to be decided by noise."""
    known = {"ttft_s": ideal.ttft_s, "output_tok_s_per_user": ideal.tok_s / level.number}
    limits = ((limit, known.get(limit.metric)) for limit in run.slo.limits)
    return any(value is not None and abs(value / limit.value - 1) < OFF for limit, value in limits)


def _capacity_per_s(setting: Setting) -> float:
    """Requests/s of users without an end."""
    sent = [Sent("", 0.0, (24, 0, setting.tokens(i)), (0.0, 0.0, 0.0), (), True) for i in range(500)]
    figures = _figures(_by_law(setting, sent, Level(4 * (setting.latency.slots or 64))), Level(1))
    return figures.tok_s / statistics.mean(one.work[2] for one in sent)


def _repeats(run: Judgement, level: Level) -> Iterator[list[Sent]]:
    """The answered requests of each repeat of a level, by when they were due."""
    names = ("concurrency", "rate_per_s", "repeat", "endpoint", "scheduled_s", "sent_s", "first_token_s",
             "last_token_s", "input_tokens", "cached_tokens", "output_tokens", "chunk_gap_us", "status",
             "window_start_s", "window_end_s")  # fmt: skip
    rows = [row for row in run.facts.whole.select(names).to_pylist()
            if level.number in (row["concurrency"], row["rate_per_s"]) and row["status"] == "ok"]  # fmt: skip
    for repeat in sorted({row["repeat"] for row in rows}):
        mine = sorted((row for row in rows if row["repeat"] == repeat), key=lambda row: row["scheduled_s"])
        yield [
            Sent(
                row["endpoint"], row["scheduled_s"],
                (row["input_tokens"], row["cached_tokens"] or 0, row["output_tokens"]),
                (row["sent_s"], row["first_token_s"], row["last_token_s"]), np.array(row["chunk_gap_us"] or ()) / 1e6,
                row["window_start_s"] is None or row["window_start_s"] <= row["scheduled_s"] < row["window_end_s"],
            )
            for row in mine
        ]  # fmt: skip


def _figures(sent: list[Sent], level: Level) -> Figures:
    inside = [one for one in sent if one.in_window]
    begun = [one.due_s if level.rate_per_s else one.times_s[0] for one in inside]
    ttft_s = [one.times_s[1] - begin_s for one, begin_s in zip(inside, begun, strict=True)]
    tpot_s = [(one.times_s[2] - one.times_s[1]) / (one.work[2] - 1) for one in inside if one.work[2] > 1]
    gaps_s = np.concatenate([np.empty(0), *(one.gaps_s for one in inside)])
    took_s = max(one.times_s[2] for one in inside) - min(one.times_s[0] for one in inside)
    tok_s = float("nan") if level.rate_per_s else sum(one.work[2] for one in inside) / (took_s or 1e-9)
    p99_s = float(np.quantile(gaps_s, 0.99)) if len(gaps_s) else 0.0
    return Figures(statistics.mean(ttft_s), statistics.mean(tpot_s) if tpot_s else float("nan"), tok_s, p99_s)


def _mean(each: list[Figures]) -> Figures:
    return Figures(*(statistics.mean(getattr(one, name) for one in each) for name in Figures.__dataclass_fields__))


def _by_law(setting: Setting, sent: list[Sent], level: Level) -> list[Sent]:
    """The same requests as the law answers them: users without a pause between their requests, or the same arrivals."""
    found = []
    endpoints = sorted({one.endpoint for one in sent})
    for i, endpoint in enumerate(endpoints):
        mine = [one for one in sent if one.endpoint == endpoint]
        users = None
        if level.concurrency is not None:
            users = level.users // len(endpoints) + (i < level.users % len(endpoints))
        pace_s = len(endpoints) / setting.load["max_request_rate"] if "max_request_rate" in setting.load else 0.0
        times = _answered(setting, [one.work for one in mine], [one.due_s for one in mine], users, pace_s)
        found += [
            Sent(one.endpoint, one.due_s, one.work, (at[0], at[1], at[-1]), np.diff(at[1:]), one.in_window)
            for one, at in zip(mine, times, strict=True)
        ]
    return found


def _answered(
    setting: Setting, work: list[tuple[int, int, int]], due_s: list[float], users: int | None, pace_s: float
) -> list[list[float]]:
    """Of each request when it is sent and when each of its chunks comes, s. users: None, sent as they are due."""
    law, engine = setting.latency, BatchEngine(setting.latency)
    times: list[list[int]] = [[] for _ in work]
    steps = [-(-output // setting.shape.tokens_per_chunk) for _, _, output in work]
    arrivals = [(round(at_s * 1e9), i) for i, at_s in enumerate(due_s)] if users is None else []
    if users is not None:
        arrivals = [(round(i * pace_s * 1e9), i) for i in range(min(users, len(work)))]
    waiting = iter(() if users is None else range(len(arrivals), len(work)))

    def ended(at_ns: int) -> None:
        if (following := next(waiting, None)) is not None:
            heapq.heappush(arrivals, (max(at_ns, round(following * pace_s * 1e9)), following))

    heapq.heapify(arrivals)
    while arrivals or (law.slots and engine.next_ns is not None):
        if law.slots and engine.next_ns is not None and not (arrivals and arrivals[0][0] < engine.next_ns):
            for at_ns, i in engine.advance(engine.next_ns):
                times[i].append(at_ns)
                if len(times[i]) == steps[i] + 1:
                    ended(at_ns)
            continue
        at_ns, i = heapq.heappop(arrivals)
        times[i].append(at_ns)
        if law.slots:
            engine.arrive(i, at_ns, *work[i][::2], steps[i], work[i][1])
            continue
        first_ns = law.first_due_ns(at_ns, i)
        times[i] += [first_ns + k * round(law.itl_s * 1e9) for k in range(steps[i])]
        ended(times[i][-1])
    return [[at_ns / 1e9 for at_ns in one] for one in times]


def _of_median(run: Judgement, runs: list[Judgement]) -> Callable[[str, Level], bool | None]:
    """Of the embedded engine: what a level's figures are against the median of all runs."""

    def figures(one: Judgement, level: Level) -> list[float | None]:
        point = next(p.point for p in one.judged if p.point.level == level)
        return [point.output_tok_s, point.ttft_s.mean, point.distributions["tpot_s"].mean]

    def holds(code: str, level: Level) -> bool | None:
        of_all = zip(*(figures(one, level) for one in runs), strict=True)
        medians = [statistics.median(value for value in values if value is not None) for values in of_all]
        off = max(abs(a / b - 1) for a, b in zip(figures(run, level), medians, strict=True) if a is not None)
        steady = next(p.point.steady for p in run.judged if p.point.level == level)
        if code == "ramp_up_down":
            return steady is not None and (steady.output_tok_s or 0.0) * (1 - OFF) > (figures(run, level)[0] or 0.0)
        if code in ("near_miss", "fragile_optimum"):
            known = {"ttft_s": medians[1], "output_tok_s_per_user": medians[0] / level.users}
            return any(abs(known[one.metric] / one.value - 1) < OFF for one in run.slo.limits if one.metric in known)
        disturbed = ("throughput_drop", "duration_rises", "client_degraded", *OF_FIGURES)
        return off > ENGINE_OFF if code in disturbed else None

    return holds


if __name__ == "__main__":
    judge_kept()
