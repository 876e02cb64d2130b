"""From a run folder, or a table of levels, to its judgement: the one place where facts, SLO and price come together.

A run is judged once: the terminal, the page, the exports, the gate and the notebook all take the Judgement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from benchsuite.analysis.client_accuracy import client_effects, lateness
from benchsuite.analysis.endpoints import Balance, balance
from benchsuite.analysis.gpu import gpu_facts, gpu_use, point_energy
from benchsuite.analysis.intervals import DRAWS
from benchsuite.analysis.requests import at_level, in_window, rows_where
from benchsuite.analysis.summary import MeasuredLevel, measure_levels, parse_points
from benchsuite.analysis.time_series import ServerSeries, level_windows, windows_of
from benchsuite.analysis.ttft_breakdown import NO_QUERIES, Attribution, ServerUse, attribute, server_use
from benchsuite.analysis.warnings import (
    ClientVerdict,
    check_prefix_hits,
    check_quality,
    check_telemetry,
    check_tokenizer,
    judge_client,
    token_balance,
)
from benchsuite.economics import cost
from benchsuite.economics.capacity import SpeedCurve, closed_loop
from benchsuite.economics.cost import FallbackUse, HourPrice
from benchsuite.economics.decision import DecisionUncertainty, JudgedLevels, chances, decide, judge_levels
from benchsuite.economics.prices import preset
from benchsuite.errors import PointsError, did_you_mean
from benchsuite.level import Level
from benchsuite.manifest import CAPACITY_GROUPS, PointEntry, RunManifest, differences, refuse_unlike
from benchsuite.quality.levels import quality_by_level, sets_of
from benchsuite.quality.paired import score_draws
from benchsuite.quality.rubric import judge_findings
from benchsuite.report.format import judging_of, percent, plural, set_size, usd
from benchsuite.results import GpuUse, PointEnergy, PointSummary, Quality
from benchsuite.servers import SERVERS
from benchsuite.slo import PAPER_SLO, Slo, parse_slo
from benchsuite.spec import PriceSpec, SweepSpec, parse_spec
from benchsuite.store.run_folder import Run
from benchsuite.warning_table import Finding, remedy_here, warn


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement(JudgedLevels):
    """A judged run, or one model of a table of levels: everything that a report needs.

    name: what it is called among others. run: the facts, None for a table; the rest is empty then. measured: one per
    level, ascending. clients, endpoints: by level. fallback: by level, empty where the spec names none. server_use: one
    per level with times. capacity: of rates, the closed loop that they are compared with.
    """

    name: str = ""
    run: Run | None = None
    measured: tuple[MeasuredLevel, ...] = ()
    clients: Mapping[Level, ClientVerdict] = field(default_factory=dict)
    endpoints: Mapping[Level, Balance] = field(default_factory=dict)
    fallback: Mapping[Level, FallbackUse] = field(default_factory=dict)
    server_use: tuple[ServerUse, ...] = ()
    capacity: Judgement | None = None

    @property
    def capacity_curve(self) -> SpeedCurve | None:
        """Requests a second by those in flight, of the closed loop."""
        return None if self.capacity is None else SpeedCurve.of(j.point for j in self.capacity.judged)

    @property
    def capacity_notes(self) -> list[str]:
        """What the closed loop lacks of its points, and what it has not in common with the rates, and may."""
        if self.capacity is None:
            return []
        warnings = (warning for one in self.capacity.judged for warning in one.point.warnings)
        notes = [f"closed loop: {one.finding}" for one in warnings if one.code == "run_cut_short"]
        lowest = min((j.point.level for j in self.capacity.judged), key=lambda level: level.number)
        predicted = [(j.point.level, None if j.closed_loop is None else j.closed_loop.in_flight) for j in self.judged]
        if below := [str(level) for level, n in predicted if n is not None and n < lowest.number and lowest.number > 1]:
            notes.append(
                f"closed loop: nothing was measured below {lowest.at}, where a request is taken to need as long: the "
                f"chain's in flight and E2E at {', '.join(below)} req/s may be too high, its idle share too low"
            )
        pair = ((self.source_name, self.facts.manifest), (self.capacity.source_name, self.capacity.facts.manifest))
        differing = (f"the closed loop and the rates differ in {text}" for text in fact_differences(pair))
        return [*notes, *differing]

    @property
    def run_id(self) -> str | None:
        return None if self.run is None else self.run.manifest.run_id

    @property
    def source_name(self) -> str:
        """The name of the run folder, or of the table's file."""
        return Path(self.source).name

    @property
    def facts(self) -> Run:
        """The run. Raises PointsError for a table of levels, which has none."""
        if self.run is None:
            raise PointsError("a table of levels has no requests or telemetry", where=self.source, expected="a run")
        return self.run


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """What a person gives instead of the run's own price; None keeps it. usd_per_hour: one GPU's. source: in words."""

    usd_per_hour: float | None = None
    gpus: int | None = None
    usd_per_kwh: float | None = None
    pue: float | None = None
    gco2_per_kwh: float | None = None
    source: str = "that of each run"

    def over(self, price: PriceSpec) -> PriceSpec:
        """`price` with what is given. What is given about energy counts for owned GPUs too."""
        given: dict[str, Any] = {
            name: value
            for name in ("gpus", "usd_per_kwh", "pue", "gco2_per_kwh")
            if (value := getattr(self, name)) is not None
        }
        owned = price.owned
        if self.usd_per_hour is not None:
            given |= {"usd_per_hour": self.usd_per_hour, "preset": None, "owned": None}
        elif owned is not None:
            replaced = {"usd_per_kwh": "electricity_per_kwh", "pue": "pue"}
            given["owned"] = owned.model_copy(update={own: None for name, own in replaced.items() if name in given})
        return price.model_copy(update=given)


def unit_price(price: PriceSpec) -> float | None:
    """One GPU-hour in dollars: as given, the preset's, or of owned GPUs; None if not known yet. Raises PriceError."""
    if price.owned is not None:
        return cost.owned_usd_per_hour(price)
    return price.usd_per_hour if price.preset is None else preset(price.preset).usd_per_hour


def price_text(price: PriceSpec) -> str:
    """'$1.99 per GPU-hour, 2 GPUs, electricity at $0.200 per kWh': what an hour is computed from."""
    gpus = plural(price.gpus, "GPU")
    if price.owned is not None:
        hour = f"owned GPUs, {gpus}"
    else:
        unit = unit_price(price)
        hour = f"none given, {gpus}" if unit is None else f"{usd(unit)} per GPU-hour, {gpus}"
    kwh = f", electricity at {usd(price.usd_per_kwh)} per kWh" * (price.usd_per_kwh is not None)
    pue = f", PUE {price.pue:g}" * (price.pue != 1)
    return hour + kwh + pue + f", {price.gco2_per_kwh or 0:g} gCO2 per kWh" * (price.gco2_per_kwh is not None)


def judged_again(judgement: Judgement) -> list[str]:
    """In what the judgement is not by the run's own terms: 'SLO A, the run's own is B'; a table has none of its own."""
    if judgement.run is None or judgement.price is None:
        return []
    own = parse_spec(judgement.run.manifest.spec, where=judgement.source)
    pairs = (("SLO", judgement.slo, own.limits), ("price", judgement.price, own.price))
    shown = [(name, *(price_text(one) if isinstance(one, PriceSpec) else str(one) for one in terms))
             for name, *terms in pairs if terms[0] != terms[1]]  # fmt: skip
    return [f"{name} {now}; the run's own: {before}" for name, now, before in shown]


def judge_table(
    text: str, where: str, slo: str | None = None, price: PriceOverride | None = None, *, goodput: str | None = None
) -> list[Judgement]:
    """A judgement per model of a CSV table of levels, in its order. Raises PointsError, SloError, PriceError."""
    limits, price = parse_slo(PAPER_SLO).override(slo, goodput), price or PriceOverride()
    gpus, unit = price.gpus or 1, price.usd_per_hour
    total = None if unit is None else cost.total_usd_per_hour(unit, gpus)
    points = parse_points(text, where=where)
    found = []
    for model in dict.fromkeys(p.model for p in points):
        own = tuple(judge_levels([p for p in points if p.model == model], limits, total))
        found.append(
            Judgement(
                model=model or "-", source=where, slo=limits, judged=own, decision=decide(own), gpus=gpus,
                usd_per_hour=unit, hour_price=total,
            )
        )  # fmt: skip
    return found


def judged_spec(run: Run) -> SweepSpec:
    """The spec of a run that can be judged. Raises PointsError when no level ran to its end."""
    manifest = run.manifest
    if not manifest.complete_points:
        raise PointsError(
            "no level of the run was measured to its end, so there is nothing to judge",
            where=str(run.path),
            given=f"a run that is {manifest.status}, {run.table.num_rows} rows kept",
            hint="measure it again",
        )
    if lost := [point.point_id for point in manifest.complete_points if point.level is None]:
        raise PointsError("a measured point has no level", where=str(run.path), given=lost[0], expected="concurrency")
    return parse_spec(manifest.spec, where=str(run.path))


def judge_run(
    run: Run,
    *,
    slo: Slo | str | None = None,
    goodput: str | None = None,
    price: PriceSpec | PriceOverride | None = None,
    capacity: Run | None = None,
) -> Judgement:
    """Judge a run by its own SLO, per-request limits and price, or by others. Points cut short are left out, and named.

    capacity: of a run of rates, a run of the same server in closed loop; it is judged by the same SLO and price.
    Raises PointsError when no level ran to its end, InputError where the two runs are not alike.
    """
    manifest, spec = run.manifest, judged_spec(run)
    limits = slo if isinstance(slo, Slo) else spec.limits.override(slo, goodput)
    price = price.over(spec.price) if isinstance(price, PriceOverride) else price or spec.price
    unit = unit_price(price)
    model = manifest.model or spec.server.model
    rows = run.whole
    measured = tuple(measure_levels(rows, limits, model=model, fixed_length=spec.workload.fixed_length))
    levels = [one.level for one in measured]
    judging = None if run.scores is None else judging_of(run.scores.facts)
    tells = judging is None or judging["control"]["can_tell"] is True
    quality = {} if run.scores is None else quality_by_level(run.scores.table, rows, levels, judge_can_tell=tells)
    sent, known = manifest.workload.content_hash, run.scores and run.scores.facts.get("references_hash")
    if sent and known:
        quality = {level: dataclasses.replace(one, hashes=(sent, known)) for level, one in quality.items()}
    if any(one.statistic.metric.of_answers for one in limits.limits):
        measured = tuple(_with_scores(one, quality.get(one.level)) for one in measured)
    endpoints = {one.level: one for one in balance(rows, [one.model_dump() for one in manifest.endpoints])}
    series = None if run.server is None or run.server.num_rows == 0 else ServerSeries(run.server)
    use = server_use(series, windows_of(manifest, rows))

    # what a paid API answered no GPU of ours did
    own = {m.level: _own(m.point, endpoints[m.level]) for m in measured}
    clients = client_verdicts(run, {one.level: one.point.distributions["itl_s"].p50 for one in measured})
    points, warnings = [], []
    for level, point in ((one.level, one.point) for one in measured):
        tokens = token_balance(own[level], [entry.server.get("generated_tokens") for entry in _entries(run, level)])
        counted = check_tokenizer(own[level], [entry.tokens for entry in _entries(run, level)])
        warnings += [finding for finding in (tokens, counted) if finding is not None]
        if client := clients.get(level):
            others = tuple(one for one in point.warnings if not client.explains(one))
            point = dataclasses.replace(point, warnings=others)
            warnings += client.warnings(level)
        points.append(_with_score(point, quality.get(level)))
    warnings += check_quality(quality)
    if quality and any(entry.cache_bust == "prompt" for entry in manifest.complete_points):
        warnings.append(warn("scored_with_salt", next(iter(quality))))
    if quality and (sampling := spec.sampling).temperature != 0 and sampling.seed is None:
        of_server = "the server's own" if sampling.temperature is None else f"{sampling.temperature:g}"
        warnings.append(warn("sampled_without_seed", next(iter(quality)), temperature=of_server))
    warnings += [found for level in quality if judging for found in judge_findings(judging, level)]
    energies, gpus, of_power = _power(run, measured, own, price, spec.telemetry.assumed_power_kw, use)
    warnings += of_power
    total: HourPrice = None if unit is None else cost.total_usd_per_hour(unit, price.gpus)
    hours = None if price.owned is None or unit is not None else cost.level_prices(price, energies)
    fallback, total, of_api = _fallback(run, endpoints, points, hour := hours or total)
    warnings += [finding for one in endpoints.values() for finding in one.warnings]
    # what the set could have; where hits are wanted they are no warning
    wanted = any(entry.cache_bust in ("off", None) for entry in manifest.complete_points)
    shared_ratio = None if wanted else manifest.workload.shared_prefix_ratio
    warnings += check_prefix_hits(points, _prefix_hits(rows, points, use), shared_ratio)
    n_own = sum(one.role == "own" for one in manifest.endpoints)
    if hour is not None and price.gpus < n_own:
        warnings.append(warn("gpus_fewer_than_endpoints", points[-1].level, gpus=price.gpus, servers=n_own))
    warnings += of_api
    whole = {point.point_id for point in manifest.complete_points}
    end = None if manifest.search is None else manifest.search.end
    ended = end is not None and end.reason not in ("stopped", "server_lost")  # it went on without probes that failed
    if cut := [point_id for point_id in manifest.planned_points if point_id not in whole and not ended]:
        why = {entry.point_id: entry.invalid or entry.reason for entry in manifest.points}
        named = ", ".join(point_id + (f" ({why[point_id]})" if why.get(point_id) else "") for point_id in cut[:6])
        missing = {"missing": len(cut), "planned": len(manifest.planned_points), "points": named}
        warnings.append(warn("run_cut_short", points[-1].level, **missing))
    if run.damage:
        warnings.append(warn("damaged_files", points[-1].level, files="; ".join(run.damage)))

    for i, p in enumerate(points):
        of_level = (w for w in warnings if w.level == p.level)
        points[i] = dataclasses.replace(p, warnings=(*p.warnings, *of_level))
    by_level = dict(total) if isinstance(total, Mapping) else None
    resampling = tuple(m.resampling for m in measured)
    found = chances(resampling, free=cost.is_free(total), hourly=by_level, clients=clients)
    if manifest.search is not None:
        found = _of_search(found, manifest, own_slo=limits == spec.limits)
    closed = None if capacity is None else _closed(run, capacity, limits, price)
    curve = None if closed is None else SpeedCurve.of(j.point for j in closed.judged)
    fixed, server = spec.workload.fixed_length, SERVERS.get(manifest.server_probe.profile or "")
    limited = spec.load.max_request_rate is not None
    local = manifest.launched_server is not None  # on this machine, and nothing between
    title, metrics = (None, True) if server is None else (server.title, not server.metrics)
    judged = []
    for j in judge_levels(points, limits, total, found):
        level, repeats = j.point.level, j.point.repeat_count > 1
        asked = {
            "fixed_length": fixed, "repeats": repeats, "metrics": metrics, "local": local, "rate_limit": limited
        }  # fmt: skip
        idle = ("idle_users", "ramp_up_down") if limited else ()  # as asked for
        shown = tuple(remedy_here(w, asked, title) for w in j.point.warnings if w.code not in idle)
        point = dataclasses.replace(j.point, warnings=shown)
        beside = None if curve is None or closed is None else closed_loop(curve, level.number, closed.best)
        ends, answers = j.intervals, quality.get(level)
        if answers is not None:
            answers = cost.priced_answers(answers, j.intervals.get("cost_usd"), j.point.repeat_count)
            if answers.usd_per_correct is not None:
                ends = ends | {"usd_per_1m_correct": answers.usd_per_correct.times(1e6)}
        parts: dict[str, Any] = {"quality": answers, "intervals": ends}
        parts |= {"energy": energies[level], "gpu": gpus[level], "closed_loop": beside}
        judged.append(dataclasses.replace(j, point=point, **parts))
    judgement = Judgement(
        model=model or run.path.name,
        source=str(run.path),
        slo=limits,
        judged=tuple(judged),
        decision=decide(judged, found),
        gpus=price.gpus,
        usd_per_hour=unit,
        hour_price=by_level or total,
        price=price,
        resampling=resampling,
        workload_hash=manifest.workload.content_hash,
        run=run,
        measured=measured,
        clients=clients,
        endpoints=endpoints,
        fallback=fallback,
        server_use=tuple(use),
        capacity=closed,
    )
    if hours is None or judgement.nearest is None:
        return judgement
    return dataclasses.replace(judgement, usd_per_hour=hours[judgement.nearest.point.level] / price.gpus)


def _with_scores(measured: MeasuredLevel, quality: Quality | None) -> MeasuredLevel:
    """The level with draws of its score, for how sure it is that an SLO with a limit on it is met."""
    if quality is None or quality.partial:
        return measured
    drawn = score_draws(sets_of(quality), draws=DRAWS)
    return dataclasses.replace(measured, resampling=dataclasses.replace(measured.resampling, scores=drawn))


def _with_score(point: PointSummary, quality: Quality | None) -> PointSummary:
    """The point with its score, which an SLO may limit; a partial one has its interval alone."""
    if quality is None:
        return point
    found = {"score": quality.score, "micro_score": quality.micro}
    ratios = point.ratios if quality.partial else point.ratios | {"score": quality.score.value}
    return dataclasses.replace(point, ratios=ratios, intervals=point.intervals | found)


def _of_search(found: DecisionUncertainty, manifest: RunManifest, *, own_slo: bool) -> DecisionUncertainty:
    """With what a search says of its levels, by the SLO that it was for. How often a level would be the cheapest is
    not told by its probes, which are of different lengths and numbers."""
    end = None if manifest.search is None or not own_slo else manifest.search.end
    found = dataclasses.replace(found, p_by_level=None, method="probes of a search")
    if end is None or end.answer is None:
        none = end is not None and end.reason == "none_feasible"
        return dataclasses.replace(found, search=dict.fromkeys(found.levels, (0.0, 0.0)) if none else {})
    kind = next(iter(found.levels)).kind
    search = {Level(number, kind): (p_met, p_good) for number, p_met, p_good in end.answer.levels}
    p_met = {level: one for level, (one, _) in search.items()}
    answer = Level(end.answer.level, kind)
    return dataclasses.replace(
        found, search=search, p_met=found.p_met | p_met, answer=answer if answer in search else None
    )


def _closed(run: Run, capacity: Run, limits: Slo, price: PriceSpec) -> Judgement:
    """The closed loop under the SLO and the price of the run of rates. Raises InputError, PointsError."""
    for one, kind, where in ((run, "rate", "RUNS"), (capacity, "concurrency", "--capacity")):
        if other := next((p.level for p in one.manifest.complete_points if p.level and p.level.kind != kind), None):
            expected = "a run of rates (--rate)" if kind == "rate" else "a run in closed loop (--concurrency)"
            what = f"{one.path.name} is {'a closed loop' if kind == 'rate' else 'an open loop'}"
            raise PointsError(what, where=where, given=other.at, expected=expected)
    names = ("in the run of rates", "in the closed loop")
    refuse_unlike(differences(run.manifest, capacity.manifest), None, CAPACITY_GROUPS, names, "--capacity")
    judged = judge_run(capacity, slo=limits, price=price)
    if SpeedCurve.of(j.point for j in judged.judged) is None:
        where, expected = str(capacity.path), "a level with successful requests"
        raise PointsError(
            "the closed loop completed no request, so it predicts nothing", where=where, expected=expected
        )
    return judged


def _own(point: PointSummary, by_endpoint: Balance) -> PointSummary:
    """The point with the requests and tokens of the own servers alone."""
    if not any(part.requests for part in by_endpoint.of("fallback")):
        return point

    own = by_endpoint.of("own")
    tokens: dict[str, Any] = {}
    for name in ("input_tokens", "output_tokens"):
        known = [count for part in own if (count := getattr(part, name)) is not None]
        tokens[name] = sum(known) if known else None
    found = dataclasses.replace(point, n_ok=sum(part.requests - part.failures for part in own), **tokens)
    if point.level.rate_per_s is None:
        return found
    counts = {"request_per_s": (found.n_ok, point.n_ok), "output_tok_s": (found.output_tokens, point.output_tokens)}
    ratios = {name: per_s * a / b if a is not None and b and (per_s := point.ratios[name]) is not None else None
              for name, (a, b) in counts.items()}  # fmt: skip
    return dataclasses.replace(found, ratios=point.ratios | ratios | {"total_tok_s": None})


def _entries(run: Run, level: Level) -> list[PointEntry]:
    return [entry for entry in run.manifest.judged_points if entry.level == level]


def client_verdicts(run: Run, itl_s: Mapping[Level, float | None]) -> dict[Level, ClientVerdict]:
    """The verdict on the client by level; none where the manifest has nothing of its state (imported runs).

    itl_s: the levels, and the median gap of each.
    """
    load, arrivals, rows = *(run.manifest.spec.get(name) or {} for name in ("load", "arrivals")), run.whole
    found = {}
    for level, gap_s in itl_s.items():
        states = [entry.client for entry in _entries(run, level) if entry.client]
        if states:
            of_level = rows_where(rows, at_level(rows, level))
            answered = rows_where(of_level, pc.and_(pc.equal(of_level["status"], "ok"), in_window(of_level)))
            lags_us = [(state.get("loop_lag") or {}).get("p99_us") for state in states]
            lag_s = max((lag_us * 1e-6 for lag_us in lags_us if lag_us is not None), default=None)
            paced = level.rate_per_s is not None or load.get("max_request_rate") is not None
            effects = client_effects(answered, gap_s, lag_s, paced)
            if level.rate_per_s is not None:
                late = lateness(of_level, arrivals.get("max_in_flight"), run.manifest.workers or 1)
                effects = dataclasses.replace(
                    effects, late_p99_s=late[0], waited_share=late[1], rate_per_s=level.number
                )
            known = _calibrated_s(run, level, "kernel" if effects.kernel_stamps else "user")
            found[level] = judge_client(states, effects, known)
    return found


def _prefix_hits(rows: Any, points: Sequence[PointSummary], use: Sequence[ServerUse]) -> dict[Level, float | None]:
    """By level the share of prompt tokens that were cached: by the server's counters, else by its answers."""
    servers, found = {one.level: one for one in use}, {}
    for point in points:
        server = servers.get(point.level)
        share = None if server is None else server.prefix_cache_hit_ratio
        if server is not None and server.reasons.get("prefix_cache") == NO_QUERIES:
            share = 0.0
        if share is None:
            mine = pc.and_(at_level(rows, point.level), in_window(rows))
            own = rows.select(["cached_tokens", "input_tokens"]).filter(mine).drop_null()
            total = pc.sum(own["input_tokens"]).as_py()
            share = pc.sum(own["cached_tokens"]).as_py() / total if total else None
        found[point.level] = share
    return found


def _calibrated_s(run: Run, level: Level, stamps: str) -> float | None:
    """The gaps' error (p99) of this machine's calibration at such a level or a higher one, the least such."""
    points = () if level.concurrency is None else (run.manifest.calibration or {}).get("points", ())
    known = [
        (one["concurrency"], one["gap_error_ms"]["p99"] or 0.0)
        for one in points
        if one["stamp_source"] == stamps
        and one["concurrency"] >= (level.concurrency or 0)
        and one["tok_s"]
        and one["driver"] == "wire"
    ]
    return max(error for at, error in known if at == min(known)[0]) * 1e-3 if known else None


def _power(
    run: Run,
    measured: Sequence[MeasuredLevel],
    own: Mapping[Level, PointSummary],
    price: PriceSpec,
    assumed_power_kw: float | None,
    use: Sequence[ServerUse],
) -> tuple[dict[Level, PointEnergy | None], dict[Level, GpuUse | None], list[Finding]]:
    """Energy and GPU use by level, and what telemetry says. assumed_power_kw: all GPUs, if unmeasured."""
    facts = gpu_facts(run.manifest.telemetry.model_dump(), assumed_power_kw, price.gpus)
    profile = run.manifest.server_probe.profile
    servers = {one.level: one for one in use}
    energies: dict[Level, PointEnergy | None] = {}
    gpus: dict[Level, GpuUse | None] = {}
    warnings: list[Finding] = []
    for one in measured:
        level, windows = one.level, level_windows(one)
        energy = point_energy(run.gpu, windows, own[level], facts)
        energies[level] = None if energy is None else cost.priced(energy, own[level], price)
        gpus[level] = None if run.gpu is None else gpu_use(run.gpu, windows, facts.used, mig=facts.mig)
        # what is only to be known of the energy stays with the energy
        warnings += [found for found in (() if energy is None else energy.codes) if found.severity != "info"]
        warnings += check_telemetry(gpus[level], servers.get(level), level, profile)
    return energies, gpus, [*warnings, *cost.power_warnings(price, energies)]


def _fallback(
    run: Run, endpoints: Mapping[Level, Balance], points: Sequence[PointSummary], hour: HourPrice
) -> tuple[dict[Level, FallbackUse], HourPrice, list[Finding]]:
    """What went to the paid API by level, and the machine's hour with its bill spread in. hour: the own machine's."""
    asked = run.manifest.spec["server"].get("fallback")
    if not asked:
        return {}, hour, []
    prices = (asked.get("usd_per_1m_input"), asked.get("usd_per_1m_output"))

    def counted(level: Level, name: str) -> int | None:
        """The sum over the level's repeats; None unless each of them has it."""
        counts: list[int | None] = [entry.client.get(name) for entry in _entries(run, level)]
        return sum(count or 0 for count in counts) if counts and None not in counts else None

    uses, durations_s, warnings = {}, {}, []
    for point in points:
        level = point.level
        durations_s[level] = None if point.duration_s is None else point.duration_s * point.repeat_count
        use = uses[level] = cost.fallback_use(
            endpoints[level],
            usd_per_1m=None if None in prices else prices,
            usd_per_hour_total=cost.hour_at(hour, level),
            duration_s=durations_s[level],
            tries=counted(level, "fallback_tries"),
            skips=counted(level, "fallback_skips"),
        )
        if use.api_requests:
            share = percent(use.request_share)
            warnings.append(warn("fallback_used", level, api=use.api_requests, requests=use.requests, share=share))
        if use.api_usd is None:
            warnings.append(warn("fallback_price_unknown" if None in prices else "fallback_usage_unknown", level))
    used = any(use.api_requests for use in uses.values())
    return uses, cost.hours_with_bills(hour, list(uses.values()), durations_s) if used else hour, warnings


def ttft_breakdown(judgement: Judgement) -> list[Attribution]:
    """Where TTFT goes, by level; empty where the manifest does not say when the points ran."""
    run = judgement.facts
    rows = run.whole  # a point that was given up and measured again has rows of both attempts under one name
    series = None if run.server is None or run.server.num_rows == 0 else ServerSeries(run.server)
    return attribute(rows, windows_of(run.manifest, rows), series)


def imbalance_text(judgement: Judgement) -> str:
    """Of several own servers how uneven their requests were at worst; '' for one."""
    shares = [(at.imbalance, at.level, len(at.of("own"))) for at in judgement.endpoints.values() if at.imbalance]
    most, level, n = max(shares, default=(0.0, Level(0), 0))
    return f"{n} servers; the busiest got at most {most:.2f} times the mean of requests ({level.at})" if n else ""


def select_model(judgements: Sequence[Judgement], model: str | None) -> Judgement:
    """The judgement of `model`; without a name the only one. Raises PointsError with the nearest name."""
    names = [one.model for one in judgements]
    if model is None and len(judgements) == 1:
        return judgements[0]
    if model is not None and names.count(model) == 1:
        return judgements[names.index(model)]
    raise PointsError(
        "give one model" if model is None or model in names else "unknown model",
        where="--model",
        given=model,
        expected="one of " + ", ".join(dict.fromkeys(names)),
        hint=None if model in names else did_you_mean(model or "", names, 0.4),
    )


def check_comparable(judgements: Sequence[Judgement]) -> list[str]:
    """What differs between judgements whose costs are compared, in words. Raises PointsError for costs of other work.

    One set of requests and one SLO are demanded; another engine, version or host is a difference to report.
    """
    by_slo = {one.slo: one.source for one in judgements}
    if len(by_slo) > 1:
        given = "; ".join(f"{slo} ({source})" for slo, source in by_slo.items())
        raise PointsError("the runs have different SLOs", where="slo", given=given, expected="one for all: --slo")
    sizes: dict[int | None, str] = {}
    for one in judgements:
        if one.best is not None and one.best.point.of_whole_runs:
            size = set_size(one.best) or round(one.best.point.n_ok / one.best.point.repeat_count)
            sizes.setdefault(size, one.model)
    workloads = {one.workload_hash: one.source for one in judgements if one.workload_hash}
    if len(sizes) > 1 or len(workloads) > 1:
        by_size = [f"{size:,} requests ({model})" for size, model in sizes.items() if size is not None]
        raise PointsError(
            "the models ran different sets of requests, so a run's cost does not compare",
            where="workload" if len(workloads) > 1 else "requests",
            given=", ".join(by_size if len(workloads) <= 1 else workloads.values()),
            expected="one set for all",
        )
    found = fact_differences([(one.source, one.run.manifest) for one in judgements if one.run is not None])
    return [f"the runs differ in {text}; models are compared with that, not alone" for text in found]


_COMPARED = ("server", "server version", "kernel", "benchsuite")


def fact_differences(runs: Sequence[tuple[str, RunManifest]]) -> list[str]:
    """What runs that are compared all the same do not share: 'server version: 0.9 (a), 0.10 (b)'. runs: by name."""
    found: dict[str, dict[str, str]] = {}
    for name, manifest in runs[1:]:
        for one in differences(manifest, runs[0][1], groups=("server", "host", "harness")):
            if one.what in _COMPARED:
                values = found.setdefault(one.what, {one.before: runs[0][0]})
                values.setdefault(one.new, name)
    return [
        f"{what}: {', '.join(f'{value} ({name})' for value, name in values.items())}" for what, values in found.items()
    ]
