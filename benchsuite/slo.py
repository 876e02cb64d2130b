"""Service level objectives as values: `ttft_p95<1s,output_throughput>500` becomes a tuple of limits.

    SLO    = limit { ("," | ";" | " ") limit } [ "; goodput:" limit { ... } ]
    limit  = name op number [unit]          name = metric [ "_" statistic ], or statistic "_" metric
    op     = "<" | "<=" | ">" | ">=" | "=" | ":"

What metrics there are, with their units, statistics and directions, stands in metrics.py. A latency without a statistic
means its mean; behind `goodput:` it is a limit that each request has to keep. vLLM's and SGLang's `ttft:500 tpot:50` is
in milliseconds.
"""

from __future__ import annotations

import contextlib
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from benchsuite.errors import SloError, did_you_mean
from benchsuite.limits import most
from benchsuite.metrics import LATENCIES, METRICS, Metric, Statistic, find, names

Op = Literal["<", "<=", ">", ">="]
_HOLDS: dict[Op, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_PER_S = {"s": 1.0, "ms": 1e3, "us": 1e6}  # divided by: 50000us is 0.05 s to the last bit
_UNITS = {
    "s": tuple(_PER_S),
    "tok/s": ("", "/s", "tok/s", "tokens/s", "t/s", "tps"),
    "req/s": ("", "/s", "req/s", "requests/s", "rps"),
    "ratio": ("", "%"),
}
_EXAMPLE = {"s": "{}<1s", "tok/s": "{}>20", "req/s": "{}>5", "ratio": "{}<1% or {}<0.01"}
_LIMIT = re.compile(r"^\s*([a-z0-9_]+)\s*(<=|>=|<|>|=|:)\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z%/]*)\s*$", re.I)
# commas and semicolons part limits, and so does a space before the next limit's name, but not one before a unit
_PARTS = re.compile(r"[,;]|\s+(?=[a-z][a-z0-9_]*\s*(?:<=|>=|<|>|=|:))", re.I)
_GOODPUT = re.compile(r"[\s,;]*\bgoodput\s*:\s*(?=[a-z])", re.I)
_EXPECTED = "limits such as 'ttft_mean<1s', 'tpot_p99<=50ms', 'output_throughput>500', 'error_rate<1%'"
_MOST_TYPED = 60  # characters of a limit that are shown as they were typed
_EACH = "limits of each request such as 'ttft<1s,tpot<50ms' (or 'ttft:1000 tpot:50', in ms)"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit. metric: its key in METRICS. value: in the metric's unit. stat: None where it has none, and where the
    limit is one that each request has to keep. typed: as a person wrote it, if one did."""

    metric: str
    stat: str | None
    op: Op
    value: float
    typed: str = field(default="", compare=False)

    @property
    def statistic(self) -> Statistic:
        """What is limited."""
        return Statistic(METRICS[self.metric], self.stat)

    @property
    def name(self) -> str:
        """`ttft_mean`, `output_throughput`, ..."""
        return self.statistic.name

    @property
    def is_upper(self) -> bool:
        """Less is better."""
        return self.op in ("<", "<=")

    @property
    def share(self) -> float | None:
        """The share of requests that has to keep it: 0.99 of a p99, 1 of a max, 0.95 of attainment>=95%; else None."""
        if self.stat is None:
            metric = METRICS[self.metric]
            return self.value if metric.share and metric.better == "more" else None
        return None if self.stat == "mean" else 1.0 if self.stat == "max" else int(self.stat[1:]) / 100

    def holds(self, value: Any) -> Any:
        """True if `value` (a number or an array, in the limit's unit) keeps the limit; of NaN false."""
        return _HOLDS[self.op](value, self.value)

    def miss(self, value: float) -> float:
        """How far `value` is beyond the limit, relative to the limit; 0.0 when it is kept."""
        if self.holds(value):
            return 0.0
        return float("inf") if self.value == 0 else abs(value - self.value) / self.value

    def show(self, value: float) -> str:
        """`value` with its unit as tables show it, from 10 s on in seconds; never rounded across the limit."""
        metric = METRICS[self.metric]
        factor, unit_text = (100.0, "%") if metric.unit == "ratio" else (metric.scale, metric.shown or metric.unit)
        if metric.unit == "s" and abs(value) >= 10:
            factor, unit_text = 1.0, "s"
        digits = 4
        while digits < 17 and self.holds(float(f"{value:.{digits}g}")) != self.holds(value):
            digits += 1
        return f"{value * factor:.{digits}g} {unit_text}"

    def __str__(self) -> str:
        """The limit as it was typed, else in one form; either way as `parse_slo` reads it back, to the last digit."""
        if self.typed:
            return self.typed
        text = f"{self.name} {self.op} {self.show(self.value)}"
        with contextlib.suppress(SloError):  # a share above 1, beyond what can be asked for: `scaling.slo_price`
            if _parse_limit(text, "").value == self.value:
                return text
        unit = METRICS[self.metric].unit
        return f"{self.name} {self.op} {self.value!r}" + (f" {unit}" if unit != "ratio" else "")


# What nobody has to ask for: a level is out where one of these is proven exceeded, for what fails or answers nothing
# shortens a run and so makes it look cheap. Not proven either way, they bar nothing.
GUARDS = (Limit("error_rate", None, "<=", 0.01), Limit("empty_rate", None, "<=", 0.01))


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits that must all hold; none: everything is feasible. goodput: what a request has to keep to be good."""

    limits: tuple[Limit, ...]
    goodput: tuple[Limit, ...] = ()

    @property
    def effective(self) -> tuple[Limit, ...]:
        """The limits that a level is held against: the SLO's, then the GUARDS of what it does not limit itself."""
        limited = {limit.metric for limit in self.limits}
        return (*self.limits, *(guard for guard in GUARDS if guard.metric not in limited))

    def override(self, slo: str | None, goodput: str | None, *, where: str = "--slo") -> Slo:
        """This SLO with the limits of `slo` instead, and the per-request limits of `goodput`; None keeps its own.

        Raises SloError for what does not parse, and for a limit on goodput or attainment without per-request limits.
        """
        given = self if slo is None else parse_slo(slo, where=where)
        found = replace(given, goodput=parse_goodput(goodput) if goodput else given.goodput or self.goodput)
        lacking = [limit for limit in found.limits if limit.statistic.metric.needs_goodput]
        if lacking and not found.goodput:
            raise SloError(
                f"{lacking[0].name} needs per-request limits", where=where, given=str(lacking[0]), expected=_EACH,
                hint="--goodput 'ttft<1s,tpot<50ms', or the key goodput",
            )  # fmt: skip
        return found

    def __str__(self) -> str:
        text = ", ".join(str(limit) for limit in self.limits) or "none"
        return text if not self.goodput else f"{text}; goodput: {', '.join(str(limit) for limit in self.goodput)}"


PAPER_SLO = "ttft_mean<1s,output_throughput_per_user>20"
RATE_SLO = "ttft_mean<1s,tpot_mean<50ms"  # the same of an open loop, which has no users: 20 tokens/s of each request


def parse_slo(text: str, *, where: str = "--slo") -> Slo:
    """The limits written in `text`. Raises SloError naming the part that does not parse."""
    main, *rest = _GOODPUT.split(_bounded(text, where), maxsplit=1)
    limits = () if main.strip() == "none" else _limits(main, where, "the SLO", _EXPECTED)
    return Slo(limits, parse_goodput(rest[0], where=where) if rest else ())


def parse_goodput(text: str, *, where: str = "--goodput") -> tuple[Limit, ...]:
    """The limits for each request. Raises SloError naming the part that does not parse."""
    limits = _limits(_bounded(text, where), where, "the list of per-request limits", _EACH, each=True)
    for limit in limits:
        if limit.statistic.metric.each in (None, "chunks"):
            names = ", ".join(str(m.word) for m in LATENCIES if m.word and m.each != "chunks")
            what = f"{limit.name} is not a metric of a single request"
            raise SloError(what, where=where, given=str(limit), expected=f"limits on {names}")
    return limits


def _bounded(text: str, where: str) -> str:
    if len(text) > most("slo_chars"):  # the patterns above take the square of them
        raise SloError("the SLO is too long", where=where, expected=f"at most {most('slo_chars'):,} characters")
    return text


def _limits(text: str, where: str, what: str, expected: str, *, each: bool = False) -> tuple[Limit, ...]:
    parts = [part for part in _PARTS.split(text.strip()) if part.strip()]
    if not parts:
        raise SloError(f"{what} is empty", where=where, given=repr(text), expected=expected)
    limits = tuple(_parse_limit(part, where, each=each) for part in parts)
    names = [limit.name for limit in limits]
    for name in names:
        if names.count(name) > 1:
            raise SloError(f"{what} limits {name} twice", where=where, given=text, expected="one limit a metric")
    return limits


def _parse_limit(part: str, where: str, *, each: bool = False) -> Limit:
    def refuse(what: str, expected: str = _EACH if each else _EXPECTED) -> SloError:
        return SloError(what, where=where, given=repr(part.strip()), expected=expected)

    match = _LIMIT.match(part)
    if not match:
        raise refuse("an SLO limit does not parse")
    name, op, number, unit = match[1].lower(), match[2], match[3], match[4].lower()
    try:
        value = float(number)
    except ValueError:
        raise refuse(f"{number!r} is not a number") from None
    if not math.isfinite(value):
        raise refuse(f"{number!r} is not a finite number")
    known = find(name)
    if known is None:
        raise _unknown(name, refuse)
    metric, stat = known
    if not metric.limitable:
        raise refuse(f"an SLO cannot limit {name}")
    if each and metric.per_request:
        if name.endswith(f"_{stat}") or name.startswith(f"{stat}_"):
            raise refuse(f"a limit of each request has no {stat}", f"'{metric.word}{match[2]}...'")
        stat = None
    upper = metric.better == "less"
    example = _EXAMPLE[metric.unit].format(metric.word, metric.word).replace("<", "<" if upper else ">")
    if op not in ("=", ":") and (op[0] == "<") != upper:
        raise refuse(f"{metric.word} takes {'an upper' if upper else 'a lower'} limit", example)
    if metric.unit == "s" and op == ":":  # vLLM's and SGLang's --goodput form is in milliseconds
        unit = unit or "ms"
    if unit not in _UNITS[metric.unit]:
        what = f"{metric.word} needs a unit" if not unit else f"unit {unit!r} does not fit {metric.word}"
        raise refuse(what, "s, ms or us" if metric.unit == "s" else example)
    if metric.unit == "ratio":
        value = value / 100 if unit == "%" else value
        if not 0 <= value <= 1:
            raise refuse(f"{metric.word} is a ratio from 0 to 1, or a percentage", example)
        if (op, value) in ((">", 1), ("<", 0)):
            raise refuse(f"nothing can meet {metric.word} {op} {value:g}", example)
    elif metric.unit == "s":
        if value <= 0:
            raise refuse(f"a limit on {metric.word} is above 0")
        value /= _PER_S[unit]
    strict, typed = op in ("<", ">"), part.strip()
    sign: Op = ("<" if strict else "<=") if upper else (">" if strict else ">=")
    return Limit(metric.key, stat, sign, value, typed if len(typed) <= _MOST_TYPED else "")


def _unknown(name: str, refuse: Callable[..., SloError]) -> SloError:
    limitable: list[Metric] = [metric for metric in METRICS.values() if metric.limitable]
    head, _, tail = name.rpartition("_")
    known = find(head)
    if known is not None and not known.metric.per_request and tail in ("mean", "p50", "p90", "p95", "p99", "max"):
        return refuse(f"{head} is a metric of the whole level and has no {tail}", f"'{head}>...'")
    nearest = did_you_mean(name, names(limitable))
    return refuse(f"unknown metric {name!r}" + (f"; {nearest}" if nearest else ""))
