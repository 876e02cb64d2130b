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


def sweep(spec: str | Path | None = None, *, output: str | Path, quiet: bool = True, **flags: Any) -> Run:
    """Measure a server, as `benchsuite sweep` does, and read what it left. Blocks until it is done.

    spec: a sweep.toml. output: the run folder; one that is there goes on where it stopped. flags: those of
    `benchsuite sweep --help` with underscores: base_url="http://...", concurrency=[8, 16], slo="ttft_p95<1s",
    stream=False. quiet=False prints its progress. Whether the SLO is met is for `find_optimum` to say.

    It runs as a process of its own, so it works in notebooks (which have an event loop already) and in scripts without
    a __main__ guard. An interrupt lets it finish what is in flight, a second one ends it.
    Raises InputError for what makes no sense, RunError for what went wrong; finished points stay in `output`.
    """
    from benchsuite.errors import InputError, RunError

    words = [*([] if spec is None else [str(spec)]), "--output", str(output), *(["--quiet"] if quiet else [])]
    code, said = _command("sweep", *words, *_as_flags(flags), show=not quiet)
    if code == 2:
        raise InputError(said or "the sweep does not hold together")
    if code not in (0, 3):
        raise RunError(said or f"the sweep ended with exit code {code}")
    return read_run(output)


def _as_flags(flags: dict[str, Any]) -> list[str]:
    """`max_request_rate=3, stream=False` as `--max-request-rate 3 --no-stream`; None is not given."""
    words: list[str] = []
    for key, value in flags.items():
        name = key.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif key == "base_url" and not isinstance(value, str):
            words += [word for url in value for word in ("--base-url", str(url))]
        elif isinstance(value, list | tuple):
            words += [f"--{name}", ",".join(str(item) for item in value)]
        else:
            words += [f"--{name}", str(value)]
    return words


def _command(*words: str, show: bool) -> tuple[int, str]:
    """The exit code of `benchsuite WORDS`, and its last words."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "benchsuite", *words]
    said: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as child:
        assert child.stdout is not None
        interrupts = 0
        while True:
            try:
                for line in child.stdout:
                    said.append(line)
                    if show:
                        print(line, end="", flush=True)
                code = child.wait()
                break
            except KeyboardInterrupt:  # the child has got it too, and drains
                interrupts += 1
                if interrupts > 1:
                    child.terminate()
                    raise
    if interrupts:
        raise KeyboardInterrupt
    text = "".join(said[-40:])
    start = text.rfind("error: ") if "\nerror: " in f"\n{text}" else text.rfind("Error: ")
    return code, text[start + len("error: ") :].strip() if start >= 0 else text.strip()


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
