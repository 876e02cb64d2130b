"""Sensitivity of the cost to its inputs, and the replicas that a demand needs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchsuite.economics.capacity import PEAK_FACTOR, of_mean
from benchsuite.economics.gpu_hour import Reserved, Terms
from benchsuite.economics.plan import Own, plan
from benchsuite.economics.plan_file import TARGET_UTILIZATION
from benchsuite.economics.prices import preset
from benchsuite.economics.sensitivity import Range, ranges_about, tornado
from benchsuite.errors import InputError
from benchsuite.report.charts import Frame, Point, Series, level_chart
from benchsuite.report.charts_special import Bar, tornado_chart
from benchsuite.report.format import DASH, number, usd
from benchsuite.report.judge import Judgement
from benchsuite.report.sections_levels import Figure, whole_percent
from benchsuite.results import EvaluatedLevel
from benchsuite.spec import PriceSpec

_FRAME = Frame(380, 300, 50, 14, 48, 46)
_NAMES = {"usd_per_hour": "price of the GPU-hour", "utilisation": "utilization of paid hours", "pue": "PUE"}


def sensitivity_figure(level: EvaluatedLevel, judgement: Judgement) -> Figure | None:
    """How far each input alone moves the cost of a million output tokens at `level`; None without a known cost."""
    rate, base, gpus = level.point.output_tok_s, level.cost.usd_per_1m_output_tokens, judgement.gpus
    if not rate or not base or not level.cost.usd_per_hour:
        return None
    per_1m = gpus * 1e6 / 3600 / rate
    hour, ranges, assumed = _hour(level.cost.usd_per_hour / gpus, judgement.price)
    bars = [
        Bar(
            _NAMES.get(s.key, s.key.replace("_", " ")),
            _end(s.key, s.low),
            _end(s.key, s.high),
            s.usd_at_low * per_1m,
            s.usd_at_high * per_1m,
        )
        for s in tornado(hour, ranges)
    ]
    bars += _measured_bars(level, judgement.judged, base)
    bars = sorted(bars, key=lambda bar: -abs(bar.at_high - bar.at_low))
    bars = [bar for bar in bars if abs(bar.at_high - bar.at_low) > base * 1e-3][:8]
    title = f"Largest effect on cost: {bars[0].name}" if bars else "No input changes the cost"
    chart = tornado_chart(bars, base, title=title, x_label="USD per 1M output tokens", show=usd)
    rows = [(b.name, b.low_name, usd(b.at_low), b.high_name, usd(b.at_high)) for b in bars]
    note = f"One input at a time. {assumed} Interval and neighbouring levels as measured."
    return Figure(title, chart, ("input", "from", "$/1M out", "to", "$/1M out"), rows, note, left=(0,))


def _hour(usd_per_hour: float, given: PriceSpec | None) -> tuple[Terms, list[Range], str]:
    """What a GPU's hour is computed from, the ranges of its inputs, and where those are from."""
    price = None if given is None or given.preset is None else preset(given.preset)
    if price is not None and price.owned is not None:
        ranges = [Range(key, *ends) for key, ends in price.tornado.items()]
        assumed = "Ranges from the price preset." if ranges else "Assumed: each input ±25 %."
        return price.owned, ranges or list(ranges_about(price.owned)), assumed
    hour = Reserved(usd_per_hour=usd_per_hour, utilisation=1.0)
    ranges = [Range("usd_per_hour", usd_per_hour * 0.75, usd_per_hour * 1.25), Range("utilisation", 0.5, 1.0)]
    return hour, ranges, "Assumed: price ±25 %; 50 to 100 % of the paid hours in use."


def _end(key: str, value: float) -> str:
    if key == "utilisation":
        return whole_percent(value)
    return usd(value) if key == "usd_per_hour" else number(value)


def _measured_bars(level: EvaluatedLevel, judged: Sequence[EvaluatedLevel], base: float) -> list[Bar]:
    bars, at = [], level.point.level
    found = level.intervals.get("usd_per_1m_output_tokens")
    if found is not None and found.low is not None and found.high is not None:
        bars.append(Bar("speed, 95 % interval", "fast", "slow", found.low, found.high))
    ordered = sorted(judged, key=lambda j: j.point.level)
    i = next(k for k, j in enumerate(ordered) if j.point.level == at)
    around = [(j, j.cost.usd_per_1m_output_tokens) for j in ordered[max(i - 1, 0) : i + 2] if j is not ordered[i]]
    ends = [
        (f"{j.point.level}{' (violates)' if j.slo_verdict == 'not met' else ''}", cost) for j, cost in around if cost
    ]
    if ends:
        (low_name, low), (high_name, high) = ends[0], ends[1] if len(ends) > 1 else (str(at), base)
        bars.append(Bar("concurrency", low_name, high_name, low, high))
    return bars


def capacity_figure(level: EvaluatedLevel, judgement: Judgement) -> Figure | None:
    """Replicas and their monthly cost against the demand; None where the level has no rate of requests."""
    if not level.point.request_per_s:
        return None
    hour_usd = level.cost.usd_per_hour
    own = Own("replica", judgement.gpus, hour_usd or 0.0, levels=judgement.judged, level=level)
    one = level.point.request_per_s * TARGET_UTILIZATION / PEAK_FACTOR * 86400
    first = math.floor(math.log10(one / 10))
    demands = [f * 10.0**power for power in range(first, first + 4) for f in (1, 2, 5)]
    try:
        plans = [(d, plan(of_mean(d / 86400), [own]).rows[0]) for d in demands if one / 10 <= d <= one * 20]
    except InputError:
        return None
    known = [(d, row) for d, row in plans if row.working is not None]
    if not known:
        return None
    title = f"One replica serves about {_short(one)} requests a day, with peaks of {PEAK_FACTOR:g} times the mean"
    points = tuple(Point(d, float(row.working or 0)) for d, row in known)
    chart = level_chart(
        [Series("replicas", points)],
        title=title,
        x_label="requests a day",
        y_label="replicas for the peak",
        show_x=_short,
        frame=_FRAME,
    )
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
        for d, r in known
    ]
    note = (
        f"Assumed: at most {level.point.level} requests in flight per replica, "
        f"{whole_percent(TARGET_UTILIZATION)} target utilization at the peak, peaks of {PEAK_FACTOR:g} times the mean, "
        "replicas like this machine. The table includes one spare replica and pays for all 730 hours of a month. For "
        "other demand: benchsuite plan."
    )
    return Figure(title, chart, head, rows, note)


def _short(value: float) -> str:
    """1,500; 48.4 M; 1.2 bn."""
    for size, word in ((1e12, " tn"), (1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if value >= size * 0.9995:
            return f"{number(value / size).removesuffix('.00').removesuffix('.0')}{word}"
    return number(value)
