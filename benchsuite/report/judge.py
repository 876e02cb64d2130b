"""From a run folder to its judgement: the one place where facts, SLO and price come together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchsuite.analysis.endpoints import Balance, EndpointPart, balance
from benchsuite.analysis.gpu import gpu_facts, gpu_use, point_energy
from benchsuite.analysis.metrics import summarise_for
from benchsuite.analysis.time_series import ServerSeries, level_windows, windows_of
from benchsuite.analysis.ttft_breakdown import server_use
from benchsuite.analysis.warnings import ClientVerdict, check_telemetry, judge_client, token_balance
from benchsuite.economics.cost import (
    HourPrice,
    hour_at,
    is_free,
    level_prices,
    owned_usd_per_hour,
    power_warnings,
    priced,
    total_usd_per_hour,
)
from benchsuite.economics.decision import chances, decide, judge_points, limits_of, with_level_warnings
from benchsuite.economics.fallback import FallbackUse, fallback_use, hours_with_bills
from benchsuite.economics.prices import preset
from benchsuite.errors import PointsError
from benchsuite.report.console import safe, say
from benchsuite.report.export import summary_json
from benchsuite.report.format import DASH, count, ms, number, percent, usd
from benchsuite.results import Decision, EvaluatedLevel, Finding, GpuUse, PointEnergy, PointSummary
from benchsuite.slo import Slo, parse_slo
from benchsuite.spec import PriceSpec
from benchsuite.spec_reading import parse_spec
from benchsuite.store.run_folder import Run

# said beside the energy, but not against the level: what the user gave, or did not measure
_ASIDES = ("energy_constant_power", "energy_idle_unknown", "energy_no_counter", "energy_window_short")
MAX_ERROR = 0.05  # a short window is held against the level when its energy may be off by more


@dataclass(frozen=True, slots=True)
class Power:
    """By concurrency level. hourly: the machine's price, for owned GPUs whose power was measured at every level."""

    energies: Mapping[int, PointEnergy | None]
    uses: Mapping[int, GpuUse | None]
    warnings: tuple[Finding, ...]
    hourly: dict[int, float] | None

    def warned(self, points: Sequence[PointSummary]) -> list[PointSummary]:
        """The points with what telemetry says against them."""
        return [
            dataclasses.replace(
                p, warnings=(*p.warnings, *(warn for warn in self.warnings if warn.concurrency == p.concurrency))
            )
            for p in points
        ]

    def beside(self, judged: Sequence[EvaluatedLevel]) -> list[EvaluatedLevel]:
        """The judged levels with their energy and their GPUs' use."""
        return [
            dataclasses.replace(j, energy=self.energies[j.point.concurrency], gpu=self.uses[j.point.concurrency])
            for j in judged
        ]


def own_points(points: Sequence[PointSummary], levels: Mapping[int, Balance]) -> list[PointSummary]:
    """The points with the requests and tokens of the own servers: what a paid API answered no GPU of ours did."""
    return [_own(point, levels[point.concurrency]) for point in points]


def _own(point: PointSummary, level: Balance) -> PointSummary:
    if not any(part.requests for part in level.of("fallback")):
        return point
    own = level.of("own")
    return dataclasses.replace(
        point,
        n_ok=sum(part.requests - part.failures for part in own),
        input_tokens=_sum([part.input_tokens for part in own]),
        output_tokens=_sum([part.output_tokens for part in own]),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    """Over the servers that know; None where none does."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def read_power(
    run: Run, rows: Any, points: Sequence[PointSummary], price: PriceSpec, assumed_power_kw: float | None
) -> Power:
    """rows, points (`own_points`): of the run's whole levels. assumed_power_kw: all GPUs', where none was measured."""
    facts = gpu_facts(run.manifest.get("telemetry"), assumed_power_kw, price.gpus)
    profile = (run.manifest.get("preflight") or {}).get("profile")
    series = None if run.server is None else ServerSeries(run.server)
    servers = {use.concurrency: use for use in server_use(series, windows_of(run.manifest, rows))}
    energies: dict[int, PointEnergy | None] = {}
    uses: dict[int, GpuUse | None] = {}
    warnings: list[Finding] = []
    for point in points:
        level = point.concurrency
        windows = level_windows(rows, level)
        energy = point_energy(run.gpu, windows, point, facts)
        energies[level] = None if energy is None else priced(energy, point, price)
        uses[level] = None if run.gpu is None else gpu_use(run.gpu, windows, facts.used, mig=facts.mig)
        warnings += [warn for warn in energy.codes if _counts(warn, energy)] if energy is not None else []
        warnings += check_telemetry(uses[level], servers.get(level), level, profile)
    hourly = None if price.owned is None else level_prices(price, energies)
    return Power(energies, uses, (*warnings, *power_warnings(price, energies)), hourly)


def _counts(warn: Finding, energy: PointEnergy) -> bool:
    if warn.code == "energy_window_short":
        return energy.error_ratio is not None and energy.error_ratio > MAX_ERROR
    return warn.code not in _ASIDES


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
    warnings: tuple[Finding, ...]

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
            Finding(
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
        walls_s[level] = None if point.duration_s is None else point.duration_s * point.repeat_count
        uses[level] = fallback_use(
            levels[level],
            usd_per_1m=None if None in prices else prices,
            usd_per_hour_total=hour_at(hour, level),
            duration_s=walls_s[level],
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


def _fallback_warnings(use: FallbackUse, prices: tuple[float | None, float | None]) -> list[Finding]:
    found = []
    if use.api_requests:
        found.append(
            Finding(
                "fallback_used",
                f"{use.api_requests:,} of {use.requests:,} requests ({percent(use.request_share)}) went to the API",
                "times and tokens/s are of both together: `benchsuite check RUN --balance` shows them apart",
                use.concurrency,
            )
        )
    if use.api_usd is None:
        found.append(
            Finding(
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


@dataclass(frozen=True, slots=True)
class Judgement:
    """A run's points, judged. clients: verdict by level.

    usd_per_hour: one GPU's, None if no price is known; where the hour has measured power in it (owned GPUs) that of the
    optimum, or of the nearest level, and hourly is the whole machine's by level. hourly too where a fallback to a paid
    API was used: then with its bill in it. balance: who answered.
    """

    run_id: str
    model: str | None
    slo: Slo
    usd_per_hour: float | None
    gpus: int
    judged: tuple[EvaluatedLevel, ...]
    decision: Decision
    clients: dict[int, ClientVerdict]
    hourly: dict[int, float] | None = None
    balance: RunBalance | None = None

    @property
    def usd_per_hour_total(self) -> HourPrice:
        """The whole machine's hour: one price, or by level; None too where an API's bill is not known."""
        if self.hourly is not None:
            return self.hourly
        if self.balance is not None and self.balance.bill_unknown:
            return None
        return None if self.usd_per_hour is None else total_usd_per_hour(self.usd_per_hour, self.gpus)

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        summary = summary_json(
            run_id=self.run_id,
            model=self.model,
            judged=self.judged,
            decision=self.decision,
            slo=self.slo,
            usd_per_hour=self.usd_per_hour,
            gpus=self.gpus,
        )
        for point in summary["points"]:
            verdict = self.clients.get(point["concurrency"])
            point["client"] = None if verdict is None else dataclasses.asdict(verdict)
            if self.balance is not None:
                point |= balance_json(self.balance, point["concurrency"])
        return summary


def unit_price(price: PriceSpec) -> float | None:
    """One GPU-hour in dollars: as given, the preset's, or of owned GPUs; None if not known yet. Raises PriceError."""
    if price.owned is not None:
        return owned_usd_per_hour(price)
    return price.usd_per_hour if price.preset is None else preset(price.preset).usd_per_hour


def judge_run(run: Run, *, slo: str | None = None, price: PriceSpec | None = None) -> Judgement:
    """Judge a run by its own SLO and price, or by others. Points that were cut short are left out, and said to be.

    Raises PointsError when no level ran to its end.
    """
    _refuse_without_whole_points(run)
    spec = parse_spec(run.manifest.spec, where=str(run.path))
    limits = spec.limits if slo is None else parse_slo(slo)
    price = price or spec.price
    usd_per_hour = unit_price(price)
    model = run.manifest.get("model") or spec.server.model
    rows = run.whole
    measured = summarise_for(rows, limits_of(limits), model=model, fixed_length=spec.workload.fixed_length)
    points = [point for point, _ in measured]
    clients = {point.concurrency: verdict for point in points if (verdict := _client(run, point)) is not None}
    levels = levels_by_endpoint(run, rows)
    points = [
        _with_client_warning(_with_server_count(run, p, levels[p.concurrency]), clients.get(p.concurrency))
        for p in points
    ]
    power = read_power(run, rows, own_points(points, levels), price, spec.telemetry.assumed_power_kw)
    total: HourPrice = None if usd_per_hour is None else total_usd_per_hour(usd_per_hour, price.gpus)
    hourly = power.hourly if price.owned is not None and usd_per_hour is None else None
    balance = read_balance(run, levels, points, hourly or total, price.gpus)
    total = balance.hour
    points = with_level_warnings(_with_cut_points(run, balance.warned(power.warned(points))), limits, total)
    by_level = dict(total) if isinstance(total, Mapping) else None
    found = chances([sums for _, sums in measured], free=is_free(total), hourly=by_level)
    judged = power.beside(judge_points(points, limits, total, found))
    decision = decide(judged, limits, found)
    if hourly is not None:
        usd_per_hour = hourly[_shown(decision)] / price.gpus
    return Judgement(
        run_id=run.manifest.run_id,
        model=model,
        slo=limits,
        usd_per_hour=usd_per_hour,
        gpus=price.gpus,
        judged=tuple(judged),
        decision=decision,
        clients=clients,
        hourly=by_level,
        balance=balance,
    )


def _shown(decision: Decision) -> int:
    """The level whose hour stands for the machine's."""
    level = decision.choice if decision.kind == "optimum" else decision.nearest
    assert level is not None
    return level.point.concurrency


def _refuse_without_whole_points(run: Run) -> None:
    if not any(point["status"] == "complete" for point in run.manifest.get("points", [])):
        raise PointsError(
            "no level of the run was measured to its end, so there is nothing to judge",
            where=str(run.path),
            given=f"a run that is {run.manifest.get('status')}, {run.table.num_rows} rows kept",
            hint="measure it again",
        )


def _with_cut_points(run: Run, points: list[PointSummary]) -> list[PointSummary]:
    """The highest level tells which others are missing, where the run was cut short."""
    planned = run.manifest.get("planned_points") or []
    whole = {point["point_id"] for point in run.manifest.get("points", []) if point["status"] == "complete"}
    cut = [point_id for point_id in planned if point_id not in whole]
    if not cut or not points:
        return points
    last = points[-1]
    warning = Finding(
        "run_cut_short",
        f"{len(cut)} of {len(planned)} points were not measured to their end and are not judged: {', '.join(cut[:6])}",
        "measure them again: the optimum may be among them",
        last.concurrency,
    )
    return [*points[:-1], dataclasses.replace(last, warnings=(*last.warnings, warning))]


def _entries(run: Run, point: PointSummary) -> list[dict[str, Any]]:
    """What the manifest says of the point's whole runs."""
    return [
        entry
        for entry in run.manifest.get("points", [])
        if entry.get("concurrency") == point.concurrency and entry["status"] == "complete"
    ]


def _with_server_count(run: Run, point: PointSummary, level: Balance) -> PointSummary:
    counts = [(entry.get("server") or {}).get("generated_tokens") for entry in _entries(run, point)]
    own = point
    if any(part.requests for part in level.of("fallback")):  # what the API answered the server did not count
        known = [part.output_tokens for part in level.of("own") if part.output_tokens is not None]
        own = dataclasses.replace(point, output_tokens=sum(known))
    warning = token_balance(own, counts)
    return point if warning is None else dataclasses.replace(point, warnings=(*point.warnings, warning))


def _client(run: Run, point: PointSummary) -> ClientVerdict | None:
    """The verdict on the client at the point's level; None where the manifest has none of its state (imported runs)."""
    states = [entry["client"] for entry in _entries(run, point) if entry.get("client")]
    if not states:
        return None
    rows = run.whole  # what got no answer has no kernel stamps, and an abandoned attempt is not judged
    answered = rows.filter(pc.equal(rows["status"], "ok"))
    kernel = "user" not in answered["stamp_source"].unique().to_pylist()
    return judge_client(states, point.itl_s.p50, kernel)


def _with_client_warning(point: PointSummary, verdict: ClientVerdict | None) -> PointSummary:
    warning = verdict.warning(point.concurrency) if verdict else None
    if warning is None:
        return point
    # the client's verdict says what the rows' own warning on merged reads says, and why
    others = tuple(warn for warn in point.warnings if warn.code != "merged_reads")
    return dataclasses.replace(point, warnings=(*others, warning))
