"""What in one level's requests forbids, or limits, trust in its figures. Warnings only: nothing is dropped.

Thresholds: the comment at each says where it is from; docs/METHODS.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchsuite.analysis.rows import Rows
from benchsuite.results import SteadyWindow, Warn

MAX_ERROR_RATE = 0.01  # above, a level is no measurement of the set
MAX_ESTIMATED_SHARE = 0.01
MAX_LENGTH_SHARE = 0.05
MAX_WRONG_LENGTH_SHARE = 0.01
MAX_LITTLE_ERROR = 0.005
MAX_MERGED_SHARE = 0.001
MIN_STEADY_OCCUPANCY = 0.98
MIN_OCCUPANCY = 0.95


def check_rows(
    rows: Rows,
    *,
    concurrency: int,
    fixed_length: bool,
    n_bursts: int,
    max_in_flight: int | None,
    little_error: float | None,
    occupancy: float | None,
    steady: SteadyWindow | None,
) -> tuple[Warn, ...]:
    """Every warning that the rows of one level give rise to."""
    found = [
        *_loop(rows, concurrency, max_in_flight, little_error, occupancy, steady),
        *_answers(rows, fixed_length, n_bursts),
        *_tokens(rows),
    ]
    return tuple(Warn(code, finding, remedy, concurrency) for code, finding, remedy in found)


_Finding = tuple[str, str, str]


def _loop(
    rows: Rows,
    concurrency: int,
    max_in_flight: int | None,
    little_error: float | None,
    occupancy: float | None,
    steady: SteadyWindow | None,
) -> Iterator[_Finding]:
    n = len(rows.ok)
    failed = n - int(np.count_nonzero(rows.ok))
    if failed / n > MAX_ERROR_RATE:
        kinds = ", ".join(f"{count} {status}" for status, count in rows.failures.items())
        yield "errors", f"{failed} of {n} requests failed ({kinds})", "find the cause in the rows' error column; repeat"
    if max_in_flight is not None and max_in_flight != concurrency:
        yield (
            "in_flight",
            f"at most {max_in_flight} requests were in flight, not {concurrency}",
            "look for a connection limit between client and server, or give the set more requests than users",
        )
    if little_error is not None and little_error > MAX_LITTLE_ERROR:
        yield (
            "little",
            f"Little's law is off by {little_error:.1%}",
            "rows are missing, doubled, or were never closed: do not use this point",
        )
    open_end = int(np.count_nonzero(~np.isnan(rows.sent_s) & np.isnan(rows.closed_s)))
    if open_end:
        yield "open_end", f"{open_end} requests have no end, so their time is not in the run's", "repeat the level"
    if steady is not None and steady.occupancy is not None and steady.occupancy < MIN_STEADY_OCCUPANCY:
        yield (
            "idle_slots",
            f"virtual users were busy {steady.occupancy:.1%} of the steady window",
            "the client is late between requests: give it a core of its own, or more workers",
        )
    elif occupancy is not None and occupancy < MIN_OCCUPANCY:
        yield (
            "drain",
            f"slots were in use {occupancy:.1%} of the run: time and throughput include filling and draining",
            f"use about {100 * concurrency:,} requests at this level, or read the steady window's figures",
        )


def _answers(rows: Rows, fixed_length: bool, n_bursts: int) -> Iterator[_Finding]:
    n_ok = int(np.count_nonzero(rows.ok))
    if n_ok == 0:
        return
    empty = int(np.count_nonzero(rows.ok & (rows.output_tokens == 0)))
    if empty:
        yield "empty", f"{empty} of {n_ok} answers are empty", "look at the prompts: an empty answer costs no decoding"
    if n_bursts:
        yield (
            "burst",
            f"{n_bursts} of {n_ok} answers came in one piece and have no TPOT",
            "turn buffering off in server and proxy; on a machine shared with the server, give the client its own core",
        )
    asked = rows.ok & ~np.isnan(rows.asked_tokens) & ~np.isnan(rows.output_tokens)
    wrong = int(np.count_nonzero(asked & (rows.output_tokens != rows.asked_tokens)))
    if fixed_length and wrong > MAX_WRONG_LENGTH_SHARE * n_ok:
        yield (
            "length_not_kept",
            f"{wrong} of {n_ok} answers have not the length that was asked for",
            "the server does not honour a fixed length: choose its profile, or do not compare levels by time",
        )
    over = int(np.count_nonzero(asked & (rows.output_tokens > rows.asked_tokens)))
    if over:
        yield (
            "usage_over_cap",
            f"{over} of {n_ok} answers report more output tokens than max_tokens allows",
            "the server's usage is wrong, or it ignores max_tokens: trust neither its tokens nor $ per token",
        )
    by_length = int(np.count_nonzero(rows.ok & rows.ended_by_length))
    if not fixed_length and by_length > MAX_LENGTH_SHARE * n_ok:
        yield (
            "cut_by_length",
            f"{by_length} of {n_ok} answers were cut at max_tokens, so time and cost depend on that cap",
            "raise max_output_tokens, or ask for a fixed length",
        )
    if rows.n_merged_reads > MAX_MERGED_SHARE * rows.n_reads:
        yield (
            "merged_reads",
            f"{rows.n_merged_reads} of {rows.n_reads} reads held more than one event, which then share one time stamp",
            "chunk gaps are coarser than they look; give the client a core of its own, look for a buffering proxy",
        )


def _tokens(rows: Rows) -> Iterator[_Finding]:
    n_ok = int(np.count_nonzero(rows.ok))
    if n_ok == 0:
        return
    for name, tokens in (("input", rows.input_tokens), ("output", rows.output_tokens)):
        unknown = int(np.count_nonzero(rows.ok & np.isnan(tokens)))
        if unknown:
            yield (
                f"{name}_tokens_unknown",
                f"{unknown} of {n_ok} answers have no {name} token count; sums and rates hold the others' alone",
                "ask for usage (stream_options.include_usage), or name a tokenizer",
            )
    estimated = int(np.count_nonzero(rows.ok & ~rows.from_usage))
    if estimated > MAX_ESTIMATED_SHARE * n_ok:
        yield (
            "tokens_estimated",
            f"{estimated} of {n_ok} token counts are not the server's own",
            "ask for usage (stream_options.include_usage); counted chunks are not tokens",
        )
