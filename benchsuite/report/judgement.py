"""From a run folder to its judgement: the one place where facts, SLO and price come together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from benchsuite.analysis.balance import Balance
from benchsuite.analysis.client_checks import ClientVerdict, judge_client, token_balance
from benchsuite.analysis.metrics import summarise_for
from benchsuite.economics.chances import chances
from benchsuite.economics.cost import HourPrice, is_free, total_usd_per_hour
from benchsuite.economics.fragility import with_level_warnings
from benchsuite.economics.optimum import decide, judge_points, limits_of
from benchsuite.economics.power import owned_usd_per_hour
from benchsuite.economics.prices import preset
from benchsuite.errors import PointsError
from benchsuite.report.balance import RunBalance, balance_json, levels_by_endpoint, read_balance
from benchsuite.report.export import summary_json
from benchsuite.report.power import own_points, read_power
from benchsuite.results import Decision, Judged, PointSummary, Warn
from benchsuite.slo import Slo, parse_slo
from benchsuite.spec import PriceSpec, parse_spec
from benchsuite.store import Run


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
    judged: tuple[Judged, ...]
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
    spec = parse_spec(run.said("spec"), where=str(run.path))
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
    power = read_power(run, rows, own_points(points, levels), price, spec.telemetry.constant_kw)
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
        run_id=run.said("run_id"),
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
    warning = Warn(
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
    return judge_client(states, point.chunk_gap_s.p50, kernel)


def _with_client_warning(point: PointSummary, verdict: ClientVerdict | None) -> PointSummary:
    warning = verdict.warning(point.concurrency) if verdict else None
    if warning is None:
        return point
    # the client's verdict says what the rows' own warning on merged reads says, and why
    others = tuple(warn for warn in point.warnings if warn.code != "merged_reads")
    return dataclasses.replace(point, warnings=(*others, warning))
