"""What is derived from one request: latencies and the tokens and time of decoding. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchsuite.analysis.rows import Floats, Rows


@dataclass(frozen=True, slots=True)
class PerRequest:
    """Derived per request: (n,) arrays, NaN where undefined, and for requests that failed."""

    ttft_s: Floats
    ttfa_s: Floats
    e2e_s: Floats
    tpot_s: Floats
    decode_span_s: Floats  # last token minus first, where TPOT is defined
    decode_tokens: Floats  # the tokens that came in it
    n_bursts: int


def per_request(rows: Rows) -> PerRequest:
    """Every request's own figures; docs/METHODS.md defines them."""
    nan = np.nan
    tokens = rows.output_tokens
    ok, empty, streamed = rows.ok, tokens == 0, ~np.isnan(rows.first_s)
    timed = ok & ~empty
    ends_s = np.where(streamed, rows.last_s, rows.closed_s)
    span_s = rows.last_s - rows.first_s
    several = timed & streamed & (tokens >= 2)
    paced = several & (span_s > 0)  # one burst has no pace: TPOT 0 would read as endless speed
    return PerRequest(
        ttft_s=np.where(timed, rows.first_s - rows.sent_s, nan),
        ttfa_s=np.where(timed, rows.answer_s - rows.sent_s, nan),
        e2e_s=np.where(timed, ends_s - rows.sent_s, nan),
        tpot_s=np.where(paced, span_s, nan) / np.where(paced, tokens - 1, nan),
        decode_span_s=np.where(paced, span_s, nan),
        decode_tokens=np.where(paced, tokens - 1, nan),
        n_bursts=int(np.count_nonzero(several & ~paced)),
    )
