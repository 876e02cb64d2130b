"""Sections of the page on cost: scaling with concurrency, sensitivity, what a demand needs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pyarrow.compute as pc

from benchsuite.analysis.summary import summarise_points
from benchsuite.economics.capacity import PEAK_FACTOR, InFlight, in_flight, of_mean
from benchsuite.economics.gpu_hour import Reserved, Terms
from benchsuite.economics.plan import Own, plan
from benchsuite.economics.plan_file import TARGET_UTILIZATION
from benchsuite.economics.prices import preset
from benchsuite.economics.scaling import Scaling, SloPrice, scaling
from benchsuite.economics.sensitivity import Ranges, ranges_about, tornado
from benchsuite.errors import InputError
from benchsuite.level import Level
from benchsuite.metrics import CONFIDENCE
from benchsuite.report.charts import Point, Series, level_chart
from benchsuite.report.format import DASH, known_ends, level_head, number, sentence, usd
from benchsuite.report.judge import Judgement
from benchsuite.report.sections_levels import (
    Figure,
    Table,
    axis,
    level_figure,
    level_series,
    trend,
    whole_percent,
)
from benchsuite.results import EvaluatedLevel, PointSummary
from benchsuite.spec import PriceSpec


def scaling_of(judgement: Judgement) -> Scaling:
    """The principles, the law and the price of the SLO, of the judged levels."""
    by_repeat: list[list[PointSummary]] = []  # none of a single repeat, or of a table of levels
    if judgement.run is not None:
        rows = judgement.run.whole
        repeats = [pc.equal(rows["repeat"], repeat) for repeat in pc.unique(rows["repeat"]).sort()]
        if len(repeats) > 1:
            by_repeat = [summarise_points(rows.filter(one), model=judgement.model, intervals=False) for one in repeats]
    return scaling(
        [j.point for j in judgement.judged],
        judgement.slo,
        judgement.hour_price,
        repeats=by_repeat,
        p_met={j.point.level: j.p_met for j in judgement.judged if j.p_met is not None},
        judged=judgement.judged,
    )


def scaling_sentences(found: Scaling) -> list[str]:
    """What the levels say, a sentence each, without full stops."""
    sentences = [f"average cost falls in {found.steps_cheaper} of {found.steps} steps"] if found.steps else []
    slope, ends = found.elasticity_slope, known_ends(found.elasticity_slope)
    if slope is not None and slope.value is not None and ends is not None:
        doubt = "whether returns diminish is not certain"
        returns = "returns diminish" if ends[1] < 0 else "returns grow" if ends[0] > 0 else doubt
        value, low, high = (math.log(2) * one for one in (slope.value, *ends))
        change = f"elasticity changes by {value:.2f} ({CONFIDENCE} interval {low:.2f} to {high:.2f})"
        sentences.append(f"{returns}: with each doubling of concurrency {change}")
    if (zone := found.zone) is None:
        sentences.append("zone of lowest cost: none, no level is proven to meet the SLO")
    else:
        ends_text = f"{zone.lowest}" if zone.lowest == zone.highest else f"{zone.lowest} to {zone.highest}"
        within = f"within {_whole(zone.tolerance)} of the lowest $/1M out that meets the SLO"
        sentences.append(f"zone of lowest cost: concurrency {ends_text}, {within}")
        if not zone.optimum_inside:
            shorter = "costs less per run, but with shorter answers or an SLO that is not proven"
            sentences[-1] += f"; {found.optimum} {shorter}"
    if found.usl is not None:
        label = "" if found.knee is None else f"; knee at {found.knee:g}"
        sentences.append(f"{law_text(found)}: {peak_text(found)}{label}")
    for one in found.limits:
        holds = one.note
        if (users := one.users) is not None:
            ends_known = users.low is not None or users.high is not None
            of = f"{number(users.low)} to {number(users.high)}, " * ends_known + users.method
            holds = f"holds up to concurrency {number(users.value)}, interpolated ({of})"
        sentences.append(f"{one.limit}{' ' if users else ': '}{holds}")
    if found.boundary_saving is not None and found.optimum is not None:
        more = "less" if found.boundary_saving >= 0 else "more"
        saved = _whole(abs(found.boundary_saving))
        sentences.append(f"at that boundary the set of concurrency {found.optimum} would cost {saved} {more}")
    # what such a level says of money it says no surer than of the SLO
    doubts = {one.level: "undecided" for one in found.levels if one.slo_verdict in ("undecided", "unknown")}
    doubts |= {one.level: "disturbed" for one in found.levels if one.disturbed}
    return sentences + [text for price in found.prices if (text := price_sentence(price, found.optimum, doubts))]


def price_sentence(price: SloPrice, optimum: Level | None, doubts: Mapping[Level, str] = MappingProxyType({})) -> str:
    """'ttft_p95 < 1 s: 0.69 % looser saves 32 % (concurrency 32); 30 % tighter costs 67 % more (concurrency 8)'.

    doubts: levels that are undecided or disturbed; a sentence that rests on one says so.
    """

    def share(change: float) -> str:
        return f"{number(abs(change) * 100, 2)} %"

    def cost(change: float | None) -> str:
        return DASH if change is None else _whole(abs(change))

    parts, saving, loss, step = [], price.saving, price.loss, None
    if optimum is None:
        step = next((s for s in price.steps if s.looser > 0 and s.level is not None), None)
        if step is not None:
            parts.append(f"{share(step.looser)} looser and concurrency {step.level} meets the SLO")
    if saving is not None:
        parts.append(f"{share(saving.looser)} looser saves {cost(saving.cost_change)} (concurrency {saving.level})")
    if optimum is not None and loss is not None:
        costs = f"costs {cost(loss.cost_change)} more (concurrency {loss.level})"
        parts.append(f"{share(loss.looser)} tighter {'and no level is left' if loss.level is None else costs}")
    steps = (saving, loss) if optimum is not None else (step, saving)
    rests_on = [optimum, *(one.level for one in steps if one is not None)]
    used = [level for level in dict.fromkeys(rests_on) if level is not None and level in doubts]
    if parts and used:
        parts.append("not certain: " + ", ".join(f"{level} is {doubts[level]}" for level in used))
    return f"{price.limit}: {'; '.join(parts)}" if parts else ""


def _whole(ratio: float) -> str:
    return f"{100 * ratio:.0f} %"


def law_text(found: Scaling) -> str:
    """'the scaling law (USL: 92.9 tok/s for one user, contention 0.039, coherency 0.00022) fits within 5 %'."""
    usl = found.usl
    assert usl is not None
    contention, coherency = ("0" if value < 1e-9 else f"{value:.2g}" for value in (usl.contention, usl.coherency))
    worst = max((abs(residual) for residual in usl.residuals), default=0.0)
    law = f"{number(usl.rate_tok_s)} tok/s for one user, contention {contention}, coherency {coherency}"
    return f"the scaling law (USL: {law}) fits within {_whole(worst)}"


def peak_text(found: Scaling) -> str:
    """'its peak is at concurrency 67, beyond the levels measured'."""
    assert found.usl is not None
    peak = found.usl.n_max
    if peak is None:
        return "it has no peak"
    beyond = ", beyond the levels measured" * (peak > found.levels[-1].level.number)
    return f"its peak is at concurrency {peak:.0f}{beyond}"


def scaling_figure(found: Scaling, judgement: Judgement) -> Figure | None:
    """Output with the law; None below two levels with a known rate."""
    if len(found.levels) < 2:
        return None
    lines = [level_series(judgement.judged, "output_tok_s", "measured")]
    title, note = trend("output tok/s", lines[0]), "The scaling law needs four levels."
    if (usl := found.usl) is not None:
        low, high = found.levels[0].level.number, found.levels[-1].level.number
        steps = [low * (high / low) ** (k / 40) for k in range(41)]
        lines.append(Series("scaling law", tuple(Point(n, usl.at(n)) for n in steps), dashed=True))
        title, note = f"the scaling law fits output tok/s: {peak_text(found)}", sentence(law_text(found))
        if max((abs(residual) for residual in usl.residuals), default=0.0) > 0.15:
            note += " Above 15 % a level was disturbed."
    return level_figure(title, lines, axis("output_tok_s"), judgement, note=note)


_MOST_LOAD = 0.98  # of the closed loop's highest throughput: beyond it the chain's line is a wall


def closed_loop_figures(judgement: Judgement) -> list[Figure]:
    """In flight and E2E against requests/s: the closed loop's curve, the chain's prediction, the rates as measured but
    for saturated ones, whose figures depend on the duration."""
    curve, closed = judgement.capacity_curve, judgement.capacity
    if curve is None or closed is None:
        return []
    per_s, found = dict(zip(curve.levels, curve.per_s, strict=True)), list[Figure]()
    rates = [j for j in judgement.judged if not j.point.saturated]
    loops = [(j, per_s[j.point.level.number]) for j in closed.judged if j.point.level.number in per_s]
    completed = {"closed loop": loops, "rates": [(j, j.point.request_per_s or 0.0) for j in rates]}
    low, high = min([j.point.level.number for j in rates] + [*curve.per_s]), _MOST_LOAD * max(curve.per_s)
    chain = [(x, one) for x in np.linspace(low, max(low, high), 80) if (one := in_flight(curve, x)) is not None]
    apart = [
        abs(j.closed_loop.in_flight / seen - 1)
        for j in rates
        if j.closed_loop and j.closed_loop.in_flight and (seen := j.point.ratios["in_flight"])
    ]
    title = "in flight over requests/s, closed loop and chain"
    if apart:
        title = f"the chain predicts the requests in flight within {_whole(max(apart))}"

    columns: tuple[tuple[str, Callable[[EvaluatedLevel], float | None], Callable[[InFlight], float]], ...] = (
        ("in flight", lambda j: j.point.level.concurrency or j.point.ratios["in_flight"], lambda one: one.mean),
        ("E2E mean (s)", lambda j: j.point.distributions["e2e_s"].mean, lambda one: one.time_s),
    )
    for label, measured, predicted in columns:
        points = {name: [Point(_rounded(x), measured(j)) for j, x in pairs] for name, pairs in completed.items()}
        most = max([0.0, *(p.y for drawn in points.values() for p in drawn if p.y)])
        line = tuple(Point(float(x), y) for x, one in chain if (y := predicted(one)) <= most)
        lines = [Series(name, tuple(drawn), apart=name == "rates", kind="rate") for name, drawn in points.items()]
        lines.append(Series("chain", line, dashed=True, kind="rate"))
        rows = [
            (name, j.point.level.at, number(p.x), number(p.y))
            for name, pairs in completed.items()
            for (j, _), p in zip(pairs, points[name], strict=True)
        ]
        if found:
            title = f"{label.partition(' (')[0]} over requests/s, closed loop and rates"
        chart = level_chart(lines, title=sentence(title)[:-1], y_label=label, x_label="requests/s completed")
        head = ("loop", "level", "requests/s", label)
        found.append(Figure(sentence(title)[:-1], chart, head, rows, left=(0, 1)))
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


_NAMES = {"usd_per_hour": "price of the GPU-hour", "utilisation": "utilization of paid hours", "pue": "PUE"}


def sensitivity_table(level: EvaluatedLevel, judgement: Judgement) -> Table | None:
    """How far each input alone moves the cost of a million output tokens at `level`; None without a known cost."""
    rate, base, gpus = level.point.output_tok_s, level.cost.usd_per_1m_output_tokens, judgement.gpus
    if not rate or not base or not level.cost.usd_per_hour:
        return None
    per_1m = gpus * 1e6 / 3600 / rate
    hour, ranges, assumed = _hour(level.cost.usd_per_hour / gpus, judgement.price)

    def end(key: str, value: float) -> str:
        if key == "utilisation":
            return whole_percent(value)
        return usd(value) if key == "usd_per_hour" else number(value)

    swings: list[_Swing] = []
    for s in tornado(hour, ranges):
        names = (_NAMES.get(s.key, s.key.replace("_", " ")), end(s.key, s.low), end(s.key, s.high))
        swings.append((*names, s.usd_at_low * per_1m, s.usd_at_high * per_1m))
    swings += _measured_swings(level, judgement.judged, base)
    swings = [swing for swing in swings if abs(swing[4] - swing[3]) > base * 1e-3]
    swings = sorted(swings, key=lambda swing: -abs(swing[4] - swing[3]))[:8]
    title = f"Largest effect on cost: {swings[0][0]}" if swings else "No input changes the cost"
    rows = [
        (name, low_name, usd(low), high_name, usd(high), *(f"{100 * (end / base - 1):+.0f} %" for end in (low, high)))
        for name, low_name, high_name, low, high in swings
    ]
    note = f"One input at a time, from {usd(base)}. {assumed} Interval and neighbouring levels as measured."
    heads = ("input", "from", "$/1M out", "to", "$/1M out", "change from", "change to")
    return Table("sensitivity", heads, rows, title, left=(0,), note=note)


_Swing = tuple[str, str, str, float, float]  # an input, what its ends are called, the cost at either end


def _hour(usd_per_hour: float, given: PriceSpec | None) -> tuple[Terms, Ranges, str]:
    """What a GPU's hour is computed from, the ranges of its inputs, and where those are from."""
    price = None if given is None or given.preset is None else preset(given.preset)
    if price is not None and price.owned is not None:
        assumed = "Ranges from the price preset." if price.tornado else "Assumed: each input ±25 %."
        return price.owned, price.tornado or ranges_about(price.owned), assumed
    hour = Reserved(usd_per_hour=usd_per_hour, utilisation=1.0)
    ranges = {"usd_per_hour": (usd_per_hour * 0.75, usd_per_hour * 1.25), "utilisation": (0.5, 1.0)}
    return hour, ranges, "Assumed: price ±25 %; 50 to 100 % of the paid hours in use."


def _measured_swings(level: EvaluatedLevel, judged: Sequence[EvaluatedLevel], base: float) -> list[_Swing]:
    swings: list[_Swing] = []
    if found := known_ends(level.intervals.get("usd_per_1m_output_tokens")):
        swings.append((f"speed, {CONFIDENCE} interval", "fast", "slow", *found))
    ordered = sorted(judged, key=lambda j: j.point.level)
    i = ordered.index(level)
    ends = [
        (f"{j.point.level}{' (violates)' * (j.slo_verdict == 'not met')}", cost)
        for j in ordered[max(i - 1, 0) : i + 2]
        if j is not level and (cost := j.cost.usd_per_1m_output_tokens)
    ]
    if ends:
        (low_name, low), (high_name, high) = [*ends, (str(level.point.level), base)][:2]
        swings.append((level_head([level.point.level]), low_name, high_name, low, high))
    return swings


def capacity_table(level: EvaluatedLevel, judgement: Judgement) -> Table | None:
    """Replicas and their monthly cost by demand; None where the level has no rate of requests."""
    if not level.point.request_per_s:
        return None
    hour_usd = level.cost.usd_per_hour
    own = Own("replica", judgement.gpus, hour_usd or 0.0, levels=judgement.judged, level=level,
              requests_per_s=level.point.level.rate_per_s)  # fmt: skip
    one = level.point.request_per_s * TARGET_UTILIZATION / PEAK_FACTOR * 86400
    first = math.floor(math.log10(one / 10))
    demands = [f * 10.0**power for power in range(first, first + 4) for f in (1, 2, 5)]
    try:
        plans = [(d, plan(of_mean(d / 86400), [own]).rows[0]) for d in demands if one / 10 <= d <= one * 20]
    except InputError:
        return None
    head = ("requests a day", "for the peak", "with one spare", "GPUs", "$/month", "$/1M out", "mean utilization")
    rows = [
        (
            _short(d),
            str(r.working),
            str(r.replicas),
            str(r.gpus),
            usd(r.usd_per_month if hour_usd else None),
            usd(r.usd_per_1m_output_tokens if hour_usd else None),
            DASH if r.utilization is None else whole_percent(r.utilization),
        )
        for d, r in plans
        if r.working is not None
    ]
    title = f"One replica serves about {_short(one)} requests a day, with peaks of {PEAK_FACTOR:g} times the mean"
    carries = f"at most {level.point.level} requests in flight"
    if level.point.level.rate_per_s is not None:
        carries = f"at most {level.point.level.words}"
    note = (
        f"Assumed: {carries} per replica, "
        f"{whole_percent(TARGET_UTILIZATION)} target utilization at the peak, peaks of {PEAK_FACTOR:g} times the mean, "
        "replicas like this machine. The table includes one spare replica and pays for all 730 hours of a month. For "
        "other demand: benchsuite plan."
    )
    return Table("capacity", head, rows, title, note=note) if rows else None


def _short(value: float) -> str:
    """1,500; 48.4 M; 1.2 bn."""
    for size, word in ((1e12, " tn"), (1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if value >= size * 0.9995:
            return f"{number(value / size).removesuffix('.00').removesuffix('.0')}{word}"
    return number(value)
