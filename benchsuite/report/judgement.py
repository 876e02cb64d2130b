"""From a run folder to its judgement: the one place where facts, SLO and price come together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchsuite.analysis.metrics import summarise_points
from benchsuite.economics.cost import total_usd_per_hour
from benchsuite.economics.optimum import decide, judge_points
from benchsuite.economics.prices import preset
from benchsuite.report.export import summary_json
from benchsuite.results import Decision, Judged
from benchsuite.slo import Slo, parse_slo
from benchsuite.spec import PriceSpec, parse_spec
from benchsuite.store import Run


@dataclass(frozen=True, slots=True)
class Judgement:
    """A run's points, judged. usd_per_hour: one GPU's, None if no price is known."""

    run_id: str
    model: str | None
    slo: Slo
    usd_per_hour: float | None
    gpus: int
    judged: tuple[Judged, ...]
    decision: Decision

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        return summary_json(
            run_id=self.run_id,
            model=self.model,
            judged=self.judged,
            decision=self.decision,
            slo=self.slo,
            usd_per_hour=self.usd_per_hour,
            gpus=self.gpus,
        )


def unit_price(price: PriceSpec) -> float | None:
    """One GPU-hour in dollars: as given, or the preset's; None if neither. Raises PriceError."""
    return price.usd_per_hour if price.preset is None else preset(price.preset).usd_per_hour


def judge_run(run: Run, *, slo: str | None = None, price: PriceSpec | None = None) -> Judgement:
    """Judge a run by its own SLO and price, or by others. Points that were cut short are left out."""
    spec = parse_spec(run.manifest["spec"], where=str(run.path))
    limits = parse_slo(slo) if slo else spec.limits
    price = price or spec.price
    usd_per_hour = unit_price(price)
    model = run.manifest.get("model") or spec.server.model
    points = summarise_points(whole_points(run), model=model, fixed_length=spec.workload.fixed_length)
    total = None if usd_per_hour is None else total_usd_per_hour(usd_per_hour, price.gpus)
    judged = judge_points(points, limits, total)
    return Judgement(
        run_id=run.manifest["run_id"],
        model=model,
        slo=limits,
        usd_per_hour=usd_per_hour,
        gpus=price.gpus,
        judged=tuple(judged),
        decision=decide(judged, limits),
    )


def whole_points(run: Run) -> Any:
    """The rows of the points that ran to their end: one with a hole in it has no wall time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = [point["point_id"] for point in run.manifest.get("points", []) if point["status"] == "complete"]
    return run.table.filter(pc.is_in(run.table["point_id"], value_set=pa.array(whole, pa.string())))
