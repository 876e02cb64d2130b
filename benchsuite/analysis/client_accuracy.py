"""What the measuring client adds to the truth: its recorded times against a server that knows its own. Pure.

Both sides stamp CLOCK_MONOTONIC of one machine. TTFT error = (first token received - sent by us) - (first token sent -
request arrived at the server); gap error = |gap of our stamps - gap of the server's sends|; send error = arrival at the
server - our stamp just before the send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.warnings import ClientEffects

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
_NS_PER_S = 1e9
_US_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class Sent:
    """One response as its server saw it: when the request arrived, when each chunk left (ns)."""

    received_ns: int
    sent_ns: Sequence[int]


def fidelity(rows: pa.Table, origin_monotonic_ns: int, truth: Mapping[str, Sent]) -> dict[str, Any]:
    """Compare rows of requests.parquet with the server's own record, by response_id.

    n_unmatched: rows without a counterpart, which are not in the errors; ttft_error_ms, gap_error_ms, send_error_ms:
    as `error_ms`.
    """
    columns = rows.select(["response_id", "sent_s", "first_token_s", "chunk_gap_us"]).to_pydict()
    ttft: list[float] = []
    send: list[float] = []
    gaps: list[FloatArray] = []
    unmatched = 0
    for response_id, sent_s, first_s, gap_us in zip(*columns.values(), strict=True):
        sent = truth.get(response_id)
        if sent is None or first_s is None or len(sent.sent_ns) != len(gap_us) + 1:
            unmatched += 1
            continue
        true_s = (sent.sent_ns[0] - sent.received_ns) / _NS_PER_S
        ttft.append(first_s - sent_s - true_s)
        send.append((sent.received_ns - origin_monotonic_ns) / _NS_PER_S - sent_s)
        gaps.append(np.abs(np.asarray(gap_us, float) - np.diff(np.asarray(sent.sent_ns, float)) / 1e3) / _US_PER_S)
    return {
        "n_unmatched": unmatched,
        "ttft_error_ms": error_ms(np.asarray(ttft)),
        "gap_error_ms": error_ms(np.concatenate(gaps) if gaps else np.empty(0)),
        "send_error_ms": error_ms(np.asarray(send)),
    }


def error_ms(errors_s: FloatArray) -> dict[str, float | None]:
    """The distribution of errors given in seconds: of their sizes, but for the mean, which keeps the sign. None without
    any."""
    size, names = np.abs(errors_s) * 1e3, ("p50", "p99", "p999")
    if not errors_s.size:
        return {"n": 0, **dict.fromkeys(("mean", *names, "max"))}
    quantiles = np.quantile(size, [0.5, 0.99, 0.999], method="inverted_cdf")
    mean_ms = float(errors_s.mean() * 1e3)
    return {"n": len(size), "mean": mean_ms, **dict(zip(names, map(float, quantiles), strict=True)),
            "max": float(size.max())}  # fmt: skip


def lateness(rows: pa.Table, max_in_flight: int | None, workers: int) -> tuple[float | None, float | None]:
    """Of a rate: how late the client sent (p99, seconds), and which share of the requests waited because
    `max_in_flight` were in flight; None where nothing was sent, and without such a limit.

    rows: of one level. What waited is no lateness of the client's, nor is what opened a connection. A request waited
    if its worker had its part of the limit in flight when it was due.
    """
    columns = ("scheduled_s", "sent_s", "closed_s", "repeat", "worker", "window_start_s", "window_end_s")
    due_s, sent_s, closed_s, repeat, worker, start_s, end_s = (
        rows[name].cast(pa.float64()).to_numpy() for name in columns
    )
    waited = np.zeros(len(due_s), dtype=np.bool_)
    if max_in_flight is not None:
        for key in np.unique(np.column_stack([repeat, worker]), axis=0):
            mine = (repeat == key[0]) & (worker == key[1])
            begun, ended = np.sort(sent_s[mine]), np.sort(closed_s[mine])  # NaN last
            there = np.searchsorted(begun, due_s[mine], "left") - np.searchsorted(ended, due_s[mine], "right")
            share = max_in_flight // workers + (key[1] < max_in_flight % workers)
            waited[mine] = there >= max(1, share)
    measured = ~np.isnan(sent_s) & ~(due_s < start_s) & ~(due_s >= end_s)
    counted = measured & ~waited & rows["connection_reused"].to_numpy()
    if not measured.any():
        return None, None
    late_s = (sent_s - due_s)[counted]
    p99_s = float(np.quantile(late_s, 0.99, method="inverted_cdf")) if len(late_s) else None
    return p99_s, None if max_in_flight is None else float(waited[measured].mean())


_EFFECT_COLUMNS = (
    "scheduled_s", "sent_s", "closed_s", "first_token_s", "last_token_s", "n_reads", "n_chunks", "merged_reads",
    "read_lag_max_us",
)  # fmt: skip
_FEW = 0.05
_READ_AT_ONCE = 0.5  # of the mean time between reads: a client within it took each event before the next could come


def client_effects(answered: pa.Table, gap_p50_s: float | None, loop_lag_s: float | None, paced: bool) -> ClientEffects:
    """What the client did to a level. answered: its successful rows. loop_lag_s: p99. paced: requests wait for a rate.

    Who merged the reads is told by the kernel's stamps: a response whose every read was taken far sooner after its
    arrival than the mean time between reads was merged by its sender. Where all tokens came in one read, the lag, and
    the loop's with it, is held against a token's share of the time waited for it. Without the kernel's stamps the
    loop's lag stands for them, where more was merged than the one tick in a hundred that its p99 leaves out.
    """
    if not answered.num_rows:
        return ClientEffects(kernel_stamps=True, gap_p50_s=gap_p50_s)
    scheduled, sent, closed, first, last, reads, chunks, merged, lag_us = (
        answered[name].to_numpy().astype(np.float64) for name in _EFFECT_COLUMNS
    )
    by_user = pc.equal(answered["stamp_source"], "user").to_numpy().astype(np.float64)
    kernel = bool(by_user.mean() <= _FEW)  # of which there are a few where the wall clock was set
    in_one_read = last <= first
    apart_s = np.where(in_one_read, (first - sent) / np.maximum(chunks, 1), (last - first) / np.maximum(reads - 1, 1))
    lag_s = lag_us * 1e-6 if kernel else np.full(len(reads), np.inf if loop_lag_s is None else loop_lag_s)
    lag_s = np.where(in_one_read, np.maximum(lag_s, loop_lag_s or 0.0), lag_s)
    at_once = lag_s < _READ_AT_ONCE * apart_s  # false where either is not known
    total, n_merged, by_sender = reads.sum(), merged.sum(), merged[at_once].sum()
    if not kernel and n_merged <= 0.02 * total:
        by_sender = 0.0
    users_s, kept = float(np.nansum(closed - scheduled)), pc.fill_null(answered["connection_reused"], True).to_numpy()
    known = users_s > 0 and not paced
    return ClientEffects(
        kernel_stamps=kernel,
        gap_p50_s=gap_p50_s,
        late_share=float(np.nansum((sent - scheduled)[kept])) / users_s if known else None,
        connecting_share=float(np.nansum((sent - scheduled)[~kept])) / users_s if known else None,
        merged_share=float((n_merged - by_sender) / total) if total else None,
        merged_by_sender_share=float(by_sender / total) if total else None,
    )
