"""What a page says of one run: the decision, warnings, the client, provenance, the server, one repeat over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.requests import timeline
from benchsuite.analysis.steady_state import window
from benchsuite.analysis.ttft_breakdown import Attribution
from benchsuite.economics.decision import JudgedLevels, costs_less, stopped_level
from benchsuite.economics.verdict import MET
from benchsuite.level import Level
from benchsuite.manifest import flat
from benchsuite.metrics import CONFIDENCE
from benchsuite.report import format as fmt
from benchsuite.report.charts_special import NARROW, WIDE, Panel, Trace, timeline_chart
from benchsuite.report.judge import Judgement
from benchsuite.report.level_tables import TTFT, level_table
from benchsuite.report.sections_levels import Figure, Judged, Table, level_figure, plain_series, whole_percent
from benchsuite.results import EvaluatedLevel, NoFeasiblePoint, Optimum, SloVerdict
from benchsuite.slo import Slo
from benchsuite.store.files import SCHEMA
from benchsuite.store.run_folder import row_tables
from benchsuite.warning_table import Finding, Severity
from benchsuite.workload.random_set import lengths_text


class Tile(NamedTuple):
    """A part of the answer: its name, its value, and its basis."""

    label: str
    value: str
    detail: str


class Answer(NamedTuple):
    """The decision in a sentence, its parts, and whether what is named is proven to meet the SLO."""

    sentence: str
    tiles: tuple[Tile, ...]
    verdict: SloVerdict


def answer(judgement: JudgedLevels) -> Answer:
    """What the page says first."""
    decision, judged, slo = judgement.decision, judgement.judged, judgement.slo
    if decision.kind == "none":
        return _none(decision, judged, slo)
    level, n_met = decision.recommended, sum(j.is_candidate for j in judged)
    seen = "meet" if decision.verdict == "met" else "appear to meet"
    which = f"the cheapest of {n_met} levels that {seen} the SLO, {len(judged)} measured"
    if level is not decision.choice:
        which = f"at most 5\u00a0% above the cheapest of {n_met} levels that appear to meet the SLO, and surer"
    if n_met <= 1:
        only = f"the only one of {len(judged)} levels that appears to meet the SLO"
        which = only if len(judged) > 1 else "the only level measured"
    if decision.p_good is not None:
        which = f"the answer of the search; {len(judged)} levels measured"
    sure = bool(decision.p_by_level) if decision.p_good is None else decision.p_good >= MET
    looks = "" if decision.verdict == "met" and sure else " looks best"
    slo_figures = fmt.slo_figures(level).replace(" (steady window)", "")  # the first tile says so
    figures = ", ".join(text for text in (slo_figures, cost_text(level)) if text)
    tiles = (
        _slo_tile(level),
        Tile("Cost", cost_text(level), f"{_cost_detail(level)}; {which}"),
        _certainty(decision),
        _limit(decision, judged),
    )
    at = level.point.level.at
    said = f"{at[:1].upper()}{at[1:]}{looks}: {figures}, SLO {decision.verdict}"
    return Answer(said, tiles, decision.verdict)


def _cost_detail(level: EvaluatedLevel) -> str:
    """'95 % interval $3.10 to $3.30; $0.0012 per run of 64 requests; $1.99 an hour'."""
    size, cost = fmt.set_size(level), level.cost
    ends = fmt.known_ends(level.intervals.get("usd_per_1m_output_tokens"))
    said = [f"{CONFIDENCE} interval {fmt.usd(ends[0])} to {fmt.usd(ends[1])}"] if ends else []
    run = "per run" if size is None else f"per run of {fmt.plural(size, 'request')}"
    if not level.point.of_whole_runs and cost.cost_usd is not None:
        prices = {"request": cost.usd_per_request, "good request": cost.usd_per_good_request}
        said += [f"{fmt.usd(price)} per {what}" for what, price in prices.items() if price is not None]
        idle = level.point.ratios.get("idle_share")
        said += [] if idle is None else [f"{fmt.percent(idle)} of the time idle"]
    else:
        said.append("no price given" if cost.cost_usd is None else f"{fmt.usd(cost.cost_usd)} {run}")
    said += [] if cost.usd_per_hour is None else [f"{fmt.usd(cost.usd_per_hour)} an hour"]
    return "; ".join(said)


def _slo_tile(level: EvaluatedLevel) -> Tile:
    """The level's figures under the limits of the SLO, the first as the value; what is missed before the others."""
    said, checks = [], (one for one in level.limits if one.asked or one.verdict == "not met")
    for check in sorted(checks, key=lambda check: check.verdict != "not met"):
        metric, stat = check.limit.statistic
        name, value = f"{metric.label} {stat or ''}".strip(), "unknown"
        if check.value is not None:
            value = check.limit.show(check.value)
            value = value if metric.unit in ("s", "ratio") else value.partition(" ")[0]
        window = " in the steady window" * check.steady
        said.append((name, value, f"{check.limit} is {check.verdict}{window}"))
    if not said:
        return Tile("SLO", level.slo_verdict, "no limits")
    (name, value, verdict), *others = said
    return Tile(name, value, "; ".join([verdict, *(f"{name} {value}: {verdict}" for name, value, verdict in others)]))


def cost_text(level: EvaluatedLevel) -> str:
    """'$5.42/1M out'; what a run costs where the tokens are not known, how long it takes where the price is not."""
    if level.cost.usd_per_1m_output_tokens is not None:
        return f"{fmt.usd(level.cost.usd_per_1m_output_tokens)}/1M out"
    if level.cost.cost_usd is not None:
        return f"{fmt.usd(level.cost.cost_usd)} per run"
    return f"{fmt.number(level.point.duration_s)} s per run"


def _certainty(decision: Optimum) -> Tile:
    level = decision.recommended
    repeats, n = level.point.repeat_count, len(level.point.warnings)
    warned = f"; {fmt.plural(n, 'warning')} at this level, below" if n else ""
    if decision.p_good is not None:
        said = "meets the SLO and costs little more than the cheapest level that does, by all probes of the search"
        met = f"P(SLO) {fmt.chance(level.p_met)}"
        return Tile("Certainty", f"P(good) {fmt.chance(decision.p_good)}", f"{said}; {met}{warned}")
    if decision.p_opt is None and repeats == 1:
        said = fmt.effort_text(decision) or "no interval between repeats"
        return Tile("Certainty", f"SLO {level.slo_verdict}", f"one repeat; {said}{warned}")
    if decision.p_opt is None:
        return Tile("Certainty", level.slo_verdict, (decision.p_method or "repeats differ between levels") + warned)
    others = fmt.chance_text(decision)[1:-1].partition("; ")[2]
    chosen = f"share of resampled runs that choose this level{f' (others: {others})' * bool(others)}"
    met = f"SLO {level.slo_verdict}, P(SLO) {fmt.chance(level.p_met)}"
    return Tile(
        "Certainty", f"P(optimal) {decision.p_opt:.2f}", f"{chosen}; {met}; {repeats} repeats per level{warned}"
    )


def _limit(decision: Optimum, judged: Judged) -> Tile:
    stopped = stopped_level(decision.recommended, judged)
    if stopped is None:
        reason = (decision.binding or "").removeprefix("no limit: ")
        what = "nothing yet" if "measure higher" in reason else "cost"
        return Tile("Limited by", what if decision.recommended is decision.choice else "certainty", reason)
    detail = f"{stopped.point.level.at} {fmt.doubt_text(stopped)}"
    detail += "; it would cost less" * costs_less(stopped, decision.recommended)
    return Tile("Limited by", decision.binding or "", detail)


def _none(decision: NoFeasiblePoint, judged: Judged, slo: Slo) -> Answer:
    nearest, said = decision.nearest, fmt.sentence(fmt.no_level_text(decision))[:-1]
    if nearest is None:
        return Answer(said, (), decision.verdict)
    picked = sum(decision.p_by_level.values())
    certainty = (f"SLO {decision.verdict}", fmt.effort_text(decision) or "one repeat: no interval between repeats")
    if decision.p_by_level:
        certainty = (f"P(none) {1 - picked:.2f}", "share of resampled runs in which no level meets the SLO")
    meets = "meets" if decision.verdict == "not met" else "appears to meet"
    figure = _slo_tile(nearest)
    tiles = (
        figure._replace(label=f"{figure.label} at {nearest.point.level}, the nearest"),
        Tile("Levels", f"0 of {len(judged)}", f"none {meets} {slo}"),
        Tile("Certainty", *certainty),
        Tile("Cost", cost_text(nearest), f"at {nearest.point.level}; {_cost_detail(nearest)}"),
    )
    return Answer(said, tiles, decision.verdict)


def client_table(judgement: Judgement) -> Table:
    """A row per measured point, with its level's verdict; none where the manifest does not know the client's state."""
    rows = []
    for point in sorted(judgement.facts.manifest.points, key=lambda point: point.point_id):
        client, verdict = point.client, judgement.clients.get(point.level) if point.level else None
        if not client:
            continue
        shown = point.status if verdict is None or point.status != "complete" else verdict.verdict
        known = flat(client)
        values = [show(known.get(key)) for _, key, show in _CLIENT]
        rows.append((point.point_id, shown, *values))
    return Table("client", ("point", "verdict", *(head for head, _, _ in _CLIENT)), rows, left=(0, 1))


# head, where it is in what the manifest says of the client at a point
_CLIENT: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("read lag p99 µs", "read_lag.p99_us", fmt.number),
    ("read lag max µs", "read_lag.max_us", fmt.number),
    ("loop lag p99 µs", "loop_lag.p99_us", fmt.number),
    ("merged reads", "merged_read_share", fmt.percent),
    ("CPU mean", "cpu_share_mean", fmt.percent),
    ("CPU max 1 s", "cpu_share_max_1s", fmt.percent),
    ("waited for CPU", "run_queue_wait_share", fmt.percent),
    ("steal s", "steal_s", fmt.number),
    ("chunks", "n_chunks", fmt.count),
)


def facts(judgement: Judgement) -> list[tuple[str, str]]:
    """What ran, on what, at what price, the first eight first; what is not known is left out."""
    manifest = judgement.facts.manifest
    workload, host, probe = manifest.workload, manifest.host, manifest.server_probe
    price = "none given"
    if judgement.usd_per_hour is not None:
        price = f"{fmt.usd(judgement.usd_per_hour)} per GPU-hour, {fmt.plural(judgement.gpus, 'GPU')}"
    tokenizer = (manifest.spec.get("workload") or {}).get("tokenizer")
    counted = {"from the server's usage": 0, f"by the tokenizer {tokenizer}": 0, "chunks, for nothing counts tokens": 0}
    for rows in (one.rows for one in judgement.measured):
        known = rows.ok & ~np.isnan(rows.output_tokens)
        masks = (rows.from_usage, rows.from_tokenizer, ~(rows.from_usage | rows.from_tokenizer))
        for how, mask in zip(counted, masks, strict=True):
            counted[how] += int(np.count_nonzero(known & mask))
    by = {how: n for how, n in counted.items() if n}
    stamps = sorted({"kernel" if one.kernel_stamps else "user" for one in judgement.clients.values()})
    gpus = None
    spec = manifest.spec
    asked = {name: (spec.get("server") or {}).get(name) for name in ("path", "query", "headers", "extra_body")}
    sent = {
        name: value for name, value in flat(asked | (spec.get("sampling") or {})).items() if value not in (None, [], {})
    }
    if "system_prompt" in sent and workload.own_system_prompts:
        sent["system_prompt"] += f" (not to {fmt.plural(workload.own_system_prompts, 'request')} with one of their own)"
    if (gpu := manifest.telemetry.gpu) is not None:
        used = [device for device in gpu.devices if not gpu.used or device.uuid in gpu.used]
        names = [f"{device.name or 'GPU'} ({device.uuid})" for device in used]
        gpus = "; ".join([*names, *([f"driver {gpu.driver}"] if gpu.driver else []), f"read by {gpu.source}"])
    named = {
        "model": judgement.model,
        "server": probe.name or probe.profile,
        "GPUs": gpus,
        "workload": workload.in_words(),
        "price": price,
        "SLO": judgement.slo,
        "run": manifest.run_id,
        "measured": manifest.created,
        "status": manifest.status,
        "benchsuite": manifest.benchsuite,
        **{f"server {name}": value for name, value in probe.server.items()},
        **{f"served {name}": value for name, value in (manifest.launched_server or {}).items()},
        "token counts": "; ".join(how + f" ({n:,} responses)" * (len(by) > 1) for how, n in by.items()) or None,
        "time stamps": " and ".join(stamps) or probe.stamp_source,
        "prefix caches": probe.cache_bust,
        "workload hash": workload.content_hash,
        "references hash": workload.references_hash,
        "prompt lengths": lengths_text(workload.lengths or {}, [point.tokens for point in manifest.points]),
        **{f"sent {name}": value for name, value in sent.items()},
        "measuring processes": manifest.workers,
        "client host": f"{host.platform}, {host.cpu_model}, {host.cpu_count} CPUs",
        "client Python": host.python,
        "client versions": ", ".join(f"{name} {version}" for name, version in host.versions.items() if version),
    }
    listed = {name: " ".join(map(str, v)) if isinstance(v, list | tuple) else v for name, v in named.items()}
    return [(name, str(value)) for name, value in listed.items() if value not in (None, "")]


# of the GPUs' samples, then of the server's: label, top of the axis, and of each trace its column, name and scale;
# what has no top adds up over devices, the others average
_SAMPLED: tuple[tuple[tuple[str, float, tuple[tuple[str, str, float], ...]], ...], ...] = (
    (
        ("GPU activity (%)", 100.0, (("util_ratio", "any kernel", 100.0), ("sm_active_ratio", "SM", 100.0),
                                     ("dram_active_ratio", "DRAM", 100.0))),
        ("GPU power (W)", 0.0, (("power_w", "W", 1.0),)),
    ),
    (
        ("server: requests", 0.0, (("running", "running", 1.0), ("waiting", "waiting", 1.0))),
        ("server: KV cache (%)", 100.0, (("kv_cache_ratio", "KV cache %", 100.0),)),
    ),
)  # fmt: skip


def timeline_figure(judgement: Judgement, level: Level) -> Figure | None:
    """The first repeat of the level that has a beginning and an end; None if none has."""
    measured = next(one for one in judgement.measured if one.level == level)
    rows = measured.around
    repeats = [int(repeat) for repeat in np.unique(rows.repeat)]
    drawn = ((i, timeline(rows, repeat)) for i, repeat in enumerate(repeats))
    i, found = next(((i, one) for i, one in drawn if one is not None), (0, None))
    if found is None:
        return None
    start_s, length_s = found.start_s, found.end_s - found.start_s
    bounds, in_flight, tok_s = found.edges_s - start_s, found.in_flight.tolist(), found.output_tok_s.tolist()
    middles = ((bounds[1:] + bounds[:-1]) / 2).tolist()
    panels = [
        Panel(
            "requests in flight",
            (Trace("in flight", middles, in_flight),),
            top=float(level.concurrency or max(in_flight)),
        ),
        Panel("output tok/s", (Trace("tok/s", middles, tok_s),)),
    ]
    for samples, sampled in zip((judgement.facts.gpu, judgement.facts.server), _SAMPLED, strict=True):
        if samples is not None:
            inside = pc.and_(pc.greater_equal(samples["at_s"], start_s), pc.less_equal(samples["at_s"], found.end_s))
            part = samples.filter(inside).sort_by("at_s")
            for label, top, traces in sampled:
                known = [of for of in traces if part[of[0]].null_count < len(part)]
                drawn_traces = tuple(_trace(part, *of, start_s, mean=top > 0) for of in known)
                panels += [Panel(label, drawn_traces, top)] if known else []
    steady = next((window(measured, run) for run in measured.repeats if run.repeat == repeats[i]), None)
    at, kind = f"at {level.at}", "steady" if level.rate_per_s is None else "measured"
    title = f"{at.capitalize()}, the run of {fmt.number(length_s)} s has no {kind} window"
    if steady is not None:
        steady = (steady[0] - start_s, steady[1] - start_s)
        share = whole_percent((steady[1] - steady[0]) / length_s)
        title = f"{at.capitalize()}, the {kind} window is {share} of the run's {fmt.number(length_s)} s"
    names = dict.fromkeys(trace.name for panel in panels for trace in panel.traces)
    values = [tuple(map(fmt.number, row)) for row in zip(bounds[:-1], bounds[1:], in_flight, tok_s, strict=True)]
    which = "The run" if len(repeats) == 1 else f"Repeat {i + 1} of {len(repeats)}"
    parts = f"{len(middles)} parts of {fmt.number(length_s / len(middles))} s"
    note = f"{which} {at} in {parts}. Green: {kind} window. Shown: {', '.join(names)}."
    if len(panels) == 2:
        note += " No samples of GPUs or of the server were kept."
    wide, narrow = (timeline_chart(panels, title=title, end_s=length_s, steady=steady, width=w) for w in (WIDE, NARROW))
    return Figure(title, wide, ("from s", "to s", "in flight", "output tok/s"), values, note, narrow)


_MOST_SAMPLES = 140  # of a trace


def _trace(part: pa.Table, column: str, name: str, scale: float, start_s: float, *, mean: bool) -> Trace:
    """The column over time: the mean, or the sum, over the devices or servers read at one moment.

    A moment is a tenth of a second: readings of several devices follow each other by less.
    """
    known = part.filter(pc.is_valid(part[column]))
    at_s = np.round(known["at_s"].to_numpy() - start_s, 1)
    moments, where = np.unique(at_s, return_inverse=True)
    summed = np.bincount(where, known[column].to_numpy().astype(float) * scale)
    shown = summed / np.bincount(where) if mean else summed
    every = -(-len(moments) // _MOST_SAMPLES)
    return Trace(name, moments[::every].tolist(), shown[::every].tolist(), step=True)


_PARTS = {
    "queue": "queueing in the server", "prefill": "prefill", "network": "network and HTTP", "client": "client",
    "rest": "not explained by any source",
}  # fmt: skip


def ttft_figure(found: Sequence[Attribution], judgement: JudgedLevels) -> Figure | None:
    """Mean TTFT and its parts; None where the server reports nothing of it."""
    known = [one for one in found if one.queue_s is not None or one.prefill_s is not None]
    if not known:
        return None
    lines = [plain_series(part, ((one.level, getattr(one, f"{part}_s")) for one in known), 1e3) for part in _PARTS]
    lines = [line for line in lines if any(value > 0 for _, value in line.known)]
    last = known[-1]
    most = max(_PARTS, key=lambda part: getattr(last, f"{part}_s") or 0.0)
    share = (getattr(last, f"{most}_s") or 0.0) / last.ttft_s if last.ttft_s else 0.0
    title = f"At {last.level.at}, {whole_percent(share)} of TTFT is {_PARTS[most]}"
    reasons = dict.fromkeys(f"{n}: {why}" for one in known for n, why in one.reasons.items() if n in _PARTS)
    note = f"Means over successful requests; rest: {_PARTS['rest']}. {'; '.join(reasons)}".strip()
    figure = level_figure(title, lines, "TTFT mean (ms)", judgement, note=note)
    heads, rows = level_table(TTFT, [(one.level, one) for one in known])
    return replace(figure, head=heads, rows=rows)


_WORST, _SHOWN_CHARS = 10, 600


def worst_answers(judgement: Judgement, level: Level) -> list[Table]:
    """The answers with the lowest scores of each scenario at a level, a folded table each; those that could not be read
    first. Their texts are read from the run folder, missing where none were kept."""
    run = judgement.run
    if run is None or run.scores is None:
        return []
    points = [point.point_id for point in run.manifest.judged_points if point.level == level]
    scores = run.scores.table.filter(pc.is_in(run.scores.table["point_id"].cast(pa.string()), pa.array(points)))
    worst: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(scores.to_pylist(), key=lambda row: (row["score"] is None, row["score"], bool(row["reading"]))):
        kept = worst.setdefault(row["scenario"] or "all", [])
        if row["score"] is not None and row["score"] < 1 and len(kept) < _WORST:
            kept.append(row)
    wanted = pa.array([row["request_id"] for rows in worst.values() for row in rows], pa.string())
    left_out = [name for name in SCHEMA.names if name not in ("request_id", "text", "point_id", "attempt")]
    texts: dict[str, str | None] = {}
    for table in row_tables(run.path, {}, left_out):
        found = table.filter(pc.is_in(table["request_id"].cast(pa.string()), wanted))
        texts |= zip(found["request_id"].to_pylist(), found["text"].to_pylist(), strict=True)

    def shown(text: str | None) -> str:
        if text is None:
            return fmt.DASH
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}\u2026 ({len(text):,} characters)"

    heads = ("score", "prompt", "scorer", "read as", "how", "answer")
    return [
        Table(
            f"worst-{name}", heads,
            [(fmt.number(row["score"]), row["prompt_id"], row["scorer"], row["reading"] or fmt.DASH, row["how"],
              shown(texts.get(row["request_id"]))) for row in rows],
            f"{name}: {fmt.plural(len(rows), 'answer')} with the lowest scores", (1, 2, 3, 4, 5), folded=True,
        )
        for name, rows in sorted(worst.items()) if rows
    ]  # fmt: skip


class Card(NamedTuple):
    """All warnings of one code: the first one's finding and remedy. where: the levels, of several models with their
    names. others: each one's text where they differ.
    """

    code: str
    severity: Severity
    finding: str
    remedy: str
    where: str
    others: tuple[str, ...]


def cards(models: Iterable[tuple[str, JudgedLevels]]) -> list[Card]:
    """One card per code, the most important for the decision first, information last. models: by their names, '' if
    there is one alone.
    """
    by_code: dict[str, list[tuple[str, Finding]]] = {}
    for name, one in models:
        by_code = by_code | {
            w.code: [] for w, _ in fmt.ranked_warnings(one.judged, one.decision) if w.code not in by_code
        }
        for warn in (warn for level in one.judged for warn in level.point.warnings):
            by_code[warn.code].append((name, warn))
    shown = []
    for code, warned in sorted(by_code.items(), key=lambda item: item[1][0][1].severity == "info"):
        levels: dict[str, list[str]] = {}
        for name, warn in warned:
            levels.setdefault(name, []).extend([str(warn.level)] * (warn.level is not None))
        places = [" at ".join([name] * bool(name) + [str(w.level)] * (w.level is not None)) for name, w in warned]
        name, first = warned[0]
        finding = fmt.sentence(first.finding)
        if name:
            finding = f"{places[0]}: {first.finding}{f' (and {len(warned) - 1} more)' * (len(warned) > 1)}."
        others = (fmt.spaced(f"{p}: {w.finding}; {w.remedy}") for p, (_, w) in zip(places, warned, strict=True))
        differ = len({(name, warn.finding) for name, warn in warned}) > 1
        at = ", ".join(f"{name} ({', '.join(at)})" if name else ", ".join(at) for name, at in levels.items() if at)
        said = (fmt.spaced(finding), fmt.spaced(fmt.sentence(first.remedy)))
        shown.append(Card(code, first.severity, *said, at, tuple(others) if differ else ()))
    return shown
