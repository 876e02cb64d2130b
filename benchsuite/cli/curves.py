"""What `plan` and `frontier` start from: judged curves, of run folders or of a table of points."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchsuite.manifest import RunManifest
from benchsuite.results import Decision, EvaluatedLevel
from benchsuite.slo import Slo

_ENERGY_PRICE = ("usd_per_kwh", "pue", "gco2_per_kwh")


@dataclass(frozen=True, slots=True)
class Curve:
    """One model's judged levels on one machine. run_walls_s: each repeat's duration at the chosen level.

    usd_per_hour_total: the machine's; hourly (economics.cost.HourPrice): the same, by level where the hour has measured
    power in it. facts: what must be alike for costs to be compared, as far as the run tells: workload, engine, its
    version, client. balance: who answered (report.balance.RunBalance), of run folders.
    """

    model: str
    source: str
    judged: tuple[EvaluatedLevel, ...]
    decision: Decision
    slo: Slo
    gpus: int
    usd_per_hour_total: float | None
    run_walls_s: tuple[float, ...] = ()
    hourly: Any = None
    facts: dict[str, str | None] | None = None
    balance: Any = None


@dataclass(frozen=True, slots=True)
class Price:
    """The flags: one GPU's price, or a preset's, and the number of GPUs; None: the run's own. prices: a price file.

    usd_per_kwh, pue, gco2_per_kwh: of measured energy, None: the run's own.
    """

    usd_per_hour: float | None
    preset: str | None
    gpus: int | None
    prices: Path | None = None
    usd_per_kwh: float | None = None
    pue: float | None = None
    gco2_per_kwh: float | None = None

    def unit(self) -> float | None:
        """One GPU-hour in dollars; None if no flag says so. Raises PriceError."""
        from benchsuite.cli.options import read_book
        from benchsuite.economics.cost import total_usd_per_hour
        from benchsuite.errors import PriceError

        if self.preset is not None and self.usd_per_hour is not None:
            raise PriceError("two prices", given="--usd-per-hour and --preset", expected="one of them")
        if self.preset is not None:
            return read_book(self.prices).gpu(self.preset).usd_per_hour
        if self.prices is not None:
            raise PriceError("a price file without a name", where="--preset", given="nothing", expected="a price of it")
        return None if self.usd_per_hour is None else total_usd_per_hour(self.usd_per_hour)

    def told(self) -> str:
        """Where one GPU's price is from, with its date, in words."""
        from benchsuite.cli.options import read_book
        from benchsuite.report.format import usd

        if self.preset is None:
            return "that of each run" if self.usd_per_hour is None else f"{usd(self.usd_per_hour)} a GPU-hour as given"
        found = read_book(self.prices).gpu(self.preset)
        return f"{usd(found.usd_per_hour)} a GPU-hour ({found.name}: {found.source}, {found.as_of})"


def read_curves(runs: Sequence[Path], points: Path | None, slo: str | None, price: Price) -> list[Curve]:
    """A curve per run folder, or per model of the table. Raises PointsError for both or none, SloError, PriceError."""
    from benchsuite.errors import PointsError

    if bool(runs) == (points is not None):
        raise PointsError(
            "nothing to start from, or too much", given=len(runs), expected="run folders, or --points FILE"
        )
    if points is not None:
        return _of_table(points, slo, price)
    folders = [folder.resolve() for folder in runs]
    if len(set(folders)) < len(folders):
        twice = next(str(runs[i]) for i, folder in enumerate(folders) if folder in folders[:i])
        raise PointsError("a run is named twice", given=twice, expected="each run folder once")
    return [_of_run(folder, slo, price) for folder in runs]


def only(curves: Sequence[Curve], model: str | None) -> Curve:
    """The curve of `model`; without a name the only one. Raises PointsError with the nearest name."""
    from benchsuite.errors import PointsError

    names = [curve.model for curve in curves]
    if model is None and len(curves) == 1:
        return curves[0]
    if model is not None and names.count(model) == 1:
        return curves[names.index(model)]
    close = difflib.get_close_matches(model or "", names, 1, cutoff=0.4)
    raise PointsError(
        "no one model is named" if model is None or model in names else "unknown model",
        where="--model",
        given=model,
        expected="one of " + ", ".join(dict.fromkeys(names)),
        hint=f"did you mean {close[0]!r}?" if close and model not in names else None,
    )


def _of_table(path: Path, slo: str | None, price: Price) -> list[Curve]:
    from benchsuite.analysis.metrics import parse_points
    from benchsuite.economics.cost import total_usd_per_hour
    from benchsuite.economics.decision import decide, judge_points, with_level_warnings
    from benchsuite.input_files import read_text
    from benchsuite.slo import PAPER_SLO, parse_slo

    limits, unit, gpus = parse_slo(PAPER_SLO if slo is None else slo), price.unit(), price.gpus or 1
    total = None if unit is None else total_usd_per_hour(unit, gpus)
    points = parse_points(read_text(path, "the points table"), where=str(path))
    judged = judge_points(with_level_warnings(points, limits, total), limits, total)
    curves = []
    for model in dict.fromkeys(j.point.model for j in judged):
        own = tuple(j for j in judged if j.point.model == model)
        curves.append(Curve(model or "-", str(path), own, decide(own, limits), limits, gpus, total, hourly=total))
    return curves


def _of_run(folder: Path, slo: str | None, price: Price) -> Curve:
    from benchsuite.report.judge import judge_run
    from benchsuite.spec_reading import parse_spec
    from benchsuite.store.run_folder import read_run

    run, unit = read_run(folder), price.unit()
    own = parse_spec(run.manifest["spec"], where=str(folder)).price
    if unit is not None:
        own = own.model_copy(update={"usd_per_hour": unit, "preset": None, "owned": None})
    if price.gpus is not None:
        own = own.model_copy(update={"gpus": price.gpus})
    own = _with_energy_price(own, price)
    found = judge_run(run, slo=slo, price=own)
    total = None if found.usd_per_hour is None else found.usd_per_hour * found.gpus
    walls_s = _run_walls_s(run, found.decision.choice) if found.decision.kind == "optimum" else ()
    return Curve(
        model=found.model or str(folder),
        source=str(folder),
        judged=found.judged,
        decision=found.decision,
        slo=found.slo,
        gpus=found.gpus,
        usd_per_hour_total=total,
        run_walls_s=walls_s,
        hourly=found.usd_per_hour_total,
        facts=_facts(run.manifest),
        balance=found.balance,
    )


def _with_energy_price(own: Any, price: Price) -> Any:
    """The run's price with the flags about energy, which count for its owned GPUs too."""
    told = {name: value for name in _ENERGY_PRICE if (value := getattr(price, name)) is not None}
    if own.owned is not None:
        mine = {"usd_per_kwh": "electricity_per_kwh", "pue": "pue"}
        owned = own.owned.model_copy(update={mine[name]: None for name in told if name in mine})
        own = own.model_copy(update={"owned": owned})
    return own.model_copy(update=told)


def _run_walls_s(run: Any, choice: EvaluatedLevel) -> tuple[float, ...]:
    from benchsuite.analysis.requests import as_table, repeats_of, rows_of

    rows = rows_of(as_table(run.whole), choice.point.concurrency)
    return tuple(one.duration_s for one in repeats_of(rows))


def _facts(manifest: RunManifest) -> dict[str, str | None]:
    named = {
        "workload": manifest.workload.content_hash,
        "server": manifest.server_probe.profile,
        "server version": manifest.server_probe.server.get("version"),
        "client host": manifest.host.platform,
    }
    return {key: None if value is None else str(value) for key, value in named.items()}


def unlike(curves: Sequence[Curve]) -> list[str]:
    """What differs between curves whose costs are compared, in words. Raises PointsError if the cost is of other work.

    One set of requests and one SLO are demanded; another engine, version or host is a difference to be told.
    """
    from benchsuite.errors import PointsError
    from benchsuite.report.format import set_size

    by_slo = {str(curve.slo): curve.source for curve in curves}
    if len(by_slo) > 1:
        raise PointsError(
            "the runs have different SLOs",
            where="slo",
            given="; ".join(f"{slo} ({source})" for slo, source in by_slo.items()),
            expected="one for all: --slo",
        )
    sizes: dict[int | None, str] = {}
    for curve in curves:
        if curve.decision.kind == "optimum":
            point = curve.decision.choice.point
            size = set_size(curve.decision.choice) or round(point.n_ok / point.repeat_count)
            sizes.setdefault(size, curve.model)
    facts = [(curve, curve.facts) for curve in curves if curve.facts is not None]
    workloads = {known["workload"]: curve.source for curve, known in facts if known["workload"]}
    if len(sizes) > 1 or len(workloads) > 1:
        told = [f"{size:,} requests ({model})" for size, model in sizes.items() if size is not None]
        raise PointsError(
            "the models ran different sets of requests, so a run's cost does not compare",
            where="workload" if len(workloads) > 1 else "requests",
            given=", ".join(told if len(workloads) <= 1 else workloads.values()),
            expected="one set for all",
        )
    said = []
    for key in ("server", "server version", "client host"):
        values = {known[key] or "unknown": curve.source for curve, known in facts}
        if len(values) > 1:
            told = [f"{value} ({source})" for value, source in values.items()]
            said.append(f"the runs differ in {key}: {', '.join(told)}; models are compared with that, not alone")
    return said
