"""The tables of a run as pandas frames, with the columns of benchsuite/column_words.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite.column_words import LATENCY_COLUMNS, LEVELS, OF_STEADY, REQUESTS, WITH_INTERVAL

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from benchsuite.report.judgement import Judgement
    from benchsuite.results import Judged
    from benchsuite.store import Run


def _level(found: Judgement, one: Judged) -> dict[str, Any]:
    """A level as a row of the table of levels: the columns of `column_words.LEVELS`."""
    point, client = one.point, found.clients.get(one.point.concurrency)
    row: dict[str, Any] = {
        name: getattr(point, name)
        for name in ("model", "concurrency", "n_ok", "n_failed", "error_rate", "wall_s", "occupancy")
    }
    row |= {"repeats": point.repeat_count, "input_tokens": point.input_tokens, "output_tokens": point.output_tokens}
    for column in LATENCY_COLUMNS:
        metric, stat, _ = column.split("_")
        row[column] = getattr(point, "chunk_gap_s" if metric == "gap" else f"{metric}_s").stat(stat)
    for name in ("throughput_paper_tok_s", "decode_tok_s", "output_tok_s", "total_tok_s", "request_per_s"):
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


def requests_frame(stored: Run) -> pd.DataFrame:
    """The rows with what is derived of each; columns that this version does not know last."""
    import numpy as np
    import pandas as pd

    from benchsuite.analysis.per_request import per_request
    from benchsuite.analysis.rows import as_table, levels, rows_of

    frame: pd.DataFrame = stored.table.to_pandas()
    table = as_table(stored.table)
    level = frame["concurrency"].to_numpy()
    derived = {name: np.full(len(frame), np.nan) for name in ("ttft_s", "ttfa_s", "tpot_s", "e2e_s")}
    for one in levels(table):
        each = per_request(rows_of(table, one))
        for name, values in derived.items():
            values[level == one] = getattr(each, name)
    done = {(str(point.get("point_id")), point.get("attempt", 0)) for point in stored.complete_points}
    attempts = frame["attempt"].fillna(0).astype(int)
    whole = [key in done for key in zip(frame["point_id"], attempts, strict=True)]
    frame = frame.assign(**derived, whole=pd.Series(whole, index=frame.index, dtype=bool))
    unknown = [name for name in frame.columns if name not in REQUESTS]
    whole_frame: pd.DataFrame = frame.reindex(columns=[*REQUESTS, *unknown])
    return whole_frame


def samples_frame(stored: Run, table: pa.Table | None, name: str) -> pd.DataFrame:
    """The samples `name`, each with the point that was being measured; no rows where nothing was sampled."""
    import pandas as pd

    from benchsuite.store.schema import SAMPLE_SCHEMAS

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
