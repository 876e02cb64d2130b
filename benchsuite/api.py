"""Runs in a notebook: pandas frames with documented columns, the table of levels, the decision, a sweep.

The same numbers as the command line's, from the same code. `import benchsuite` brings these names; pandas and the rest
are imported when the first is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.records import (
    GPU,
    LATENCY_COLUMNS,
    LEVELS,
    OF_STEADY,
    REQUESTS,
    SERVER,
    TABLES,
    WITH_INTERVAL,
    as_text,
    unit_of,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from benchsuite.report.judge import Judgement
    from benchsuite.results import Decision, EvaluatedLevel
    from benchsuite.store import run_folder


def _level(found: Judgement, one: EvaluatedLevel) -> dict[str, Any]:
    """A level as a row of the table of levels: the columns of `column_words.LEVELS`."""
    point, client = one.point, found.clients.get(one.point.concurrency)
    row: dict[str, Any] = {
        name: getattr(point, name)
        for name in ("model", "concurrency", "n_ok", "n_failed", "error_rate", "duration_s", "occupancy")
    }
    row |= {"repeats": point.repeat_count, "input_tokens": point.input_tokens, "output_tokens": point.output_tokens}
    for column in LATENCY_COLUMNS:
        metric, stat, _ = column.split("_")
        row[column] = getattr(point, f"{metric}_s").stat(stat)
    for name in ("output_tok_s_per_user", "decode_tok_s", "output_tok_s", "total_tok_s", "request_per_s"):
        row[name] = getattr(point, name)
    for name in ("cost_usd", "usd_per_1m_output_tokens", "usd_per_1m_total_tokens", "usd_per_request"):
        row[name] = getattr(one.cost, name)
    for name in WITH_INTERVAL:
        estimate = one.intervals.get(name)
        row[f"{name}_low"] = None if estimate is None else estimate.low
        row[f"{name}_high"] = None if estimate is None else estimate.high
        if name in OF_STEADY:
            row[f"{name}_steady"] = None if estimate is None else estimate.value
    return row | {
        "meets_slo": one.meets_slo,
        "slo_verdict": one.slo_verdict,
        "p_met": one.p_met,
        "misses": "; ".join((*one.misses, *one.unknown)),
        "j_per_output_token": one.energy.j_per_output_token if one.energy else None,
        "mean_w": one.energy.mean_w if one.energy else None,
        "gpu_util_ratio": one.gpu.util_ratio.mean if one.gpu and one.gpu.util_ratio else None,
        "client": client.verdict if client else None,
        "warnings": tuple(warn.code for warn in point.warnings),
    }


def requests_frame(stored: run_folder.Run) -> pd.DataFrame:
    """The rows with what is derived of each; columns that this version does not know last."""
    import numpy as np
    import pandas as pd

    from benchsuite.analysis.requests import as_table, levels, per_request, rows_of

    frame: pd.DataFrame = stored.table.to_pandas()
    table = as_table(stored.table)
    level = frame["concurrency"].to_numpy()
    derived = {name: np.full(len(frame), np.nan) for name in ("ttft_s", "ttfa_s", "tpot_s", "e2e_s")}
    for one in levels(table):
        each = per_request(rows_of(table, one))
        for name, values in derived.items():
            values[level == one] = getattr(each, name)
    done = {(point.point_id, point.attempt) for point in stored.manifest.complete_points}
    attempts = frame["attempt"].fillna(0).astype(int)
    whole = [key in done for key in zip(frame["point_id"], attempts, strict=True)]
    frame = frame.assign(**derived, whole=pd.Series(whole, index=frame.index, dtype=bool))
    unknown = [name for name in frame.columns if name not in REQUESTS]
    whole_frame: pd.DataFrame = frame.reindex(columns=[*REQUESTS, *unknown])
    return whole_frame


def samples_frame(stored: run_folder.Run, table: pa.Table | None, name: str) -> pd.DataFrame:
    """The samples `name`, each with the point that was being measured; no rows where nothing was sampled."""
    import pandas as pd

    from benchsuite.store.files import SAMPLE_SCHEMAS

    frame: pd.DataFrame = (SAMPLE_SCHEMAS[name].empty_table() if table is None else table).to_pandas()
    frame = frame.assign(point_id=None, concurrency=pd.Series(pd.NA, index=frame.index, dtype="Int64"))
    for point in stored.manifest.get("points", []):
        start, end = point.get("started_s"), point.get("ended_s")
        if start is not None and end is not None:
            inside = frame["at_s"].between(start, end)
            frame.loc[inside, "point_id"] = point["point_id"]
            frame.loc[inside, "concurrency"] = point["concurrency"]
    return frame


def levels_frame(found: Judgement) -> pd.DataFrame:
    """The judged levels, one row each; a figure that no level has is missing, as a number is."""
    import pandas as pd

    frame = pd.DataFrame([_level(found, one) for one in found.judged], columns=list(LEVELS))
    words = {"model", "meets_slo", "slo_verdict", "misses", "client", "warnings"}
    numbers = {name: frame[name].astype(float) for name in LEVELS if name not in words and frame[name].isna().any()}
    return frame.assign(**numbers)


@dataclass(frozen=True)
class Run:
    """A run folder in a notebook. Frames are made when they are first asked for, and kept.

    path: the folder. manifest: what ran, on what, when (docs/METHODS.md, The run folder).
    requests, gpu, server: DataFrames; `benchsuite.columns("requests")` says what their columns mean.
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
        return requests_frame(self.stored)

    @cached_property
    def gpu(self) -> pd.DataFrame:
        return samples_frame(self.stored, self.stored.gpu, "gpu")

    @cached_property
    def server(self) -> pd.DataFrame:
        return samples_frame(self.stored, self.stored.server, "server")


Run.requests.__doc__ = f"One row a request, ok or not. Missing is NaN or None. Columns:\n\n{as_text(REQUESTS)}\n"
Run.gpu.__doc__ = f"One row a reading of a GPU; no rows where none was sampled. Columns:\n\n{as_text(GPU)}\n"
Run.server.__doc__ = f"One row a reading of a server's metrics; no rows where none was. Columns:\n\n{as_text(SERVER)}\n"


def read_run(path: str | Path) -> Run:
    """The run in a folder: finished, cut short or still growing. Raises PointsError."""
    from benchsuite.store import run_folder

    return Run(run_folder.read_run(Path(path)))


def columns(table: str) -> pd.DataFrame:
    """What the columns of a table mean: one row a column, with its unit. table: requests, gpu, server, or levels."""
    import pandas as pd

    from benchsuite.errors import InputError

    if table not in TABLES:
        raise InputError("no such table", where="columns", given=table, expected=f"one of {', '.join(TABLES)}")
    rows = [(name, unit_of(name), words) for name, words in TABLES[table].items()]
    return pd.DataFrame(rows, columns=["column", "unit", "meaning"]).set_index("column")


def summarise(
    run: Run | str | Path,
    *,
    slo: str | None = None,
    usd_per_hour: float | None = None,
    preset: str | None = None,
    gpus: int | None = None,
) -> pd.DataFrame:
    return levels_frame(_judge(run, slo, usd_per_hour, preset, gpus))


summarise.__doc__ = f"""One row a concurrency level, repeats pooled, with 95 % intervals. Columns:

{as_text(LEVELS)}

    run: of read_run, or the folder. slo, usd_per_hour (one GPU), preset, gpus: instead of the run's own.
    Raises PointsError, SloError, PriceError.
    """


def find_optimum(
    run: Run | str | Path,
    *,
    slo: str | None = None,
    usd_per_hour: float | None = None,
    preset: str | None = None,
    gpus: int | None = None,
) -> Decision:
    """The cheapest level that meets the SLO, as `benchsuite decide` finds it; nothing is measured again.

    kind is 'optimum' (benchsuite.results.Optimum: choice, recommended, runner_up, binding, p_opt, reason) or 'none'
    (NoFeasiblePoint: nearest, reason). `found.choice.point.concurrency` is the level, `.choice.cost` its cost.
    run, slo, usd_per_hour (one GPU), preset, gpus and errors: as for `summarise`.
    """
    return _judge(run, slo, usd_per_hour, preset, gpus).decision


def sweep(
    spec: str | Path | None = None,
    *,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    serve: str | None = None,
    serve_timeout_s: float | None = None,
    quiet: bool = True,
    **flags: Any,
) -> Run:
    """Measure a server, as `benchsuite sweep` does, and read what it left. Blocks until it is done.

    spec: a sweep.toml. output: the run folder; one that is there goes on where it stopped. resume, serve and flags: as
    of `benchsuite sweep --help`, with underscores: base_url="http://...", concurrency=[8, 16], slo="ttft_p95<1s",
    stream=False. quiet=False prints its progress. Whether the SLO is met is for `find_optimum` to say.

    Works in a notebook, whose event loop runs already, and in a script without a guard. An interrupt lets it finish
    what is in flight, a second one ends it; then KeyboardInterrupt.
    Raises InputError for what makes no sense, RunError for what went wrong; finished points stay in the folder.
    """
    import difflib

    from rich.console import Console

    from benchsuite.errors import InputError, RunError
    from benchsuite.load.launched_sweep import plan_sweep, run_sweep
    from benchsuite.report.judge import unit_price
    from benchsuite.report.live import SweepView
    from benchsuite.report.page import write_judged
    from benchsuite.spec_reading import overrides, spec_flags

    for name in flags:
        if name not in spec_flags():
            close = difflib.get_close_matches(name, spec_flags(), 1)
            hint = f"did you mean {close[0]}?" if close else None
            raise InputError("no such flag", where="sweep", given=name, expected="one of its --help", hint=hint)
    path, folder, before = (None if value is None else Path(value) for value in (spec, output, resume))
    asked, plan = plan_sweep(path, overrides(flags), output=folder, resume=before, serve=serve)
    unit_price(asked.price)
    with SweepView(quiet=quiet, plain=True, console=Console(force_jupyter=False)) as view:
        result = run_sweep(asked, plan, before or folder, view, ready_timeout_s=serve_timeout_s)
    run = read_run(result.path)
    if run.stored.manifest.complete_points:
        write_judged(run.stored)
    if result.failures:
        raise RunError("; ".join(result.failures), where=str(result.path))
    if not result.complete:
        raise KeyboardInterrupt
    return run


def _judge(
    run: Run | str | Path, slo: str | None, usd_per_hour: float | None, preset: str | None, gpus: int | None
) -> Judgement:
    from benchsuite.economics.cost import total_usd_per_hour
    from benchsuite.errors import PriceError
    from benchsuite.report.judge import judge_run
    from benchsuite.spec_reading import parse_spec

    stored = run.stored if isinstance(run, Run) else read_run(run).stored
    price = parse_spec(stored.manifest["spec"], where=str(stored.path)).price
    if usd_per_hour is not None and preset is not None:
        raise PriceError("two prices", given="usd_per_hour and preset", expected="one of them")
    if usd_per_hour is not None or preset is not None:
        if usd_per_hour is not None:
            total_usd_per_hour(usd_per_hour, 1)  # refuses what is no price
        price = price.model_copy(update={"usd_per_hour": usd_per_hour, "preset": preset, "owned": None})
    if gpus is not None:
        total_usd_per_hour(0.0, gpus)
        price = price.model_copy(update={"gpus": gpus})
    return judge_run(stored, slo=slo, price=price)
