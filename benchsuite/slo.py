"""Service level objectives as values: `ttft_mean<1s,throughput>20` becomes a tuple of limits.

Metrics: ttft, ttfa, tpot, e2e, itl (latencies; itl is between chunks; statistic mean, p50 to p99, max; seconds inside),
throughput (v_paper, tokens/s), decode (token-weighted decode speed per user, tokens/s), output (system output
tokens/s), requests (requests/s) and error_rate (ratio). The form of vLLM and SGLang, `ttft:500 tpot:50` (milliseconds),
is read too, as a limit on the mean. Upper limits are for latencies and error_rate, lower limits for rates.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Literal

from benchsuite.errors import SloError

LATENCIES = ("ttft", "ttfa", "tpot", "e2e", "itl")
RATES = {"throughput": "tok/s", "decode": "tok/s", "output": "tok/s", "requests": "req/s"}
STATS = ("mean", "p50", "p90", "p95", "p99", "max")
Op = Literal["<", "<=", ">", ">="]

_UNITS_PER_S = {"s": 1.0, "ms": 1e3, "us": 1e6}  # divided by: 50000us is 0.05 s to the last bit
_RATE_UNITS = {
    "tok/s": ("", "/s", "tok/s", "tokens/s", "t/s", "tps"),
    "req/s": ("", "/s", "req/s", "requests/s", "rps"),
}
_ALIASES = {"e2el": "e2e", "latency": "e2e", "errors": "error_rate", "rps": "requests"}
_LIMIT = re.compile(r"^\s*([a-z0-9_]+)\s*(<=|>=|<|>|=|:)\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z%/]*)\s*$", re.I)
# commas and semicolons part limits, and so does a space before the next limit's name, but not one before a unit
_PARTS = re.compile(r"[,;]|\s+(?=[a-z][a-z0-9_]*\s*(?:<=|>=|<|>|=|:))", re.I)
_EXPECTED = "limits such as 'ttft_mean<1s', 'ttft_p99<=500ms', 'tpot_mean<50ms', 'throughput>20', 'error_rate<1%'"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit. value is in seconds for latencies, a ratio for error_rate, per second for rates."""

    metric: str
    stat: str | None
    op: Op
    value: float

    @property
    def name(self) -> str:
        """`ttft_mean`, `throughput`, ..."""
        return f"{self.metric}_{self.stat}" if self.stat else self.metric

    @property
    def unit(self) -> str:
        """The unit in which the limit is written: s, tok/s, req/s, or %."""
        if self.metric in LATENCIES:
            return "s"
        return RATES.get(self.metric, "%")

    def holds(self, value: float) -> bool:
        """True if `value` (same unit as the limit) keeps the limit."""
        match self.op:
            case "<":
                return value < self.value
            case "<=":
                return value <= self.value
            case ">":
                return value > self.value
            case ">=":
                return value >= self.value

    def miss(self, value: float) -> float:
        """How far `value` is beyond the limit, relative to the limit; 0.0 when it is kept."""
        if self.holds(value):
            return 0.0
        if self.value == 0:
            return float("inf")
        return abs(value - self.value) / self.value

    def show(self, value: float) -> str:
        """`value` in the limit's unit with its unit, for people; never rounded across the limit."""
        factor = 100 if self.unit == "%" else 1
        digits = 4
        while digits < 17 and self.holds(float(f"{value:.{digits}g}")) != self.holds(value):
            digits += 1
        return f"{value * factor:.{digits}g} {self.unit}"

    def __str__(self) -> str:
        """The limit as `parse_slo` reads it back, to the last digit."""
        text = f"{self.name} {self.op} {self.show(self.value)}"
        if _parse_limit(text, "").value == self.value:
            return text
        return f"{self.name} {self.op} {self.value!r}" + (f" {self.unit}" if self.unit != "%" else "")


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits that must all hold. Empty: everything is feasible."""

    limits: tuple[Limit, ...]

    def __str__(self) -> str:
        return ", ".join(str(limit) for limit in self.limits) or "none"


PAPER_SLO = "ttft_mean<1s,throughput>20"


def parse_slo(text: str, *, where: str = "--slo") -> Slo:
    """The limits written in `text`. Raises SloError naming the part that does not parse."""
    parts = [part for part in _PARTS.split(text.strip()) if part.strip()]
    if not parts:
        raise SloError("the SLO is empty", where=where, given=repr(text), expected=_EXPECTED)
    limits = tuple(_parse_limit(part, where) for part in parts)
    names = [limit.name for limit in limits]
    for name in names:
        if names.count(name) > 1:
            raise SloError(f"the SLO limits {name} twice", where=where, given=text, expected="one limit a metric")
    return Slo(limits)


def _parse_limit(part: str, where: str) -> Limit:
    def refuse(what: str, expected: str = _EXPECTED) -> SloError:
        return SloError(what, where=where, given=repr(part.strip()), expected=expected)

    found = _LIMIT.match(part)
    if not found:
        raise refuse("an SLO limit does not parse")
    name, op, number, unit = found[1].lower(), found[2], found[3], found[4].lower()
    try:
        value = float(number)
    except ValueError:
        raise refuse(f"{number!r} is not a number") from None
    if not math.isfinite(value):
        raise refuse(f"{number!r} is beyond all numbers")
    metric, stat = _split_name(name)
    if metric in LATENCIES:
        return _latency_limit(metric, stat, op, value, unit, refuse)
    if stat is not None:
        raise refuse(f"{metric} is a figure of the whole point and has no {stat}", f"'{metric}>...'")
    if metric == "error_rate":
        if op not in ("<", "<="):
            raise refuse("error_rate takes an upper limit", "error_rate<1%")
        value = value / 100 if unit == "%" else value
        if unit not in ("", "%") or not 0 <= value <= 1:
            raise refuse("error_rate is a ratio from 0 to 1, or a percentage", "error_rate<1% or error_rate<0.01")
        return Limit("error_rate", None, "<" if op == "<" else "<=", value)
    if metric in RATES:
        if op not in (">", ">="):
            raise refuse(f"{metric} takes a lower limit", f"{metric}>20")
        if unit not in _RATE_UNITS[RATES[metric]]:
            raise refuse(f"{metric} is per second; unit {unit!r} does not fit", f"{metric}>20")
        return Limit(metric, None, ">" if op == ">" else ">=", value)
    known = [f"{m}_{s}" for m in LATENCIES for s in STATS] + [*LATENCIES, *RATES, "error_rate"]
    close = difflib.get_close_matches(name, known, 1)
    raise refuse(f"unknown metric {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))


def _split_name(name: str) -> tuple[str, str | None]:
    name = _ALIASES.get(name, name)
    if "_" in name:
        head, tail = name.split("_", 1)
        head = _ALIASES.get(head, head)
        if tail in STATS and (head in LATENCIES or head in RATES):
            return head, tail
        tail = _ALIASES.get(tail, tail)
        if head in STATS and tail in LATENCIES:  # p99_ttft, as some peers write it
            return tail, head
    return name, None


def _latency_limit(metric: str, stat: str | None, op: str, value: float, unit: str, refuse: object) -> Limit:
    assert callable(refuse)
    if op in (">", ">="):
        raise refuse(f"{metric} takes an upper limit", f"{metric}_mean<1s")
    if op == ":":  # vLLM's and SGLang's --goodput form is in milliseconds
        unit = unit or "ms"
    if unit not in _UNITS_PER_S:
        raise refuse(f"{metric} needs a unit" if not unit else f"unknown unit {unit!r}", "s, ms or us")
    if value <= 0:
        raise refuse(f"a limit on {metric} is above 0")
    return Limit(metric, stat or "mean", "<" if op == "<" else "<=", value / _UNITS_PER_S[unit])
