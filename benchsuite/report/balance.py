"""Who answered, for people: the requests of each level by endpoint, and what the fallback took and cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchsuite.analysis.balance import Balance, EndpointPart, balance
from benchsuite.economics.cost import HourPrice, hour_at
from benchsuite.economics.fallback import FallbackUse, fallback_use, hours_with_bills
from benchsuite.report.console import safe, say
from benchsuite.report.words import DASH, count, ms, number, percent, usd
from benchsuite.results import PointSummary, Warn
from benchsuite.store import Run

BEHIND_ONE_URL = (
    "one base URL: if a load balancer is behind it, which server answered is not visible here; "
    "each server's own metrics tell, or give every server with its own --base-url"
)


@dataclass(frozen=True, slots=True)
class RunBalance:
    """By concurrency level. uses: empty without a fallback. hour: the machine's price with the API's bill spread in."""

    levels: Mapping[int, Balance]
    uses: Mapping[int, FallbackUse]
    hour: HourPrice
    warnings: tuple[Warn, ...]

    @property
    def bill_unknown(self) -> bool:
        """True where the API answered and what it asks for that is not known."""
        return any(use.api_usd is None for use in self.uses.values())

    def warned(self, points: Sequence[PointSummary]) -> list[PointSummary]:
        """The points with what is to be said of their endpoints."""
        return [
            dataclasses.replace(
                p, warnings=(*p.warnings, *(warn for warn in self.warnings if warn.concurrency == p.concurrency))
            )
            for p in points
        ]


def levels_by_endpoint(run: Run, rows: Any) -> dict[int, Balance]:
    """rows: those to count, of the run's whole points or of all."""
    return {level.concurrency: level for level in balance(rows, run.manifest.get("endpoints") or [])}


def read_balance(
    run: Run, levels: Mapping[int, Balance], points: Sequence[PointSummary], hour: HourPrice, gpus: int
) -> RunBalance:
    """points: of the same rows as `levels`. hour: the own machine's. gpus: that it is the price of."""
    warnings = [warn for level in levels.values() for warn in level.warnings]
    n_own = sum(one["role"] == "own" for one in run.manifest.get("endpoints") or [])
    if hour is not None and gpus < n_own and points:
        warnings.append(
            Warn(
                "gpus_fewer_than_endpoints",
                f"{gpus} GPU{'s are' if gpus > 1 else ' is'} paid for, and {n_own} servers answered",
                "--gpus (price.gpus) is the number of GPUs of all servers together",
                points[-1].concurrency,
            )
        )
    asked = run.manifest["spec"]["server"].get("fallback")
    if not asked:
        return RunBalance(levels, {}, hour, tuple(warnings))
    prices = (asked.get("usd_per_1m_input"), asked.get("usd_per_1m_output"))
    uses, walls_s = {}, {}
    for point in points:
        level = point.concurrency
        walls_s[level] = None if point.wall_s is None else point.wall_s * point.repeat_count
        uses[level] = fallback_use(
            levels[level],
            usd_per_1m=None if None in prices else prices,
            usd_per_hour_total=hour_at(hour, level),
            wall_s=walls_s[level],
            tries=_told(run, level, "fallback_tries"),
            skips=_told(run, level, "fallback_skips"),
        )
        warnings += _fallback_warnings(uses[level], prices)
    used = any(use.api_requests for use in uses.values())
    whole = hours_with_bills(hour, list(uses.values()), walls_s) if used else hour
    return RunBalance(levels, uses, whole, tuple(warnings))


def _told(run: Run, level: int, name: str) -> int | None:
    told: list[int | None] = [
        (entry.get("client") or {}).get(name)
        for entry in run.manifest.get("points", [])
        if entry.get("concurrency") == level and entry["status"] == "complete"
    ]
    known = [number for number in told if number is not None]
    return sum(known) if told and len(known) == len(told) else None


def _fallback_warnings(use: FallbackUse, prices: tuple[float | None, float | None]) -> list[Warn]:
    found = []
    if use.api_requests:
        found.append(
            Warn(
                "fallback_used",
                f"{use.api_requests:,} of {use.requests:,} requests ({percent(use.request_share)}) went to the API",
                "times and tokens/s are of both together: `benchsuite check RUN --balance` shows them apart",
                use.concurrency,
            )
        )
    if use.api_usd is None:
        found.append(
            Warn(
                "fallback_bill_unknown",
                "the API's bill is not known, so no cost is",
                "give --fallback-usd-per-1m-input and --fallback-usd-per-1m-output"
                if None in prices
                else "the API reports no usage for some answers: its invoice alone tells",
                use.concurrency,
            )
        )
    return found


def balance_lines(found: RunBalance) -> list[str]:
    """A line for several own servers, and one a level at which the API answered."""
    shares = [(level.concurrency, level.imbalance) for level in found.levels.values() if level.imbalance is not None]
    lines = []
    if shares:
        at, most = max(shares, key=lambda pair: pair[1])
        n = len(next(iter(found.levels.values())).of("own"))
        lines.append(f"{n} servers; the busiest got at most {most:.2f} times the mean of requests ({at} users)")
    lines += [
        f"{use.concurrency} users: the API took {percent(use.request_share)} of requests, "
        f"{percent(use.token_share)} of output tokens; {usd(use.api_usd)} beside {usd(use.own_usd)} of own "
        f"hours, {usd(use.usd_per_1m_output_tokens)} per 1M output together"
        for use in found.uses.values()
        if use.api_requests
    ]
    return lines


_HEADS = ("users", "endpoint", "requests", "share", "failed", "output\ntokens", "TTFT\nms", "TPOT\nms", "busy")
_COSTS = ("users", "re-\nfused", "un-\ntried", "share of\nrequests", "share of\ntokens", "API $", "own $",
          "$/1M out\ntogether", "$/1M out\nown")  # fmt: skip


def print_balance(model: str, found: RunBalance, console: Console | None = None) -> None:
    """Print the table by endpoint, the fallback's, and what is not visible."""
    console = console or Console()
    console.print()
    say(console, f"{model}: who answered", style="bold")
    rows = [_cells(part) for level in found.levels.values() for part in level.parts]
    console.print(_table(_HEADS, rows, console))
    own = {part.endpoint for level in found.levels.values() for part in level.of("own")}
    if len(own) == 1:
        say(console, BEHIND_ONE_URL, style="dim", indent=2)
    for level in found.levels.values():
        if level.imbalance is not None:
            say(console, f"{level.concurrency} users: imbalance {level.imbalance:.2f} (1 is even)", indent=2)
    if found.uses:
        say(console, f"{model}: the fallback", style="bold")
        console.print(_table(_COSTS, [_cost_cells(use) for use in found.uses.values()], console))


def _cells(part: EndpointPart) -> tuple[str, ...]:
    where = DASH if part.endpoint is None else part.endpoint.removeprefix("http://").removeprefix("https://")
    return (
        count(part.concurrency), where if part.role == "own" else f"API {where}", count(part.requests),
        percent(part.request_share), count(part.failures), count(part.output_tokens), ms(part.ttft_s), ms(part.tpot_s),
        percent(part.busy_share),
    )  # fmt: skip


def _cost_cells(use: FallbackUse) -> tuple[str, ...]:
    return (
        count(use.concurrency), count(use.tries), count(use.skips), percent(use.request_share),
        percent(use.token_share), number(use.api_usd), number(use.own_usd), number(use.usd_per_1m_output_tokens),
        number(use.own_usd_per_1m_output_tokens),
    )  # fmt: skip


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for head in heads:
        if head == "endpoint":
            table.add_column(head, overflow="fold", vertical="top")
        else:
            table.add_column(head, justify="right", no_wrap=True, vertical="top")
    for row in rows:
        table.add_row(*(Text(safe(console, cell)) for cell in row))
    return table


def balance_json(found: RunBalance, level: int) -> dict[str, Any]:
    """A level's `endpoints`, `imbalance` and `fallback` for summary.json; null where the run does not say."""
    at, use = found.levels.get(level), found.uses.get(level)
    named = at is not None and any(part.endpoint for part in at.parts)
    return {
        "endpoints": [dataclasses.asdict(part) for part in at.parts] if at is not None and named else None,
        "imbalance": None if at is None else at.imbalance,
        "fallback": None if use is None else dataclasses.asdict(use),
    }
