"""What the decision's cost hangs on, when an API would be cheaper, and how many replicas a demand needs. Pure but for
the bundled table of prices.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchsuite.economics.api_vs_own import (
    SelfHost,
    TokenMix,
    blended_usd_per_1m,
    break_even,
    capacity_tokens_per_month,
)
from benchsuite.economics.capacity import PEAK_FACTOR, per_day, plan
from benchsuite.economics.gpu_hour import Ownership, Reserved, natural_mode
from benchsuite.economics.prices import ApiPrice
from benchsuite.economics.sensitivity import Range, Uncertain, owned_hour, ranges_about, rented_hour, tornado
from benchsuite.errors import InputError
from benchsuite.report.charts import Frame, Line, Ruler, xy_chart
from benchsuite.report.charts_special import Bar, tornado_chart
from benchsuite.report.format import DASH, number, usd
from benchsuite.report.sections_levels import Figure, whole_percent
from benchsuite.results import EvaluatedLevel
from benchsuite.slo import Slo

U_MAX = 0.8  # share of a replica's measured rate to count on
_FRAME = Frame(380, 300, 50, 14, 48, 46)
_NAMES = {"usd_per_hour": "price of the GPU-hour", "utilisation": "share of paid hours in use", "pue": "PUE"}
_MOST_RULERS = 4


def sensitivity_figure(
    level: EvaluatedLevel,
    judged: Sequence[EvaluatedLevel],
    usd_per_hour: float,
    gpus: int,
    *,
    owned: Ownership | None = None,
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


def _hour(usd_per_hour: float, owned: Ownership | None, alone: Sequence[Range]) -> tuple[Uncertain, list[Range], str]:
    if owned is not None:
        hour = owned_hour(owned, natural_mode(owned))
        told = "Ranges of the price's own file." if alone else "Assumed: each input 25 % either way."
        return hour, list(alone or ranges_about(hour)), told
    hour = rented_hour(Reserved(usd_per_hour, 1.0))
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


def api_figure(level: EvaluatedLevel, usd_per_hour_total: float, apis: Sequence[ApiPrice]) -> Figure | None:
    """Own hosting's cost per million tokens against the demand, and what APIs ask; None where tokens are not known."""
    point = level.point
    if not point.total_tok_s or not point.input_tokens or not point.output_tokens or usd_per_hour_total <= 0:
        return None
    mix = TokenMix(point.input_tokens / (point.input_tokens + point.output_tokens))
    capacity = capacity_tokens_per_month(point.total_tok_s, U_MAX)
    host = SelfHost(usd_per_hour_total, capacity)
    priced = sorted(((blended_usd_per_1m(api, mix), api) for api in apis), key=lambda one: one[0])
    full = host.month_usd(capacity) / capacity * 1e6
    beaten = sum(per_1m > full for per_1m, _ in priced)
    title = f"A full replica makes tokens cheaper than {beaten} of {len(priced)} listed API prices"
    demands = sorted({capacity * 10 ** (k / 40) for k in range(-80, 33)} | {capacity * k for k in range(1, 6)})
    own = tuple((m, host.month_usd(m) / m * 1e6) for m in demands)
    chart = xy_chart(
        [Line("own hosting", own, told=6)],
        [Ruler(f"{api.name} {usd(per_1m)}", per_1m) for per_1m, api in _some(priced)],
        title=title,
        x_label="tokens a month, input and output",
        y_label="USD per 1M tokens",
        show_x=_short,
        show_y=_usd_tick,
        frame=_FRAME,
    )
    rows = tuple(_api_row(per_1m, api, host) for per_1m, api in priced)
    note = (
        f"Assumed: this run's mix ({whole_percent(mix.input_ratio)} input), a replica used to {whole_percent(U_MAX)} "
        f"of its rate of {number(point.total_tok_s)} tokens/s and paid for in all 730 hours, "
        f"{usd(usd_per_hour_total)} an hour. The APIs serve "
        "other models, and their answers are not compared; prices of the bundled table, not verified."
    )
    return Figure(title, chart, ("API", "$ per 1M of this mix", "own is cheaper", "as of", "source"), rows, note)


def _some(priced: Sequence[tuple[float, ApiPrice]]) -> list[tuple[float, ApiPrice]]:
    """A few of them, from the cheapest to the dearest."""
    n = min(_MOST_RULERS, len(priced))
    picked = sorted({round(k * (len(priced) - 1) / max(n - 1, 1)) for k in range(n)})
    return [priced[i] for i in picked]


def _api_row(per_1m: float, api: ApiPrice, host: SelfHost) -> tuple[str, ...]:
    found = break_even(per_1m, host)
    said = "never" if not found.intervals else f"from {_short(found.intervals[0].low)} tokens a month"
    return api.name, usd(per_1m), said, api.as_of or DASH, api.source


def capacity_figure(level: EvaluatedLevel, judged: Sequence[EvaluatedLevel], slo: Slo, gpus: int) -> Figure | None:
    """Replicas and their monthly cost against the demand; None where the level has no rate of requests."""
    rate = level.point.request_per_s
    if not rate:
        return None
    one = _most_per_day(level, judged, slo, rate)
    if one is None:
        return None
    steps = [one * 10 ** (k / 24) for k in range(-24, 31)]
    try:
        plans = [(d, plan(level, judged, per_day(d), slo, gpus_per_replica=gpus)) for d in steps]
    except InputError:
        return None
    title = f"One replica carries {_short(one)} requests a day, with peaks {PEAK_FACTOR:g} times the mean"
    chart = xy_chart(
        [Line("replicas that carry the peak", tuple((d, float(p.working)) for d, p in plans), told=4, step=True)],
        [],
        title=title,
        x_label="requests a day",
        y_label="replicas",
        show_x=_short,
        show_y=lambda v: f"{v:g}",
        frame=_FRAME,
    )
    head = ("requests a day", "carry the peak", "with one spare", "GPUs", "$ a month", "$ per 1M output", "mean load")
    rows = tuple(
        (
            _short(d),
            str(p.working),
            str(p.replicas),
            str(p.gpus),
            usd(p.usd_per_month),
            usd(p.usd_per_1m_output_tokens),
            whole_percent(p.mean_load_ratio),
        )
        for d, p in plans[::6]
    )
    note = (
        f"Assumed: {level.point.concurrency} users a replica at {number(rate)} requests/s, 80 % of that counted on, "
        f"peaks {PEAK_FACTOR:g} times the mean, waits by Erlang-C within the SLO, replicas like this machine. In the "
        "table one spare replica and all 730 hours of the month are paid for. `benchsuite plan` takes your own demand."
    )
    return Figure(title, chart, head, rows, note)


def _most_per_day(level: EvaluatedLevel, judged: Sequence[EvaluatedLevel], slo: Slo, rate: float) -> float | None:
    """The mean requests a day that one replica carries, waits included; None if it cannot carry any."""
    low, high = 0.0, rate * 86400
    for _ in range(24):
        middle = (low + high) / 2
        if plan(level, judged, per_day(middle), slo).working == 1:
            low = middle
        else:
            high = middle
    return low or None


def _usd_tick(value: float) -> str:
    return f"${value:,.10g}"


def _short(value: float) -> str:
    """1,500; 48.4 M; 1.2 bn."""
    for size, word in ((1e12, " tn"), (1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if value >= size * 0.9995:
            return f"{number(value / size).removesuffix('.00').removesuffix('.0')}{word}"
    return number(value)
