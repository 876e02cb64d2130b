"""The requests table as arrays: what the metrics compute with. Missing is NaN here, None again in every result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchsuite.errors import PointsError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_TIMES = ("scheduled_s", "sent_s", "first_token_s", "first_answer_s", "last_token_s", "closed_s")
_TOKENS = ("input_tokens", "output_tokens", "asked_output_tokens")
_COUNTS = ("concurrency", "repeat", "n_reads", "merged_reads")
_TEXTS = ("status", "token_source", "finish_reason")
COLUMNS = (*_COUNTS, *_TIMES, *_TOKENS, *_TEXTS, "chunk_gap_us")


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests of one concurrency level, one array element each, all (n,). `*_s` and tokens: float64, NaN if missing.

    statuses: how often each status other than ok occurs. gap_us: a list of microseconds per request.
    """

    repeat: NDArray[np.int64]
    scheduled_s: Floats
    sent_s: Floats
    first_s: Floats
    answer_s: Floats
    last_s: Floats
    closed_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    asked_tokens: Floats
    ok: Bools
    from_usage: Bools
    ended_by_length: Bools
    n_reads: int
    n_merged_reads: int
    failures: dict[str, int]
    gap_us: pa.ChunkedArray

    def gaps_of(self, mask: Bools) -> NDArray[np.int32]:
        """The pooled gaps of the rows in `mask`: (sum of their lengths,) microseconds."""
        flat: NDArray[np.int32] = pc.list_flatten(self.gap_us.filter(pa.array(mask))).to_numpy()
        return flat

    def gaps_at(self, index: int) -> NDArray[np.float64]:
        """The gaps of one row in seconds."""
        gaps = self.gap_us[index].values
        return np.empty(0) if gaps is None else gaps.to_numpy(zero_copy_only=False).astype(np.float64) * 1e-6


def as_table(requests: Any) -> pa.Table:
    """The columns that the metrics read, from a pandas DataFrame or a pyarrow Table.

    Raises PointsError naming the columns that are missing.
    """
    names = requests.column_names if isinstance(requests, pa.Table) else list(requests.columns)
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise PointsError(
            "the requests table lacks columns: " + ", ".join(missing),
            where="requests",
            expected="the columns of benchsuite.records.RequestRecord",
        )
    if isinstance(requests, pa.Table):
        return requests.select(list(COLUMNS))
    return pa.Table.from_pandas(requests[list(COLUMNS)], preserve_index=False)


def levels(table: pa.Table) -> list[int]:
    """The concurrency levels in the table, ascending."""
    return sorted(pc.unique(table["concurrency"]).to_pylist())


def rows_of(table: pa.Table, concurrency: int) -> Rows:
    """The rows of one level."""
    part = table.filter(pc.equal(table["concurrency"], concurrency))
    status = part["status"].cast(pa.string())
    ok = _equals(status, "ok")
    counted = pc.value_counts(status.filter(pa.array(~ok))).to_pylist()
    gaps = part["chunk_gap_us"]
    times = {name: _floats(part[name]) for name in (*_TIMES, *_TOKENS)}
    return Rows(
        repeat=part["repeat"].to_numpy().astype(np.int64),
        scheduled_s=times["scheduled_s"],
        sent_s=times["sent_s"],
        first_s=times["first_token_s"],
        answer_s=times["first_answer_s"],
        last_s=times["last_token_s"],
        closed_s=times["closed_s"],
        input_tokens=times["input_tokens"],
        output_tokens=times["output_tokens"],
        asked_tokens=times["asked_output_tokens"],
        ok=ok,
        from_usage=_equals(part["token_source"], "usage"),
        ended_by_length=_equals(part["finish_reason"], "length"),
        n_reads=pc.sum(part["n_reads"]).as_py() or 0,
        n_merged_reads=pc.sum(part["merged_reads"]).as_py() or 0,
        failures={item["values"]: item["counts"] for item in sorted(counted, key=lambda item: -item["counts"])},
        # a column of nothing but None has no list type to flatten
        gap_us=gaps.cast(pa.list_(pa.int32())) if pa.types.is_null(gaps.type) else gaps,
    )


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy()
    return values


def _equals(column: pa.ChunkedArray, text: str) -> Bools:
    same: Bools = pc.fill_null(pc.equal(column.cast(pa.string()), text), False).to_numpy().astype(np.bool_)
    return same
