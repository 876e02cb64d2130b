"""How cost and speed scale with users, for people: a table and sentences; and the same of a run folder."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from benchsuite.analysis.metrics import summarise_points
from benchsuite.economics.scaling import Scaling
from benchsuite.economics.slo_price import SloPrice, SloStep
from benchsuite.report.console import safe, say
from benchsuite.report.words import DASH, number, usd
from benchsuite.results import Estimate, PointSummary
from benchsuite.store import Run


def points_by_repeat(run: Run, model: str | None) -> list[list[PointSummary]]:
    """The points of each repeat by itself, of the points that ran to their end; [] where there is one repeat."""
    rows = run.whole
    repeats = sorted(pc.unique(rows["repeat"]).to_pylist())
    if len(repeats) < 2:
        return []
    return [
        summarise_points(rows.filter(pc.equal(rows["repeat"], pa.scalar(repeat, rows["repeat"].type))), model=model)
        for repeat in repeats
    ]


def print_scaling(found: Scaling, console: Console | None = None) -> None:
    """Print the levels, the three principles, the boundary and the price of the SLO."""
    console = console or Console()
    console.print()
    say(console, f"{found.model or DASH}    SLO: {found.slo}", style="bold")
    console.print(_levels(found, console))
    for text in scaling_sentences(found):
        say(console, text, indent=2)
    for price in found.prices:
        if price.scan and price.limit == _first_to_break(found):
            console.print(_scan(price, console))


def scaling_sentences(found: Scaling) -> list[str]:
    """What the levels say, a sentence each, without full stops."""
    said = [f"average cost falls in {found.steps_cheaper} of {found.steps} steps"] if found.steps else []
    if found.elasticity_slope is not None:
        said.append(_returns(found.elasticity_slope))
    said.append(_zone(found))
    if found.usl is not None:
        said.append(_law(found))
    said += [_limit(one.limit, one.users, one.note) for one in found.limits]
    if found.boundary_saving is not None and found.optimum is not None:
        more = "less" if found.boundary_saving >= 0 else "more"
        said.append(
            f"at that boundary the set of {found.optimum} users would cost {_whole(abs(found.boundary_saving))} {more}"
        )
    return said + [text for price in found.prices if (text := price_sentence(price, found.optimum))]


def price_sentence(price: SloPrice, optimum: int | None) -> str:
    """'throughput > 20 tok/s: 0.69 % looser saves 32 % (32 users); 30 % tighter costs 67 % more (8 users)'."""
    parts = []
    if optimum is None:
        step = next((s for s in price.steps if s.looser > 0 and s.concurrency is not None), None)
        if step is not None:
            parts.append(f"{_share(step.looser)} looser and {step.concurrency} users meet the SLO")
    if price.saving is not None:
        parts.append(
            f"{_share(price.saving.looser)} looser saves {_cost(price.saving)} ({price.saving.concurrency} users)"
        )
    if optimum is not None and price.loss is not None:
        lost = price.loss
        more = (
            "no level is left"
            if lost.concurrency is None
            else f"it costs {_cost(lost)} more ({lost.concurrency} users)"
        )
        parts.append(f"{_share(lost.looser)} tighter and {more}")
    return f"{price.limit}: {'; '.join(parts)}" if parts else ""


def _cost(step: SloStep) -> str:
    return DASH if step.cost_change is None else _whole(abs(step.cost_change))


def _whole(ratio: float) -> str:
    return f"{100 * ratio:.0f} %"


def _share(change: float) -> str:
    return f"{number(abs(change) * 100, 2)} %"


def _returns(slope: Estimate) -> str:
    assert slope.value is not None
    assert slope.low is not None
    assert slope.high is not None
    trend = "returns diminish" if slope.high < 0 else "returns grow" if slope.low > 0 else "no sure trend of returns"
    interval = f"{slope.low:.2f} to {slope.high:.2f}, {slope.method}"
    return f"{trend}: elasticity changes by {slope.value:.2f} per ln N ({interval})"


def _zone(found: Scaling) -> str:
    zone = found.zone
    if zone is None:
        return "zone of best cost: none, no level surely meets the SLO"
    span = str(zone.lowest) if zone.lowest == zone.highest else f"{zone.lowest} to {zone.highest}"
    text = f"zone of best cost: {span} users, within {_whole(zone.tolerance)} of the least $/1M that meets the SLO"
    return (
        text
        if zone.optimum_inside
        else text + f"; {found.optimum} costs less per run, but by shorter answers or not surely within the SLO"
    )


def _law(found: Scaling) -> str:
    usl = found.usl
    assert usl is not None
    peak = "no peak in range"
    if usl.n_max is not None:
        beyond = " (beyond the levels, extrapolated)" if usl.n_max > found.levels[-1].concurrency else ""
        peak = f"peak at {usl.n_max:.0f} users{beyond}"
    worst = max(usl.residuals, key=abs)
    label = "" if found.knee is None else f"; knee {found.knee}, a label"
    return (
        f"scaling law: {number(usl.rate_tok_s)} tok/s for one user, contention {_small(usl.contention)}, "
        f"coherency {_small(usl.coherency)}, {peak}; off by {_whole(abs(worst))} at most{label}"
    )


def _small(parameter: float) -> str:
    return "0" if parameter < 1e-9 else f"{parameter:.2g}"


def _limit(limit: str, users: Estimate | None, note: str) -> str:
    if users is None:
        return f"{limit}: {note}"
    ends = f"{number(users.low)} to {number(users.high)}, " if users.low is not None or users.high is not None else ""
    return f"{limit} holds up to {number(users.value)} users, interpolated ({ends}{users.method})"


def _first_to_break(found: Scaling) -> str | None:
    known = [(one.users.value, one.limit) for one in found.limits if one.users and one.users.value is not None]
    return min(known)[1] if known else None


def _levels(found: Scaling, console: Console) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for head in (
        "users",
        "output\ntok/s",
        "$/1M\noutput",
        "saved per\nuser more",
        "elasticity",
        "SLO\nmet",
        "in\nzone",
    ):
        table.add_column(head, justify="right")
    for level in found.levels:
        cells = (
            str(level.concurrency),
            number(level.output_tok_s),
            usd(level.usd_per_1m_output_tokens),
            _signed_usd(level.step_saving_usd),
            DASH if level.elasticity is None else f"{level.elasticity:.2f}",
            "yes" if level.meets_slo else "no",
            "yes" if level.in_zone else "",
        )
        style = "bold green" if level.concurrency == found.optimum else "" if level.meets_slo else "dim"
        table.add_row(*(safe(console, cell) for cell in cells), style=style)
    return table


def _signed_usd(value: float | None) -> str:
    return f"-{usd(-value)}" if value is not None and value < 0 else usd(value)


def _scan(price: SloPrice, console: Console) -> Table:
    table = Table(
        title=f"cost against the limit {price.limit}", title_justify="left", box=None, pad_edge=False, padding=(0, 1)
    )
    for head in ("looser", "limit", "optimum", "$ per run", "boundary", "$ there"):
        table.add_column(head, justify="right")
    for one in price.scan:
        cells = (
            f"{one.looser:+.0%}" if one.looser else "today",
            number(one.value, 4),
            DASH if one.concurrency is None else str(one.concurrency),
            usd(one.cost_usd),
            number(one.boundary_users),
            usd(one.boundary_cost_usd),
        )
        table.add_row(*(safe(console, cell) for cell in cells))
    return table
