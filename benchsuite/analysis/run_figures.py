"""A figure of each run of a level, by its name: what runs are compared by. Pure; docs/METHODS.md defines them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.distribution import describe
from benchsuite.analysis.per_request import PerRequest, per_request
from benchsuite.analysis.rows import Floats, Rows, as_table, levels, rows_of
from benchsuite.analysis.runs import OneRun, runs_of
from benchsuite.errors import InputError
from benchsuite.slo import LATENCIES, STATS

_RATES = ("throughput_paper_tok_s", "decode_tok_s", "output_tok_s", "request_per_s", "occupancy")
_LESS_IS_BETTER = ("wall_s", "cost_usd", "usd_per_1m_output_tokens")
NAMES = (*_LESS_IS_BETTER, *_RATES, *(f"{latency}_{stat}_s" for latency in LATENCIES for stat in STATS))
_SHORT = {
    "cost": "usd_per_1m_output_tokens", "wall": "wall_s", "throughput": "throughput_paper_tok_s",
    "decode": "decode_tok_s", "output": "output_tok_s", "requests": "request_per_s", "rps": "request_per_s",
}  # fmt: skip
_WORDS = {"itl": "gap", "e2el": "e2e", "latency": "e2e", "chunk": "gap"}
_TAILS = ("p95", "p99", "max")


@dataclass(frozen=True, slots=True)
class LevelRuns:
    """The runs of one level. usd_per_hour: the whole machine's, None if no price is known."""

    concurrency: int
    rows: Rows
    each: PerRequest
    runs: tuple[OneRun, ...]

    @property
    def repeats(self) -> tuple[int, ...]:
        """Which repeats there are, ascending."""
        return tuple(run.repeat for run in self.runs)


def level_runs(requests: Any) -> dict[int, LevelRuns]:
    """Every level's runs, by concurrency. requests: as for `summarise_points`."""
    table = as_table(requests)
    found = {}
    for level in levels(table):
        rows = rows_of(table, level)
        found[level] = LevelRuns(level, rows, per_request(rows), runs_of(rows))
    return found


def figure_name(text: str, *, where: str) -> str:
    """The name in NAMES that a person means: 'ttft_p95', 'ttft' (its mean), 'cost', 'output_tok_s', ...

    Raises InputError with the nearest name.
    """
    name = text.strip().lower()
    word, _, rest = name.removesuffix("_s").partition("_")
    word = _WORDS.get(word, word)
    for tried in (name, _SHORT.get(name, name), f"{word}_{rest}_s", f"{word}_mean_s"):
        if tried in NAMES and (tried != f"{word}_mean_s" or rest in ("", "mean")):
            return tried
    known = [*_SHORT, *(f"{latency}_{stat}" for latency in LATENCIES for stat in STATS), *NAMES]
    close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else None
    if word == "error":
        hint = "an error rate may be 0 and has no ratio: limit it with --slo 'error_rate<1%'"
    raise InputError("no such figure", where=where, given=text, expected="for example ttft_p95, tpot, cost", hint=hint)


def short_name(name: str) -> str:
    """How a person asks for a name of NAMES: 'cost', 'ttft_p95'."""
    return next((short for short, long in _SHORT.items() if long == name), name.removesuffix("_s"))


def more_is_better(name: str) -> bool:
    """True of rates, False of times and costs."""
    return name in _RATES


def is_tail(name: str) -> bool:
    """True of p95, p99 and max, which few requests decide."""
    return any(f"_{stat}_" in name for stat in _TAILS)


def by_run(level: LevelRuns, name: str, usd_per_hour: float | None = None) -> Floats:
    """(runs,) the figure of each run, ascending by repeat, in the unit of its name; NaN where it is not known.

    usd_per_hour: the whole machine's. Costs without a price are those at a dollar an hour: ratios do not change.
    """
    return np.array([_figure(level, run, name, usd_per_hour) for run in level.runs])


def _figure(level: LevelRuns, run: OneRun, name: str, usd_per_hour: float | None) -> float:
    rows, mine = level.rows, run.order
    if name.endswith("_s") and (parts := name.split("_"))[0] in LATENCIES:
        return _latency(level, mine, parts[0], parts[1])
    ok = mine[rows.ok[mine]]
    tokens = _sum(rows.output_tokens[ok])
    usd = (1.0 if usd_per_hour is None else usd_per_hour) * run.wall_s / 3600
    match name:
        case "wall_s":
            return run.wall_s
        case "cost_usd":
            return usd
        case "usd_per_1m_output_tokens":
            return _over(usd * 1e6, tokens)
        case "throughput_paper_tok_s":
            return _over(tokens, run.wall_s * level.concurrency)
        case "output_tok_s":
            return _over(tokens, run.wall_s)
        case "request_per_s":
            return _over(float(len(ok)), run.wall_s)
        case "occupancy":
            return _over(run.flight.integral_s, run.wall_s * level.concurrency)
        case "decode_tok_s":
            return _over(_sum(level.each.decode_tokens[mine]), _sum(level.each.decode_span_s[mine]))
    raise ValueError(f"no figure {name!r}")


def _latency(level: LevelRuns, mine: Any, latency: str, stat: str) -> float:
    if latency == "gap":
        chosen = np.zeros(len(level.rows.ok), dtype=np.bool_)
        chosen[mine] = level.rows.ok[mine]
        found = describe(level.rows.gaps_of(chosen), scale=1e-6)
    else:
        values: Floats = getattr(level.each, f"{latency}_s")
        found = describe(values[mine])
    value = found.stat(stat)
    return np.nan if value is None else value


def _sum(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else np.nan


def _over(above: float, below: float) -> float:
    return above / below if below > 0 else np.nan
