"""Runs in a notebook: pandas frames with documented columns, the table of levels, the decision, a sweep.

The same numbers as the command line's, from the same code. `import benchsuite` brings these names; pandas and the rest
are imported when the first is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from benchsuite.errors import InputError, PointsError, PriceError, RunError, did_you_mean
from benchsuite.metrics import CONFIDENCE, level_row
from benchsuite.records import DERIVED, GPU, LEVELS, REQUESTS, SCORES, SERVER, TABLES, UNJUDGED, as_text, unit_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from rich.console import Console

    from benchsuite.economics.matrix_decision import SettingsDecision
    from benchsuite.economics.memory import Fit
    from benchsuite.economics.plan import Plan
    from benchsuite.economics.prices import GpuHour, PriceBook
    from benchsuite.level import Level
    from benchsuite.load.find import FindRunner
    from benchsuite.matrix_spec import MatrixSpec
    from benchsuite.report.ab import AbResult
    from benchsuite.report.judge import Judgement, PriceOverride
    from benchsuite.results import Decision
    from benchsuite.spec import SweepSpec
    from benchsuite.store import run_folder
    from benchsuite.workload.dataset import Workload


@dataclass(frozen=True)
class Run:
    """A run folder in a notebook. Frames are made when they are first asked for, and kept.

    path: the folder. manifest: what ran, on what, when (docs/METHODS.md, The run folder).
    requests, gpu, server, scores: DataFrames; `benchsuite.columns("requests")` says what their columns mean.
    """

    stored: run_folder.Run

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.stored.path

    @property
    def manifest(self) -> dict[str, Any]:
        """manifest.json."""
        return self.stored.manifest.plain()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.manifest.get('status')}, {self.stored.table.num_rows} requests)"

    @cached_property
    def requests(self) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        from benchsuite.analysis.requests import as_table, at_level, in_window, levels, per_request, rows_of

        frame: pd.DataFrame = self.stored.table.to_pandas()
        table = as_table(self.stored.table)
        derived = {name: np.full(len(frame), np.nan) for name in DERIVED if name != "whole"}
        for one in levels(table):
            inside, each = at_level(table, one).to_numpy(), per_request(rows_of(table, one), one)
            for name, values in derived.items():
                values[inside] = each.get(name, np.nan)
        done = {(point.point_id, point.attempt) for point in self.stored.manifest.judged_points}
        attempts = frame["attempt"].fillna(0).astype(int)
        whole = [key in done for key in zip(frame["point_id"], attempts, strict=True)]
        judged = in_window(table).to_numpy() & np.array(whole, dtype=bool)
        frame = frame.assign(**derived, whole=pd.Series(judged, index=frame.index, dtype=bool))
        unknown = [name for name in frame.columns if name not in REQUESTS]
        frame = frame.reindex(columns=[*REQUESTS, *unknown])
        return frame

    @cached_property
    def gpu(self) -> pd.DataFrame:
        return self._samples(self.stored.gpu, "gpu")

    @cached_property
    def server(self) -> pd.DataFrame:
        return self._samples(self.stored.server, "server")

    @cached_property
    def scores(self) -> pd.DataFrame:
        from benchsuite.store.files import SCORE_SCHEMA

        stored = self.stored.scores
        frame: pd.DataFrame = (SCORE_SCHEMA.empty_table() if stored is None else stored.table).to_pandas()
        return frame

    def _samples(self, table: pa.Table | None, name: str) -> pd.DataFrame:
        """Each with the point that was being measured; no rows where nothing was sampled."""
        import pandas as pd

        from benchsuite.analysis.time_series import windows_of
        from benchsuite.store.files import SAMPLE_SCHEMAS

        frame: pd.DataFrame = (SAMPLE_SCHEMAS[name].empty_table() if table is None else table).to_pandas()
        missing = pd.Series(pd.NA, index=frame.index, dtype="Int64")
        frame = frame.assign(point_id=None, concurrency=missing, rate_per_s=missing.astype("Float64"))
        windows = {one.point_id: one.busy_s for one in windows_of(self.stored.manifest, self.stored.whole)}
        for point in self.stored.manifest.points:
            if point.started_s is not None and point.ended_s is not None:
                edges = (point.started_s, point.ended_s)
                if point.rate_per_s is not None and point.status == "complete":
                    edges = windows[point.point_id]
                inside = frame["at_s"].between(*edges)
                values = (point.point_id, point.concurrency, point.rate_per_s)
                for name, value in zip(("point_id", "concurrency", "rate_per_s"), values, strict=True):
                    frame.loc[inside, name] = value
        return frame


Run.requests.__doc__ = f"One row per request, ok or not. Missing is NaN or None. Columns:\n\n{as_text(REQUESTS)}\n"
Run.gpu.__doc__ = f"One row per GPU sample; empty if no GPU was sampled. Columns:\n\n{as_text(GPU)}\n"
Run.scores.__doc__ = f"One row per answer and scorer of judged points; may be empty. Columns:\n\n{as_text(SCORES)}\n"
Run.server.__doc__ = f"One row per sample of a server's metrics; may be empty. Columns:\n\n{as_text(SERVER)}\n"


def read_run(path: str | Path) -> Run:
    """The run in a folder: finished, cut short or still growing. Raises PointsError."""
    from benchsuite.store import run_folder

    return Run(run_folder.read_run(Path(path)))


def columns(table: str) -> pd.DataFrame:
    """What the columns of a table mean, and units: a row each. table: requests, gpu, server, scores or levels."""
    import pandas as pd

    if table not in TABLES:
        raise InputError("no such table", where="columns", given=table, expected=f"one of {', '.join(TABLES)}")
    rows = [(name, unit_of(name), words) for name, words in TABLES[table].items()]
    return pd.DataFrame(rows, columns=["column", "unit", "meaning"]).set_index("column")


class PriceFlags(TypedDict, total=False):
    """A price instead of the run's own: of one GPU-hour in dollars, or by name (bundled, or in `prices`, a file);
    GPUs that it is for; what measured energy costs and emits.
    """

    usd_per_hour: float | None
    preset: str | None
    prices: str | Path | None
    gpus: int | None
    usd_per_kwh: float | None
    pue: float | None
    gco2_per_kwh: float | None


class Judging(PriceFlags, total=False):
    """Another SLO, other limits of each request ("ttft<1s,tpot<50ms"), another price, in place of the run's own.

    capacity: of rates, a run of the same server in closed loop.
    """

    slo: str | None
    goodput: str | None
    capacity: Run | str | Path | None


def price_book(path: str | Path | None = None) -> PriceBook:
    """The bundled prices and the user's file over them. Raises InputError."""
    from benchsuite.economics import prices
    from benchsuite.strict_model import read_text

    return prices.price_book(None if path is None else read_text(Path(path), "the price file"), str(path))


def price_override(**price: Unpack[PriceFlags]) -> PriceOverride:
    """The price that is given in place of the run's own, with its source in words. Raises PriceError."""
    from benchsuite.economics.cost import total_usd_per_hour
    from benchsuite.report.format import usd
    from benchsuite.report.judge import PriceOverride

    unit, name, file = price.get("usd_per_hour"), price.get("preset"), price.get("prices")
    if name is not None and unit is not None:
        raise PriceError("two prices", given="--usd-per-hour and --preset", expected="one of them")
    if name is None and file is not None:
        raise PriceError("a price file without a name", where="--preset", given="nothing", expected="a price of it")
    others: dict[str, Any] = {key: price.get(key) for key in ("gpus", "usd_per_kwh", "pue", "gco2_per_kwh")}
    if name is not None:
        named = price_book(file).gpu(name)
        source = f"{usd(named.usd_per_hour)} a GPU-hour ({named.name}: {named.source}, {named.as_of})"
        return PriceOverride(named.usd_per_hour, source=source, **others)
    if unit is not None:
        return PriceOverride(total_usd_per_hour(unit), source=f"{usd(unit)} a GPU-hour as given", **others)
    return PriceOverride(**others)


def decide(
    *runs: Run | str | Path,
    levels_csv: str | Path | None = None,
    slo: str | None = None,
    goodput: str | None = None,
    capacity: Run | str | Path | None = None,
    **price: Unpack[PriceFlags],
) -> list[Judgement]:
    """Judge runs, or the models of a table of levels, anew: another SLO, another price; nothing is measured again.

    runs: of read_run, or folders. slo, goodput (limits of each request, "ttft<1s,tpot<50ms"), price: instead of the
    run's own. Of folders, the columns `benchsuite.records.UNJUDGED` are not read. capacity: of rates, a run of the same
    server in closed loop: its chain's prediction and its price at capacity stand beside them (`level.closed_loop`).
    A benchsuite.report.judge.Judgement each: its model, levels (`judged`), `decision`, the chosen level
    `best` (None: none meets the SLO).
    Raises PointsError, SloError, PriceError; InputError where the closed loop is of another server, model or workload.
    """
    from benchsuite.report.judge import judge_run, judge_table
    from benchsuite.store import run_folder
    from benchsuite.strict_model import read_text

    override = price_override(**price)
    if bool(runs) == (levels_csv is not None):
        expected = "run folders, or --levels-csv FILE"
        raise PointsError("either run folders or a table of levels are needed", given=len(runs), expected=expected)
    if levels_csv is not None:
        if capacity is not None:
            raise PointsError("a table of levels is no open loop", where="--capacity", expected="a run of rates")
        text = read_text(Path(levels_csv), "the table of levels")
        return judge_table(text, str(levels_csv), slo, override, goodput=goodput)
    given = runs if capacity is None else (*runs, capacity)
    found = [run.stored if isinstance(run, Run) else run_folder.read_run(Path(run), UNJUDGED) for run in given]
    folders = [run.path.resolve() for run in found]
    twice = next((str(run.path) for i, run in enumerate(found) if folders[i] in folders[:i]), None)
    if twice is not None:
        raise PointsError("a run folder is given twice", given=twice, expected="each run folder once")
    closed = None if capacity is None else found.pop()
    return [judge_run(run, slo=slo, goodput=goodput, price=override, capacity=closed) for run in found]


def summarise(run: Run | str | Path, **instead: Unpack[Judging]) -> pd.DataFrame:
    import pandas as pd

    (found,) = decide(run, **instead)
    clients = {level: verdict.verdict for level, verdict in found.clients.items()}
    rows = [level_row(one) | {"client": clients.get(one.point.level)} for one in found.judged]
    frame = pd.DataFrame(rows, columns=list(LEVELS))
    words = {"model", "slo_verdict", "within_limits", "misses", "client", "warnings"}
    numbers = {name: frame[name].astype(float) for name in LEVELS if name not in words and frame[name].isna().any()}
    return frame.assign(**numbers)


summarise.__doc__ = f"""One row per concurrency level, repeats pooled, with {CONFIDENCE} intervals. Columns:

{as_text(LEVELS)}

    run, slo, goodput, capacity, price and errors: as for `decide`.
    """


def find_optimum(run: Run | str | Path, **instead: Unpack[Judging]) -> Decision:
    """The level to run at; nothing is measured again.

    kind is 'optimum' (benchsuite.results.Optimum: choice, recommended, runner_up, binding, p_opt, reason) or 'none'
    (NoFeasiblePoint: nearest, reason). `.recommended.point.level` is it, `.recommended.cost` its cost.
    run, slo, goodput, capacity, price and errors: as for `decide`.
    """
    (judgement,) = decide(run, **instead)
    return judgement.decision


def cost(
    *,
    preset: str | None = None,
    prices: str | Path | None = None,
    gpus: int = 1,
    sensitivity: Mapping[str, Any] | None = None,
    **terms: Any,
) -> GpuHour:
    """What an hour of a GPU costs, owned or rented, and its parts, as `benchsuite cost` finds it.

    preset, prices and terms: as of `benchsuite cost --help`, with underscores: purchase_price=30000, years=4,
    power_kw=0.7, electricity_per_kwh=0.2; or usd_per_hour=0.9, billing="spot". sensitivity: {}, or with uncertain (ends
    by input), samples, seed, output_tok_s, versus_usd_per_1m. Raises PriceError.
    """
    from benchsuite.economics.prices import gpu_hour

    return gpu_hour(terms, None if preset is None else price_book(prices).gpu(preset), gpus, sensitivity)


def plan(
    *runs: str | Path,
    config: str | Path | Mapping[str, Any] | None = None,
    apis: Sequence[str] = (),
    prices: str | Path | None = None,
    **question: Any,
) -> Plan:
    """One demand and its candidates, the cheapest first: machines that were measured, APIs, both; `.rows`, `.winner`.

    runs, apis and question: as of `benchsuite plan --help`, with underscores: requests_per_day=50000, gpus=2,
    usd_per_hour=1.99, slo="ttft_p95<1s". config: instead, a plan.toml (`benchsuite plan --init`), or what it holds.
    Raises InputError.
    """
    import datetime

    from benchsuite.economics.plan import answer
    from benchsuite.economics.plan_file import Candidate, from_flags, parse_plan_file, parse_plan_tree
    from benchsuite.economics.prices import check_gpu
    from benchsuite.report.judge import select_model
    from benchsuite.strict_model import read_text

    base = Path()
    if config is not None and (runs or apis or question):
        given = [*map(str, runs), *apis, *question]
        expected = "the file alone, or flags alone (--prices may go with both)"
        what = "a plan file cannot be combined with flags"
        raise InputError(what, where="config", given=", ".join(given), expected=expected)
    if config is None:
        asked = from_flags({"runs": runs, "apis": apis, **question})
    elif isinstance(config, Mapping):
        asked = parse_plan_tree(config, "config")
    else:
        asked, base = parse_plan_file(read_text(Path(config), "the plan"), str(config)), Path(config).parent

    def judged(one: Candidate, slo: str | None, unit: float | None) -> Judgement:
        folders, levels = [base / one.run] if one.run else [], base / one.levels_csv if one.levels_csv else None
        found = decide(*folders, levels_csv=levels, slo=slo, usd_per_hour=unit, gpus=one.gpus)
        judgement = select_model(found, one.model)
        measured_on = None if judgement.run is None else judgement.run.manifest.gpu.used_names
        if one.preset is not None and measured_on:
            check_gpu(one.preset, measured_on, one.run or "")
        return judgement

    now = datetime.datetime.now(datetime.UTC)
    return answer(asked, price_book(prices), judged, lambda name: read_text(base / name, "the table of hours"), now)


def memory_fit(**asked: Any) -> list[Fit]:
    """Which GPUs hold a model, and how many requests at once, as `benchsuite memory` finds it; a Fit each.

    asked: as of `benchsuite memory --help`: params_b=70, layers=80, kv_heads=8, head_dim=128, context_tokens=4096,
    concurrency=32, precisions=("fp16",). pandas.DataFrame(fits) is the table. Raises InputError.
    """
    from benchsuite.economics.memory import MemoryDemand, memory_fits
    from benchsuite.strict_model import validated

    return memory_fits(validated(MemoryDemand, asked, "the memory to be held", where="flags"))


@dataclass(frozen=True)
class MatrixRun:
    """A matrix that was swept. path: its folder, with a run folder for each setting, and the table in three formats.

    decision: its `winner`, `runner_up`, `p_winner`. stopped: it was interrupted; the same call goes on with it.
    """

    path: Path
    decision: SettingsDecision
    slo: str
    stopped: bool = False


def read_matrix(file: Path, output: Path | None = None, *, find: bool = False) -> tuple[MatrixSpec, Workload, Path]:
    """A matrix that can be measured, its requests, and its folder. find: of searches, whatever it holds. Raises
    InputError."""
    from benchsuite.input_files import read_workload
    from benchsuite.load.matrix import check_matrix
    from benchsuite.matrix_spec import load_matrix
    from benchsuite.report.judge import unit_price

    asked = load_matrix(file, search=find)
    first = asked.sweep_of(asked.settings[0])
    unit_price(first.price)
    if first.find is not None:
        find_runner(first)
    workload = read_workload(first.workload, first.load.random_seed)
    check_matrix(asked, workload)
    name = file.stem.removeprefix("matrix").lstrip("-_") or "settings"
    return asked, workload, output or Path("results") / f"matrix-{name}"


def matrix(
    file: str | Path,
    *,
    output: str | Path | None = None,
    find: bool = False,
    quiet: bool = True,
    console: Console | None = None,
) -> MatrixRun:
    """Start a server under each setting of a matrix.toml, sweep it, stop it, as `benchsuite matrix` does; decide.

    find: search each for its cheapest level instead, as a table sweep.find in the file asks for too. output: the
    folder; one that is there goes on where it stopped. quiet=False prints its progress, to `console`.
    After every setting the table is in the folder: a crash loses nothing. Raises InputError, RunError.
    """
    from rich.console import Console

    from benchsuite.economics.matrix_decision import decide_settings
    from benchsuite.load.matrix import measure, open_matrix
    from benchsuite.load.sweep import SweepRunner
    from benchsuite.quality.score import RowScorer
    from benchsuite.report.console import say
    from benchsuite.report.live import SweepView
    from benchsuite.report.matrix import judge_setting, to_json, write_tables

    asked, workload, path = read_matrix(Path(file), None if output is None else Path(output), find=find)
    slo, shown = str(asked.sweep_of(asked.settings[0]).limits), console or Console(force_jupyter=False)
    judged = {setting.slug: judge_setting(setting, path) for setting in asked.settings}
    n_measured, stopped = 0, False

    def tell(text: str) -> None:
        if not quiet:
            say(shown, text, style="cyan")

    for line in [] if workload.reading is None else workload.reading.lines():
        tell(line)
    with open_matrix(path, asked.plan(workload.content_hash)) as folder, SweepView(quiet=quiet, console=shown) as view:
        for one in measure(
            asked, workload, folder, view, tell, find_runner, partial(SweepRunner, scoring=RowScorer.of_run)
        ):
            judged[one.setting.slug] = judge_setting(one.setting, path, one.status, one.path, one.reason)
            n_measured, stopped = n_measured + 1, one.status == "stopped"
            run = MatrixRun(path, decide_settings([*judged.values()]), slo, stopped)
            status = "complete" if n_measured == len(judged) and not stopped else "running"
            folder.write({"status": status, **to_json(run.decision, slo)})
            write_tables(run.decision, slo, path)
    return run


def sweep(
    spec: str | Path | None = None,
    *,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    serve: str | None = None,
    serve_timeout_s: float | None = None,
    quiet: bool = True,
    search: bool = False,
    **flags: Any,
) -> Run:
    """Measure a server, as `benchsuite sweep` does, and read what it left. Blocks until it is done.

    spec: a sweep.toml. output: the run folder; one that is there goes on where it stopped. resume, serve and flags: as
    of `benchsuite sweep --help`, with underscores: base_url="http://...", concurrency=[8, 16], slo="ttft_p95<1s",
    stream=False. quiet=False prints its progress. search: as `find` does. Whether the SLO is met is for `find_optimum`.

    Works in a notebook, whose event loop runs already, and in a script without a guard. An interrupt lets it finish
    what is in flight, a second one ends it; then KeyboardInterrupt.
    Raises InputError for what makes no sense, RunError for what went wrong; finished points stay in the folder.
    """
    from rich.console import Console

    from benchsuite.load.launched_sweep import plan_sweep, run_sweep
    from benchsuite.load.sweep import SweepRunner
    from benchsuite.quality.score import RowScorer
    from benchsuite.report.judge import unit_price
    from benchsuite.report.live import SweepView
    from benchsuite.report.page import write_judged
    from benchsuite.spec import overrides, spec_flags

    for name in flags:
        if name not in spec_flags():
            hint, where = did_you_mean(name, spec_flags()), "find" if search else "sweep"
            raise InputError("no such option", where=where, given=name, expected="an option of its --help", hint=hint)
    path, folder, before = (None if value is None else Path(value) for value in (spec, output, resume))
    keys, result = overrides(flags), None
    if not (search and path is None and before is not None and found_again(before, keys)):
        asked, plan = plan_sweep(path, keys, output=folder, resume=before, serve=serve, search=search)
        unit_price(asked.price)
        runner = find_runner(asked) if search else partial(SweepRunner, scoring=RowScorer.of_run)
        with SweepView(quiet=quiet, plain=True, console=Console(force_jupyter=False)) as view:
            result = run_sweep(asked, plan, before or folder, view, ready_timeout_s=serve_timeout_s, runner=runner)
    run = read_run(before or Path() if result is None else result.path)
    if run.stored.manifest.complete_points:
        write_judged(run.stored)
    if result is not None and result.failures:
        raise RunError("; ".join(result.failures), where=str(result.path))
    if result is not None and not result.complete:
        raise KeyboardInterrupt
    return run


def find(spec: str | Path | None = None, **asked: Any) -> Run:
    """Find the cheapest level of a server that meets the SLO, as `benchsuite find` does.

    As `sweep`, with the flags of `benchsuite find --help`: base_url="http://...", slo="ttft_p95<1s", usd_per_hour=1.99,
    budget_min=10. The answer is `run.manifest["search"]["end"]`: reason, probes, seconds, and in `answer`, where it has
    one, level, throughput and usd with their intervals, p_met, p_good.
    """
    return sweep(spec, search=True, **asked)


def find_runner(asked: SweepSpec) -> partial[FindRunner]:
    """What conducts a search; its probes are judged by its SLO. Raises InputError for a limit that no probe tells, and
    for a budget without a price."""
    from benchsuite.analysis.probe import can_judge, look, rows_of_probe
    from benchsuite.economics.cost import total_usd_per_hour
    from benchsuite.load.find import FindRunner, search_spec
    from benchsuite.metrics import METRICS
    from benchsuite.report.judge import unit_price

    assert asked.find is not None
    slo, kind, unit = asked.limits, asked.find.variable, unit_price(asked.price)
    hour = None if unit is None else total_usd_per_hour(unit, asked.price.gpus)
    known = [metric for metric in METRICS.values() if metric.limitable and can_judge(metric, kind)]
    if lacking := [limit for limit in slo.limits if METRICS[limit.metric] not in known]:
        raise InputError(
            f"a probe of a search does not tell {lacking[0].statistic.metric.word}", where="--slo",
            given=str(lacking[0]), expected="limits on " + ", ".join(str(metric.word) for metric in known),
            hint="`benchsuite sweep` measures levels to their end, and tells it",
        )  # fmt: skip

    def judge(table: pa.Table, level: Level, start_s: float) -> tuple[int, Any]:
        n, rows = rows_of_probe(table, level, slo, start_s)
        return n, None if rows is None else look(slo, rows, level)

    has_tail = any(limit.share is not None for limit in slo.limits)
    return partial(FindRunner, judge=judge, search=search_spec(asked, hour, has_tail=has_tail))


def found_again(path: Path, keys: Mapping[str, Any]) -> bool:
    """Whether the search in the folder is over, with the prices and budgets in `keys`: its manifest then has its answer
    by them, and no server is needed. Raises InputError."""
    from benchsuite.load.find import end_again
    from benchsuite.spec import load_spec
    from benchsuite.store.run_folder import read_manifest

    before = read_manifest(path)
    ours = {key: value for key, value in keys.items() if key.split(".")[0] in ("price", "find", "slo", "goodput")}
    others = [key for key, value in keys.items() if value is not None and key not in ours]
    if before.spec.get("find") is None or any(not key.startswith("server.") for key in others):
        return False
    asked = load_spec(None, ours, before.spec, search=True)
    return end_again(path, asked, find_runner(asked).keywords["search"])


@dataclass(frozen=True)
class AbRun:
    """Two arms that were compared. result: its rows, headline, verdict. path: of the session; None for older runs.

    failures: why measuring ended before its budget or its decision, if so.
    """

    result: AbResult | None
    path: Path | None = None
    failures: tuple[str, ...] = ()


def ab(
    *arms: str | Path,
    serve: Sequence[str] = (),
    base_url: Sequence[str] = (),
    output: str | Path | None = None,
    metrics: str | None = None,
    margin: str | None = None,
    budget_min: float = 60.0,
    restarts: int | None = None,
    allow: Sequence[str] = (),
    serve_timeout_s: float | None = None,
    quiet: bool = True,
    console: Console | None = None,
    **flags: Any,
) -> AbRun:
    """Measure two servers in turn in one session until their difference is decided, as `benchsuite ab` does.

    arms: two sweep.toml (or one for both), or two run folders of such a session, to judge them again. serve, base_url:
    two of either. metrics: "ttft_p95=10%,cost". flags: as of `benchsuite sweep`. The same call with the same output
    goes on where it stopped. Raises InputError, RunError.
    """
    from datetime import UTC, datetime

    from rich.console import Console

    from benchsuite.load.interleave import measure_in_turn, plan_arms
    from benchsuite.report.ab import AbJudge
    from benchsuite.report.judge import unit_price
    from benchsuite.report.live import SweepView

    def judge_of(a: Path, b: Path) -> AbJudge:
        limits: dict[str, Any] = {key: flags.get(key) for key in ("slo", "goodput")}
        return AbJudge(a, b, metrics=metrics, margin=margin, allowed=allow, **limits)

    paths = [Path(one) for one in arms]
    if len(paths) == 2 and all(path.is_dir() for path in paths):
        unused = {"serve": serve, "base_url": base_url, "output": output, "restarts": restarts} | flags
        if words := [f"--{key.replace('_', '-')}" for key, value in unused.items()
                     if key not in ("slo", "goodput") and value not in (None, (), [])]:  # fmt: skip
            raise InputError(
                "run folders are judged again, and nothing is measured", where="ab", given=", ".join(words),
                expected="--slo, --goodput, --metrics, --margin and --allow",
            )  # fmt: skip
        return AbRun(judge_of(*paths).judge())
    if restarts is not None and not serve:
        raise InputError("only a server that is started here can be restarted", where="--restarts", expected="--serve")
    folder = Path(output or Path("results") / f"ab-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    judging = judge_of(folder / "A", folder / "B")
    both, workload = plan_arms(paths, serve, base_url, flags, folder, allow)
    for arm in both:
        unit_price(arm.spec.price)
    with SweepView(quiet=quiet, console=console or Console(force_jupyter=False)) as view:
        for line in [] if workload.reading is None else workload.reading.lines():
            view.note(line)
        rounds, failures = measure_in_turn(
            both, workload, view, budget_s=60 * budget_min, most_rounds=restarts, decided=judging.decided,
            ready_timeout_s=serve_timeout_s,
        )  # fmt: skip
    return AbRun(judging.conclude(folder) if rounds else None, folder, tuple(failures))
