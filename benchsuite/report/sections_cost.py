"""What the decision's cost hangs on, and how many replicas a demand needs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchsuite.economics.capacity import PEAK_FACTOR, of_mean
from benchsuite.economics.gpu_hour import Reserved, Terms
from benchsuite.economics.plan import Own, plan
from benchsuite.economics.plan_file import TARGET_UTILIZATION
from benchsuite.economics.sensitivity import Range, ranges_about, tornado
from benchsuite.errors import InputError
from benchsuite.report.charts import Frame, staircase_chart
from benchsuite.report.charts_special import Bar, tornado_chart
from benchsuite.report.format import DASH, number, usd
from benchsuite.report.sections_levels import Figure, whole_percent
from benchsuite.results import EvaluatedLevel
from benchsuite.spec import OwnedSpec

_FRAME = Frame(380, 300, 50, 14, 48, 46)
_NAMES = {"usd_per_hour": "price of the GPU-hour", "utilisation": "share of paid hours in use", "pue": "PUE"}


def sensitivity_figure(
    level: EvaluatedLevel,
    judged: Sequence[EvaluatedLevel],
    usd_per_hour: float,
    gpus: int,
    *,
    owned: OwnedSpec | None = None,
    alone: Sequence[Range] = (),
) -> Figure | None:
    """How far each input alone moves the cost of a million output tokens at `level`; None without a known rate.

    usd_per_hour: one GPU's. owned: what it was computed from, with the ranges `alone` or 25 % either way.
    """
    rate, base = level.point.output_tok_s, level.cost.usd_per_1m_output_tokens
    if not rate or not base or usd_per_hour <= 0:
        return None
    per_1m = gpus * 1e6 / 3600 / rate
    hour, ranges, told = _hour(usd_per_hour, owned, alone)
    bars = [
        Bar(_named(s.key), _end(s.key, s.low), _end(s.key, s.high), s.usd_at_low * per_1m, s.usd_at_high * per_1m)
        for s in tornado(hour, ranges)
    ]
    bars += _measured_bars(level, judged)
    bars = sorted(bars, key=lambda bar: -abs(bar.at_high - bar.at_low))
    bars = [bar for bar in bars if abs(bar.at_high - bar.at_low) > base * 1e-3][:8]
    title = f"the cost hangs most on the {bars[0].name}" if bars else "no input moves the cost"
    title = title[:1].upper() + title[1:]
    chart = tornado_chart(bars, base, title=title, x_label="USD per 1M output tokens", show=usd)
    rows = tuple((b.name, b.low_name, usd(b.at_low), b.high_name, usd(b.at_high)) for b in bars)
    note = f"One input at a time. {told} Measured spread and neighbouring levels as they are."
    return Figure(title, chart, ("input", "one end", "$ per 1M", "other end", "$ per 1M"), rows, note)


def _hour(usd_per_hour: float, owned: OwnedSpec | None, alone: Sequence[Range]) -> tuple[Terms, list[Range], str]:
    if owned is not None:
        told = "Ranges of the price's own file." if alone else "Assumed: each input 25 % either way."
        return owned, list(alone or ranges_about(owned)), told
    hour = Reserved(usd_per_hour=usd_per_hour, utilisation=1.0)
    ranges = [Range("usd_per_hour", usd_per_hour * 0.75, usd_per_hour * 1.25), Range("utilisation", 0.5, 1.0)]
    return hour, ranges, "Assumed: the price 25 % either way; paid for all hours, in use for all or half of them."


def _named(key: str) -> str:
    return _NAMES.get(key, key.replace("_", " "))


def _end(key: str, value: float) -> str:
    if key == "utilisation":
        return whole_percent(value)
    return usd(value) if key == "usd_per_hour" else number(value)


def _measured_bars(level: EvaluatedLevel, judged: Sequence[EvaluatedLevel]) -> list[Bar]:
    bars, point = [], level.point
    found = level.intervals.get("usd_per_1m_output_tokens")
    if found is not None and found.low is not None and found.high is not None:
        bars.append(Bar("speed, 95 % interval", "fast", "slow", found.low, found.high))
    ordered = sorted(judged, key=lambda j: j.point.concurrency)
    i = next(k for k, j in enumerate(ordered) if j.point.concurrency == point.concurrency)
    around = [ordered[k] for k in (i - 1, i + 1) if 0 <= k < len(ordered)]
    ends = [(j, j.cost.usd_per_1m_output_tokens) for j in around]
    known = [(f"{j.point.concurrency}{'' if j.meets_slo else ' (misses)'}", cost) for j, cost in ends if cost]
    if known:
        (low_name, low), (high_name, high) = known[0], known[-1]
        if len(known) == 1:
            high_name, high = f"{point.concurrency}", level.cost.usd_per_1m_output_tokens or high
        bars.append(Bar("concurrency", low_name, high_name, low, high))
    return bars


def capacity_figure(level: EvaluatedLevel, judged: Sequence[EvaluatedLevel], gpus: int) -> Figure | None:
    """Replicas and their monthly cost against the demand; None where the level has no rate of requests."""
    if not level.point.request_per_s:
        return None
    hour_usd = level.cost.usd_per_hour
    own = Own("replica", gpus, hour_usd or 0.0, levels=tuple(judged), level=level)
    one = level.point.request_per_s * TARGET_UTILIZATION / PEAK_FACTOR * 86400
    steps = [one * 10 ** (k / 24) for k in range(-24, 31)]
    try:
        rows = [(d, plan(of_mean(d / 86400), [own]).rows[0]) for d in steps]
    except InputError:
        return None
    known = [(d, row) for d, row in rows if row.working is not None]
    if not known:
        return None
    title = f"One replica carries about {_short(one)} requests a day, with peaks {PEAK_FACTOR:g} times the mean"
    chart = staircase_chart(
        "replicas that carry the peak",
        [(d, float(r.working or 0)) for d, r in known],
        every=4,
        title=title,
        x_label="requests a day",
        y_label="replicas",
        show_x=_short,
        show_y=lambda v: f"{v:g}",
        frame=_FRAME,
    )
    head = ("requests a day", "carry the peak", "with one spare", "GPUs", "$ a month", "$ per 1M output", "mean load")
    table = tuple(
        (
            _short(d),
            str(r.working),
            str(r.replicas),
            str(r.gpus),
            usd(r.usd_per_month if hour_usd else None),
            usd(r.usd_per_1m_output_tokens if hour_usd else None),
            DASH if r.utilization is None else whole_percent(r.utilization),
        )
        for d, r in known[::6]
    )
    note = (
        f"Assumed: at most {level.point.concurrency} in flight on a replica, {whole_percent(TARGET_UTILIZATION)} of "
        f"its rate used at the peak, peaks {PEAK_FACTOR:g} times the mean, replicas like this machine. In the table "
        "one spare replica and all 730 hours of the month are paid for. `benchsuite plan` takes your own demand."
    )
    return Figure(title, chart, head, table, note)


def _short(value: float) -> str:
    """1,500; 48.4 M; 1.2 bn."""
    for size, word in ((1e12, " tn"), (1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if value >= size * 0.9995:
            return f"{number(value / size).removesuffix('.00').removesuffix('.0')}{word}"
    return number(value)
