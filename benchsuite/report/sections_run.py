"""Warnings as cards: what is wrong, what to do, and where. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.steady_state import window
from benchsuite.analysis.timeline import timeline
from benchsuite.analysis.ttft_breakdown import Attribution, ServerUse
from benchsuite.economics.decision import stopped_level
from benchsuite.manifest import PointEntry, RunManifest
from benchsuite.report.charts import Point, Series
from benchsuite.report.charts_special import NARROW, Panel, Trace, stack_chart, timeline_chart
from benchsuite.report.format import (
    DASH,
    best_tail,
    cell,
    chance,
    count,
    doubt_text,
    head,
    ms,
    number,
    percent,
    price_text,
    sentence,
    set_size,
    slo_cell,
    spaced,
    tail,
    usd,
    with_goodput,
)
from benchsuite.report.judge import Judgement
from benchsuite.report.level_tables import TTFT, level_table
from benchsuite.report.sections_levels import Figure, Row, level_figure, whole_percent
from benchsuite.results import Decision, EvaluatedLevel, NoFeasiblePoint, Optimum
from benchsuite.slo import Slo
from benchsuite.warning_table import Finding


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the four answers: its question in a word or two, the answer, and what stands behind it."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision in a sentence, and its four parts."""

    sentence: str
    tiles: tuple[Tile, ...]


def answer(decision: Decision, judged: Sequence[EvaluatedLevel], slo: Slo) -> Answer:
    """What the page says first. `decision` was made over `judged`."""
    if decision.kind == "none":
        return _none(decision, judged, slo)
    level = decision.recommended
    users = level.point.concurrency
    sentence = f"Run {users} user{'s' * (users > 1)} at once: {_cost(level)}, {_certainty(decision)}"
    tiles = (_concurrency(decision, judged, slo), _price(level), _sure(decision), _limit(decision, judged))
    return Answer(sentence, tiles)


def _cost(level: EvaluatedLevel) -> str:
    per_1m = level.cost.usd_per_1m_output_tokens
    if per_1m is not None:
        return f"{usd(per_1m)} per 1M output tokens"
    if level.cost.cost_usd is not None:
        return f"{usd(level.cost.cost_usd)} per run of the set"
    return f"{number(level.point.duration_s)} s per run of the set"


def _certainty(decision: Optimum) -> str:
    """Whether the level keeps the SLO, and whether it is the cheapest that does, as far as the runs tell."""
    level = decision.recommended
    verdict = {
        "met": "surely within the SLO",
        "met in this run": "within the SLO in this one run",
        "undecided": "but whether it keeps the SLO is undecided",
    }.get(level.slo_verdict, "within the SLO as far as the table tells")
    if decision.p_opt is None:
        return verdict
    if level is not decision.choice:
        cheapest = decision.choice.point.concurrency
        return f"{verdict}; {cheapest} is the cheapest in only {whole_percent(decision.p_opt)} of resampled runs"
    return f"{verdict}, the cheapest in {whole_percent(decision.p_opt)} of resampled runs"


def _concurrency(decision: Optimum, judged: Sequence[EvaluatedLevel], slo: Slo) -> Tile:
    level = decision.recommended
    kept = sum(j.meets_slo for j in judged)
    what = "the cheapest" if level is decision.choice else "the safer"
    which = f"{what} of the {kept} levels, of {len(judged)} measured, that keep {slo}"
    if kept <= 1:
        which = (
            f"the only one of {len(judged)} levels that keeps {slo}" if len(judged) > 1 else "the only level measured"
        )
    point = level.point
    speeds = [
        f"TTFT {ms(point.ttft_s.mean)} ms" if point.ttft_s.mean is not None else "",
        f"{number(point.output_tok_s_per_user)} tok/s per user" if point.output_tok_s_per_user is not None else "",
        f"{number(point.output_tok_s)} tok/s in all" if point.output_tok_s is not None else "",
    ]
    there = ", ".join(one for one in speeds if one)
    return Tile(
        "Concurrency",
        f"{point.concurrency} user{'s' * (point.concurrency > 1)}",
        f"{which}. There: {there}",
    )


def _price(level: EvaluatedLevel) -> Tile:
    size, cost = set_size(level), level.cost
    run = "run of the set" if size is None else f"run of {size:,} requests"
    if cost.cost_usd is None:
        return Tile(
            "Cost", f"{number(level.point.duration_s)} s", f"per {run}; no price is known, so the shortest run wins"
        )
    hourly = f"at {usd(cost.usd_per_hour)} an hour"
    if cost.usd_per_1m_output_tokens is None:
        return Tile("Cost", usd(cost.cost_usd), f"per {run}, {hourly}")
    found = level.intervals.get("usd_per_1m_output_tokens")
    ends = "" if found is None or found.low is None else f" [{number(found.low)}, {number(found.high)}]"
    detail = f"per 1M output tokens{ends}; {usd(cost.cost_usd)} per {run}, {hourly}"
    return Tile("Cost", usd(cost.usd_per_1m_output_tokens), detail)


def _sure(decision: Optimum) -> Tile:
    level, p = decision.recommended, decision.p_opt
    runs = level.point.repeat_count
    if p is None:
        if runs == 1:
            detail = "no interval between runs, so close levels may swap places; measure each three times"
            return Tile("Certainty", "one run", detail + _warned(level))
        detail = decision.p_method or "the levels were not repeated alike"
        return Tile("Certainty", level.slo_verdict, detail + _warned(level))
    own = decision.p_by_level.get(level.point.concurrency, 0.0)
    rivals = sorted(decision.p_by_level.items(), key=lambda pair: -pair[1])
    others = [f"{n}: {q:.2f}" for n, q in rivals if n != level.point.concurrency and q >= 0.005][:3]
    none = 1 - sum(decision.p_by_level.values())
    others += [f"none: {none:.2f}"] * (none >= 0.005)
    rest = f" ({', '.join(others)})" if others else ""
    detail = (
        f"the cheapest in that share of resampled runs{rest}; SLO {level.slo_verdict}, P(SLO) {chance(level.p_met)}"
    )
    return Tile("Certainty", f"P {own:.2f}", f"{detail}; {runs} runs a level{_warned(level)}")


def _warned(level: EvaluatedLevel) -> str:
    """'; 2 warnings on this level, below'; '' without."""
    n = len(level.point.warnings)
    return f"; {n} warning{'s' * (n > 1)} on this level, below" if n else ""


def _limit(decision: Optimum, judged: Sequence[EvaluatedLevel]) -> Tile:
    stopped = stopped_level(decision.choice, judged)
    if stopped is None:
        said = (decision.binding or "").removeprefix("no limit: ")
        return Tile("Limited by", "nothing yet" if "measure higher" in said else "cost", said)
    limit = decision.binding or ""
    detail = f"{stopped.point.concurrency} users: {doubt_text(stopped)}"
    cheaper = (stopped.cost.cost_usd or 0.0) < (decision.choice.cost.cost_usd or 0.0)
    return Tile("Limited by", limit, f"{detail}{'; it would cost less' if cheaper else ''}")


def _none(decision: NoFeasiblePoint, judged: Sequence[EvaluatedLevel], slo: Slo) -> Answer:
    nearest = decision.nearest
    if nearest is None:
        return Answer("No level keeps the SLO: none was measured", ())
    users = nearest.point.concurrency
    sentence = f"No level keeps the SLO; the nearest, {users} user{'s' * (users > 1)},"
    picks = sum(decision.p_by_level.values())
    sure = (
        Tile("Certainty", "one run", "no interval between runs; measure each level three times")
        if not decision.p_by_level
        else Tile("Certainty", f"P {1 - picks:.2f}", "no level keeps the SLO in that share of resampled runs")
    )
    tiles = (
        Tile("Concurrency", "none", f"none of {len(judged)} levels keeps {slo}"),
        Tile("Cost", "\u2013", f"the nearest, {users}: {price_text(nearest)}"),
        sure,
        Tile("Limited by", _worst(nearest), doubt_text(nearest) or "it has no duration"),
    )
    return Answer(f"{sentence} {doubt_text(nearest) or 'has no duration'}", tiles)


def _worst(nearest: EvaluatedLevel) -> str:
    doubts = (*nearest.misses, *nearest.unknown)
    return doubts[0].partition(" missed: ")[0].removesuffix(" unknown") if doubts else "\u2013"


CLIENT_HEAD = (
    "point", "verdict", "read lag p99 µs", "read lag max µs", "loop lag p99 µs", "merged reads", "CPU mean",
    "CPU max 1 s", "steal s", "chunks",
)  # fmt: skip


_POINT = (
    "concurrency", "repeat_count", "n_ok", "n_failed", "duration_s", "ttft_mean_s", "ttft_p99_s", "ttft_p95_s",
    "tpot_mean_s", "output_tok_s_per_user", "output_tok_s", "goodput_per_s", "attainment", "output_tokens", "cost_usd",
    "usd_per_1m_output_tokens",
)  # fmt: skip


def point_table(judged: Sequence[EvaluatedLevel]) -> tuple[Row, list[Row]]:
    """Head and rows of the levels, with the highest percentile of TTFT that any level supports."""
    other = "ttft_p95_s" if best_tail(judged) == "p99" else "ttft_p99_s"
    columns = [column for column in with_goodput(_POINT, judged) if column != other]
    rows = [(*(cell(one, column) for column in columns), slo_cell(one)) for one in judged]
    return (*map(head, columns), "SLO violations"), rows


def point_note(judged: Sequence[EvaluatedLevel]) -> str:
    """Why a column of percentiles has no value; '' where one has."""
    stat = best_tail(judged)
    if any(tail(j.point.ttft_s, stat) is not None for j in judged):
        return ""
    return f"TTFT {stat} is shown from 200 answered requests a level on: ten must lie beyond it."


def client_rows(judgement: Judgement) -> list[Row]:
    """One measured point a row, with the level's verdict."""
    known = [point for point in judgement.facts.manifest.points if point.client]
    return [_client_row(point, judgement) for point in sorted(known, key=lambda point: point.point_id)]


def _client_row(point: PointEntry, judgement: Judgement) -> Row:
    client = point.client
    lag, loop = client.get("read_lag") or {}, client.get("loop_lag") or {}
    verdict = judgement.clients.get(point.concurrency or -1)
    return (
        point.point_id,
        point.status if verdict is None or point.status != "complete" else verdict.verdict,
        number(lag.get("p99_us")),
        number(lag.get("max_us")),
        number(loop.get("p99_us")),
        percent(client.get("merged_read_share")),
        percent(client.get("cpu_share_mean")),
        percent(client.get("cpu_share_max_1s")),
        number(client.get("steal_s")),
        count(client.get("n_chunks")),
    )


def facts(judgement: Judgement) -> list[tuple[str, str]]:
    """What ran, on what, at what price; missing is an en dash."""
    manifest = judgement.facts.manifest
    workload, host, probe = manifest.workload, manifest.host, manifest.server_probe
    price = "none given"
    if judgement.usd_per_hour is not None:
        gpus = f"{judgement.gpus} GPU{'s' * (judgement.gpus > 1)}"
        price = f"{usd(judgement.usd_per_hour)} per GPU-hour, {gpus}"
    named = {
        "run": manifest.run_id,
        "status": manifest.status,
        "measured": manifest.created,
        "benchsuite": manifest.benchsuite,
        "model": judgement.model,
        "server": probe.profile,
        **{f"server {name}": value for name, value in probe.server.items()},
        **{f"served {name}": value for name, value in (manifest.launched_server or {}).items()},
        "GPUs": _gpus(manifest),
        "token counts": "from the server's usage" if probe.reports_usage else "not reported by the server",
        "time stamps": probe.stamp_source,
        "prefix caches": probe.cache_bust,
        "workload": f"{workload.name}, {count(workload.requests)} requests",
        "workload hash": workload.content_hash,
        "price": price,
        "SLO": judgement.slo,
        "measuring processes": manifest.workers,
        "client host": f"{host.platform}, {host.cpu_model}, {host.cpu_count} CPUs",
        "client Python": host.python,
        "client versions": ", ".join(f"{name} {version}" for name, version in host.versions.items() if version),
    }
    return [(name, _plain(value)) for name, value in named.items()]


def _plain(value: Any) -> str:
    """Values as they are, lists with spaces between, a dash for what is missing."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return DASH if value is None else str(value)


def _gpus(manifest: RunManifest) -> str | None:
    """Names, driver and UUIDs of the GPUs that the telemetry read; None where it read none."""
    gpu = manifest.telemetry.gpu
    if gpu is None:
        return None
    used = [device for device in gpu.devices if not gpu.used or device.uuid in gpu.used]
    names = [f"{device.name or 'GPU'} ({device.uuid})" for device in used]
    return "; ".join([*names, *([f"driver {gpu.driver}"] if gpu.driver else []), f"read by {gpu.source}"])


_MOST_SAMPLES = 140  # of a trace


def timeline_figure(judgement: Judgement, level: int) -> Figure | None:
    """The first repeat of the level that has a beginning and an end; None if none has."""
    rows = next(one.rows for one in judgement.measured if one.concurrency == level)
    gpu, server = judgement.facts.gpu, judgement.facts.server
    repeats = [int(repeat) for repeat in np.unique(rows.repeat)]
    found = next((one for repeat in repeats if (one := timeline(rows, repeat)) is not None), None)
    if found is None:
        return None
    repeat = next(repeat for repeat in repeats if timeline(rows, repeat) is not None)
    start_s, length_s = found.start_s, found.end_s - found.start_s
    middles = tuple(float(v) for v in (found.edges_s[1:] + found.edges_s[:-1]) / 2 - start_s)
    panels = [
        Panel("requests in flight", (Trace("in flight", middles, _floats(found.in_flight)),), top=level),
        Panel("output (tok/s)", (Trace("tok/s", middles, _floats(found.output_tok_s)),)),
        *_gpu_panels(gpu, start_s, found.end_s),
        *_server_panels(server, start_s, found.end_s),
    ]
    steady = window(rows, np.flatnonzero(rows.repeat == repeat), level)
    shaded = None if steady is None else (steady[0] - start_s, steady[1] - start_s)
    title = _title(level, length_s, shaded)

    def draw(**of: Any) -> str:
        return timeline_chart(panels, title=title, start_s=0.0, end_s=length_s, steady=shaded, **of)

    known = [trace for panel in panels for trace in panel.traces]
    head = ("from s", "to s", "in flight", "tok/s")
    bounds = found.edges_s - start_s
    table = tuple(
        (number(bounds[i]), number(bounds[i + 1]), number(found.in_flight[i]), number(found.output_tok_s[i]))
        for i in range(len(middles))
    )
    which = "The run" if len(repeats) == 1 else f"Run {repeats.index(repeat) + 1} of {len(repeats)}"
    note = (
        f"{which} at {level} users, in {len(middles)} parts of {number(length_s / len(middles))} s. Green: the "
        f"steady window. Shown: {', '.join(dict.fromkeys(trace.name for trace in known))}."
    )
    if len(panels) == 2:
        note += " No samples of GPUs or of the server were kept."
    return Figure(title, draw(), head, table, note, draw(width=NARROW))


def _title(level: int, length_s: float, steady: tuple[float, float] | None) -> str:
    if steady is None:
        return f"At {level} users the run of {number(length_s)} s has no steady window"
    share = (steady[1] - steady[0]) / length_s
    return f"At {level} users the server was steadily busy for {whole_percent(share)} of {number(length_s)} s"


def _floats(values: Any) -> tuple[float | None, ...]:
    return tuple(float(value) for value in values)


def _within(table: pa.Table | None, start_s: float, end_s: float) -> pa.Table | None:
    if table is None:
        return None
    inside = pc.and_(pc.greater_equal(table["at_s"], start_s), pc.less_equal(table["at_s"], end_s))
    part = table.filter(inside).sort_by("at_s")
    return part if part.num_rows else None


def _gpu_panels(gpu: pa.Table | None, start_s: float, end_s: float) -> list[Panel]:
    part = _within(gpu, start_s, end_s)
    if part is None:
        return []
    panels = []
    activity = [
        _trace(part, column, name, start_s, 100.0, mean=True)
        for column, name in (
            ("util_ratio", "kernels running"),
            ("sm_active_ratio", "SM"),
            ("dram_active_ratio", "DRAM"),
        )
    ]
    known = tuple(trace for trace in activity if trace is not None)
    if known:
        panels.append(Panel("GPU activity (%)", known, top=100.0))
    power = _trace(part, "power_w", "W", start_s, 1.0, mean=False)
    if power is not None:
        panels.append(Panel("GPU power (W)", (power,)))
    return panels


def _server_panels(server: pa.Table | None, start_s: float, end_s: float) -> list[Panel]:
    part = _within(server, start_s, end_s)
    if part is None:
        return []
    panels = []
    queue = [
        _trace(part, column, name, start_s, 1.0, mean=False)
        for column, name in (("running", "running"), ("waiting", "waiting"))
    ]
    known = tuple(trace for trace in queue if trace is not None)
    if known:
        panels.append(Panel("server: requests", known))
    cache = _trace(part, "kv_cache_ratio", "KV cache %", start_s, 100.0, mean=True)
    if cache is not None:
        panels.append(Panel("server: KV cache (%)", (cache,), top=100.0))
    return panels


def _trace(part: pa.Table, column: str, name: str, start_s: float, scale: float, *, mean: bool) -> Trace | None:
    """The column over time: the mean, or the sum, over the devices or servers read at one moment; None if unknown.

    A moment is a tenth of a second: readings of several devices follow each other by less.
    """
    known = part.filter(pc.is_valid(part[column]))
    if not known.num_rows:
        return None
    at_s = np.round(known["at_s"].to_numpy() - start_s, 1)
    values = known[column].to_numpy().astype(float) * scale
    moments, where = np.unique(at_s, return_inverse=True)
    summed = np.bincount(where, values)
    shown = summed / np.bincount(where) if mean else summed
    every = -(-len(moments) // _MOST_SAMPLES)
    picked = slice(None, None, every)
    return Trace(name, tuple(float(t) for t in moments[picked]), _floats(shown[picked]), step=True)


_PARTS = ("queue", "prefill", "network", "client", "rest")


def ttft_figure(found: Sequence[Attribution]) -> Figure | None:
    """Mean TTFT by where it went; None where the server told nothing of it."""
    known = [one for one in found if one.queue_s is not None or one.prefill_s is not None]
    if not known:
        return None
    levels = [one.concurrency for one in known]
    parts = [(name, [_ms(getattr(one, f"{name}_s")) for one in known]) for name in _PARTS]
    shown = [(name, values) for name, values in parts if any(value is not None and value > 0 for value in values)]
    title = _server_title(known[-1])
    chart = stack_chart(levels, shown, title=title, y_label="mean TTFT (ms)")
    heads, rows = level_table(TTFT, [(one.concurrency, one) for one in known])
    reasons = dict.fromkeys(f"{n}: {why}" for one in known for n, why in one.reasons.items() if n in _PARTS)
    note = "Means over successful requests; rest is what no source explains."
    return Figure(title, chart, heads, tuple(rows), f"{note} {'; '.join(reasons)}".strip())


def _server_title(last: Attribution) -> str:
    parts = {name: getattr(last, f"{name}_s") for name in _PARTS}
    most = max((name for name in parts if parts[name] is not None), key=lambda name: parts[name] or 0.0)
    share = (parts[most] or 0.0) / last.ttft_s if last.ttft_s else 0.0
    said = {"queue": "waiting in the server's queue", "prefill": "prefill", "network": "network and HTTP"}
    return f"At {last.concurrency} users {share * 100:.0f}\u00a0% of TTFT is {said.get(most, most)}"


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000


def use_figures(use: Sequence[ServerUse], judged: Sequence[EvaluatedLevel], decision: Decision) -> list[Figure]:
    """Requests that run and wait in the server, and its KV cache; what it does not tell is left out."""
    running = _series("running", use, lambda one: one.running_mean)
    waiting = _series("waiting", use, lambda one: one.waiting_mean)
    cache = _series("mean", use, lambda one: None if one.kv_cache_mean_ratio is None else 100 * one.kv_cache_mean_ratio)
    most = _series("most", use, lambda one: None if one.kv_cache_max_ratio is None else 100 * one.kv_cache_max_ratio)
    found = []
    queue = [one for one in (running, waiting) if _known(one)]
    if queue:
        queued = [one.concurrency for one in use if one.waiting_mean is not None and one.waiting_mean >= 1]
        title = (
            f"requests queue in the server from {queued[0]} users up" if queued else "no queue builds up in the server"
        )
        found.append(level_figure(title, queue, "requests in the server", judged, decision))
    if _known(cache):
        full = max((p.y, p.x) for p in (most if _known(most) else cache).points if p.y is not None)
        title = "the KV cache stays empty"
        if full[0]:
            title = f"the KV cache is {full[0]:.0f}\u00a0% full at most, at {full[1]:g} users"
        shown = [cache, *([most] if _known(most) else [])]
        found.append(level_figure(title, shown, "KV cache in use (%)", judged, decision))
    return found


def _series(name: str, use: Sequence[ServerUse], value: Callable[[ServerUse], float | None]) -> Series:
    return Series(name, tuple(Point(one.concurrency, value(one)) for one in use))


def _known(series: Series) -> bool:
    return any(p.y is not None for p in series.points)


@dataclass(frozen=True, slots=True)
class Card:
    """All warnings of one code: the first one's finding and remedy. where: the levels, of several models with their
    names. others: each one's text where they differ.
    """

    code: str
    finding: str
    remedy: str
    where: str
    others: tuple[str, ...]


def cards(found: Iterable[tuple[str, EvaluatedLevel]]) -> list[Card]:
    """One card a code, in the order of their first appearance. found: levels with their model's name, '' if there is
    one model alone.
    """
    by_code: dict[str, list[tuple[str, Finding]]] = {}
    for name, level in found:
        for warn in level.point.warnings:
            by_code.setdefault(warn.code, []).append((name, warn))
    return [_card(code, warned) for code, warned in by_code.items()]


def _card(code: str, warned: list[tuple[str, Finding]]) -> Card:
    name, first = warned[0]
    finding = sentence(first.finding)
    if name:
        more = f" (and {len(warned) - 1} more)" if len(warned) > 1 else ""
        finding = f"{_place(name, first)}: {first.finding}{more}."
    differ = len({(other, warn.finding) for other, warn in warned}) > 1
    others = tuple(spaced(f"{_place(*one)}: {one[1].finding}; {one[1].remedy}") for one in warned) if differ else ()
    return Card(code, spaced(finding), spaced(sentence(first.remedy)), _where(warned), others)


def _place(name: str, warn: Finding) -> str:
    level = "" if warn.concurrency is None else str(warn.concurrency)
    return f"{name} at {level}" if name and level else name or level


def _where(warned: list[tuple[str, Finding]]) -> str:
    """'8, 16' of one model; 'a (8, 16), b (8)' of several."""
    by_name: dict[str, list[str]] = {}
    for name, warn in warned:
        if warn.concurrency is not None:
            by_name.setdefault(name, []).append(str(warn.concurrency))
    return ", ".join(f"{name} ({', '.join(at)})" if name else ", ".join(at) for name, at in by_name.items())
