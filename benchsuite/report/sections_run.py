"""What a page says of one run: the decision, warnings, the client, provenance, the server, one repeat over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.steady_state import window
from benchsuite.analysis.timeline import timeline
from benchsuite.analysis.ttft_breakdown import Attribution, ServerUse
from benchsuite.economics.decision import costs_less, stopped_level
from benchsuite.level import Level
from benchsuite.manifest import RunManifest
from benchsuite.metrics import BY_COLUMN
from benchsuite.report.charts import Point, Series
from benchsuite.report.charts_special import NARROW, WIDE, Panel, Trace, stack_chart, timeline_chart
from benchsuite.report.format import (
    DASH,
    cell,
    chance,
    chance_text,
    count,
    doubt_text,
    effort_text,
    head,
    number,
    percent,
    plural,
    price_text,
    sentence,
    set_size,
    spaced,
    usd,
    with_judged,
)
from benchsuite.report.judge import Judgement
from benchsuite.report.level_tables import TTFT, level_table
from benchsuite.report.sections_levels import Figure, Judged, Table, is_known, level_figure, whole_percent
from benchsuite.results import Decision, EvaluatedLevel, NoFeasiblePoint, Optimum, SloVerdict
from benchsuite.slo import Slo
from benchsuite.warning_table import Finding


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of the answer: its name, its value, and what it rests on."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision in a sentence, its four parts, and whether what is named is proven to meet the SLO."""

    sentence: str
    tiles: tuple[Tile, ...]
    verdict: SloVerdict


def answer(decision: Decision, judged: Judged, slo: Slo) -> Answer:
    """What the page says first. `decision` was made over `judged`."""
    if decision.kind == "none":
        return _none(decision, judged, slo)
    level = decision.recommended
    looks = "" if decision.verdict == "met" and decision.p_by_level else " looks best"
    return Answer(
        f"Concurrency {level.point.level}{looks}: {cost_text(level)}, SLO {level.slo_verdict}"
        + ("" if decision.p_opt is None else f", P(optimal) {_p_optimal(decision):.2f}"),
        (_concurrency(decision, judged, slo), _cost(level), _certainty(decision), _limit(decision, judged)),
        decision.verdict,
    )


def cost_text(level: EvaluatedLevel) -> str:
    """'$5.42/1M out'; what a run costs where the tokens are not known, how long it takes where the price is not."""
    if level.cost.usd_per_1m_output_tokens is not None:
        return f"{usd(level.cost.usd_per_1m_output_tokens)}/1M out"
    if level.cost.cost_usd is not None:
        return f"{usd(level.cost.cost_usd)} per run"
    return f"{number(level.point.duration_s)} s per run"


def _p_optimal(decision: Optimum) -> float:
    return decision.p_by_level.get(decision.recommended.point.level, 0.0)


def _concurrency(decision: Optimum, judged: Judged, slo: Slo) -> Tile:
    level = decision.recommended
    n_met = sum(j.is_candidate for j in judged)
    what = (
        "lowest cost" if level is decision.choice else "recommended: lower, and at most 5\u00a0% above the lowest cost,"
    )
    which = f"{what} of {n_met} levels that are seen to meet {slo}, of {len(judged)} measured"
    if n_met <= 1:
        which = (
            f"the only one of {len(judged)} levels that is seen to meet {slo}"
            if len(judged) > 1
            else "the only level measured"
        )
    columns = with_judged(("ttft_mean_s", "output_tok_s_per_user", "output_tok_s"), judged, alone=True)
    known = ", ".join(
        f"{head(column)} {cell(level, column)}" for column in columns if BY_COLUMN[column].of(level) is not None
    )
    return Tile("Concurrency", str(level.point.level), f"{which}. {known}")


def _cost(level: EvaluatedLevel) -> Tile:
    size, cost = set_size(level), level.cost
    run = "per run of the set" if size is None else f"per run of {plural(size, 'request')}"
    if cost.cost_usd is None:
        return Tile("Cost", f"{number(level.point.duration_s)} s", f"{run}; no price: the shortest run is the optimum")
    hourly = f"{usd(cost.usd_per_hour)}/hour"
    if cost.usd_per_1m_output_tokens is None:
        return Tile("Cost", usd(cost.cost_usd), f"{run}, {hourly}")
    found = level.intervals.get("usd_per_1m_output_tokens")
    ends = "" if found is None or found.low is None else f" [{number(found.low)}, {number(found.high)}]"
    detail = f"per 1M output tokens{ends}; {usd(cost.cost_usd)} {run}, {hourly}"
    return Tile("Cost", usd(cost.usd_per_1m_output_tokens), detail)


def _certainty(decision: Optimum) -> Tile:
    level = decision.recommended
    repeats, n = level.point.repeat_count, len(level.point.warnings)
    warned = f"; {n} warning{'s' * (n > 1)} at this level, below" if n else ""
    if decision.p_opt is None and repeats == 1:
        said = effort_text(decision) or "no interval between repeats"
        return Tile("Certainty", f"SLO {level.slo_verdict}", f"one repeat; {said}{warned}")
    if decision.p_opt is None:
        return Tile("Certainty", level.slo_verdict, (decision.p_method or "repeats differ between levels") + warned)
    chosen = f"share of resampled runs in which this level is chosen{chance_text(decision)}"
    detail = f"{chosen}; SLO {level.slo_verdict}, P(SLO) "
    return Tile(
        "Certainty",
        f"P(optimal) {_p_optimal(decision):.2f}",
        f"{detail}{chance(level.p_met)}; {repeats} repeats per level{warned}",
    )


def _limit(decision: Optimum, judged: Judged) -> Tile:
    stopped = stopped_level(decision.choice, judged)
    if stopped is None:
        reason = (decision.binding or "").removeprefix("no limit: ")
        return Tile("Limited by", "nothing yet" if "measure higher" in reason else "cost", reason)
    cheaper = costs_less(stopped, decision.choice)
    detail = f"concurrency {stopped.point.level} {doubt_text(stopped)}{'; it would cost less' * cheaper}"
    return Tile("Limited by", decision.binding or "", detail)


def _none(decision: NoFeasiblePoint, judged: Judged, slo: Slo) -> Answer:
    nearest = decision.nearest
    if nearest is None:
        return Answer("No level meets the SLO: none was measured", (), decision.verdict)
    open_ = nearest.checks("not met") or nearest.checks("undecided", "unknown")
    limit = str(open_[0].limit) if open_ else DASH
    picked = sum(decision.p_by_level.values())
    certainty = (f"SLO {decision.verdict}", effort_text(decision) or "one repeat: no interval between repeats")
    if decision.p_by_level:
        certainty = (f"{1 - picked:.2f}", "share of resampled runs in which no level meets the SLO")
    level, reason = nearest.point.level, doubt_text(nearest) or "has no duration"
    meets = "meets" if decision.verdict == "not met" else "is seen to meet"
    tiles = (
        Tile("Concurrency", "none", f"none of {len(judged)} levels {meets} {slo}"),
        Tile("Cost", DASH, f"nearest, concurrency {level}: {price_text(nearest)}"),
        Tile("Certainty", *certainty),
        Tile("Limited by", limit, reason),
    )
    return Answer(f"No level {meets} the SLO; the nearest, concurrency {level}, {reason}", tiles, decision.verdict)


def client_table(judgement: Judgement) -> Table:
    """A row per measured point, with its level's verdict; none where the manifest does not know the client's state."""
    rows = []
    for point in sorted(judgement.facts.manifest.points, key=lambda point: point.point_id):
        client, verdict = point.client, judgement.clients.get(point.level) if point.level else None
        if not client:
            continue
        lag, loop = client.get("read_lag") or {}, client.get("loop_lag") or {}
        rows.append((
            point.point_id, point.status if verdict is None or point.status != "complete" else verdict.verdict,
            number(lag.get("p99_us")), number(lag.get("max_us")), number(loop.get("p99_us")),
            percent(client.get("merged_read_share")), percent(client.get("cpu_share_mean")),
            percent(client.get("cpu_share_max_1s")), percent(client.get("run_queue_wait_share")),
            number(client.get("steal_s")), count(client.get("n_chunks")),
        ))  # fmt: skip
    heads = (
        "point", "verdict", "read lag p99 µs", "read lag max µs", "loop lag p99 µs", "merged reads", "CPU mean",
        "CPU max 1 s", "waited for CPU", "steal s", "chunks",
    )  # fmt: skip
    return Table("client", heads, rows, left=(0, 1))


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
        "workload": f"{workload.name}, {count(workload.requests)} request{'s' * (workload.requests != 1)}",
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
_PanelOf = tuple[str, float, tuple[tuple[str, str, float, bool], ...]]


def timeline_figure(judgement: Judgement, level: Level) -> Figure | None:
    """The first repeat of the level that has a beginning and an end; None if none has."""
    rows = next(one.rows for one in judgement.measured if one.level == level)
    repeats = [int(repeat) for repeat in np.unique(rows.repeat)]
    drawn = ((repeat, timeline(rows, repeat)) for repeat in repeats)
    repeat, found = next(((repeat, one) for repeat, one in drawn if one is not None), (0, None))
    if found is None:
        return None
    start_s, length_s = found.start_s, found.end_s - found.start_s
    middles = tuple(float(v) for v in (found.edges_s[1:] + found.edges_s[:-1]) / 2 - start_s)
    panels = [
        Panel("requests in flight", (Trace("in flight", middles, _floats(found.in_flight)),), top=level.number),
        Panel("output tok/s", (Trace("tok/s", middles, _floats(found.output_tok_s)),)),
        *_panels(judgement.facts.gpu, _GPU_PANELS, start_s, found.end_s),
        *_panels(judgement.facts.server, _SERVER_PANELS, start_s, found.end_s),
    ]
    steady = window(rows, np.flatnonzero(rows.repeat == repeat), level.users)
    shaded = None if steady is None else (steady[0] - start_s, steady[1] - start_s)
    at = f"at concurrency {level}"
    title = f"{at.capitalize()} the run of {number(length_s)} s has no steady window"
    if shaded is not None:
        share = whole_percent((shaded[1] - shaded[0]) / length_s)
        title = f"{at.capitalize()} the steady window is {share} of {number(length_s)} s"

    def draw(width: float = WIDE) -> str:
        return timeline_chart(panels, title=title, start_s=0.0, end_s=length_s, steady=shaded, width=width)

    names = dict.fromkeys(trace.name for panel in panels for trace in panel.traces)
    bounds = found.edges_s - start_s
    values = [
        tuple(map(number, (bounds[i], bounds[i + 1], found.in_flight[i], found.output_tok_s[i])))
        for i in range(len(middles))
    ]
    which = "The run" if len(repeats) == 1 else f"Repeat {repeats.index(repeat) + 1} of {len(repeats)}"
    parts = f"{len(middles)} parts of {number(length_s / len(middles))} s"
    note = f"{which} {at} in {parts}. Green: steady window. Shown: {', '.join(names)}."
    if len(panels) == 2:
        note += " No samples of GPUs or of the server were kept."
    return Figure(title, draw(), ("from s", "to s", "in flight", "output tok/s"), values, note, draw(NARROW))


def _floats(values: Any) -> tuple[float | None, ...]:
    return tuple(float(value) for value in values)


# label, top of the axis, and of each trace: column, name, scale, whether devices average or add up
_GPU_PANELS: tuple[_PanelOf, ...] = (
    ("GPU activity (%)", 100.0, (("util_ratio", "any kernel", 100.0, True), ("sm_active_ratio", "SM", 100.0, True),
                                 ("dram_active_ratio", "DRAM", 100.0, True))),
    ("GPU power (W)", 0.0, (("power_w", "W", 1.0, False),)),
)  # fmt: skip
_SERVER_PANELS: tuple[_PanelOf, ...] = (
    ("server: requests", 0.0, (("running", "running", 1.0, False), ("waiting", "waiting", 1.0, False))),
    ("server: KV cache (%)", 100.0, (("kv_cache_ratio", "KV cache %", 100.0, True),)),
)


def _panels(samples: pa.Table | None, panels: Sequence[_PanelOf], start_s: float, end_s: float) -> list[Panel]:
    """Those of which samples between start_s and end_s know anything."""
    if samples is None:
        return []
    inside = pc.and_(pc.greater_equal(samples["at_s"], start_s), pc.less_equal(samples["at_s"], end_s))
    part = samples.filter(inside).sort_by("at_s")
    drawn = [
        Panel(label, tuple(trace for of in traces if (trace := _trace(part, *of, start_s)) is not None), top)
        for label, top, traces in panels
    ]
    return [panel for panel in drawn if panel.traces]


def _trace(part: pa.Table, column: str, name: str, scale: float, mean: bool, start_s: float) -> Trace | None:
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


_PARTS = {
    "queue": "queueing in the server", "prefill": "prefill", "network": "network and HTTP", "client": "client",
    "rest": "not explained by any source",
}  # fmt: skip


def ttft_figure(found: Sequence[Attribution]) -> Figure | None:
    """Mean TTFT by part; None where the server reports nothing of it."""
    known = [one for one in found if one.queue_s is not None or one.prefill_s is not None]
    if not known:
        return None
    seconds = {name: [getattr(one, f"{name}_s") for one in known] for name in _PARTS}
    shown = [
        (name, [None if value is None else value * 1000 for value in values])
        for name, values in seconds.items()
        if any(value is not None and value > 0 for value in values)
    ]
    most = max(seconds, key=lambda name: seconds[name][-1] or 0.0)
    share = (seconds[most][-1] or 0.0) / known[-1].ttft_s if known[-1].ttft_s else 0.0
    title = f"At concurrency {known[-1].level} {whole_percent(share)} of TTFT is {_PARTS[most]}"
    chart = stack_chart([str(one.level) for one in known], shown, title=title, y_label="TTFT mean (ms)")
    heads, rows = level_table(TTFT, [(one.level, one) for one in known])
    reasons = dict.fromkeys(f"{n}: {why}" for one in known for n, why in one.reasons.items() if n in _PARTS)
    note = f"Means over successful requests; rest: {_PARTS['rest']}. {'; '.join(reasons)}"
    return Figure(title, chart, heads, rows, note.strip())


def server_figures(use: Sequence[ServerUse], judged: Judged, decision: Decision) -> list[Figure]:
    """Requests running and waiting in the server, and its KV cache, as far as it reports them."""

    def series(name: str, field: str, scale: float = 1.0) -> Series:
        values = ((one.level, getattr(one, field)) for one in use)
        return Series(
            name, tuple(Point(level.number, None if value is None else value * scale) for level, value in values)
        )

    queue = [one for one in (series("running", "running_mean"), series("waiting", "waiting_mean")) if is_known(one)]
    fields = (("mean", "kv_cache_mean_ratio"), ("max", "kv_cache_max_ratio"))
    cache = [one for name, field in fields if is_known(one := series(name, field, 100.0))]
    found = []
    if queue:
        queued = [one.level for one in use if one.waiting_mean is not None and one.waiting_mean >= 1]
        title = f"requests queue in the server from concurrency {queued[0]} up" if queued else "no queue in the server"
        found.append(level_figure(title, queue, "requests in the server", judged, decision))
    if cache:
        full, level = max((p.y, p.x) for p in cache[-1].points if p.y is not None)
        title = (
            f"the KV cache is at most {full:.0f}\u00a0% full, at concurrency {level:g}"
            if full
            else "the KV cache is empty"
        )
        found.append(level_figure(title, cache, "KV cache in use (%)", judged, decision))
    return found


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
    (name, first), places = warned[0], [_place(*one) for one in warned]
    finding = sentence(first.finding)
    if name:
        finding = f"{places[0]}: {first.finding}{f' (and {len(warned) - 1} more)' * (len(warned) > 1)}."
    others = [f"{place}: {warn.finding}; {warn.remedy}" for place, (_, warn) in zip(places, warned, strict=True)]
    differ = len({(other, warn.finding) for other, warn in warned}) > 1
    where: dict[str, list[str]] = {}
    for other, warn in warned:
        where.setdefault(other, []).extend([] if warn.level is None else [str(warn.level)])
    at = ", ".join(f"{other} ({', '.join(at)})" if other else ", ".join(at) for other, at in where.items() if at)
    return Card(code, spaced(finding), spaced(sentence(first.remedy)), at, tuple(map(spaced, others)) if differ else ())


def _place(name: str, warn: Finding) -> str:
    level = "" if warn.level is None else str(warn.level)
    return f"{name} at {level}" if name and level else name or level
