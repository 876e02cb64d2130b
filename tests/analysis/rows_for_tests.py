"""Requests tables small enough to work out by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchsuite.records import RequestRecord

_BLANK: dict[str, Any] = {
    "run_id": "r", "point_id": "p", "concurrency": 1, "repeat": 0, "request_id": "q", "prompt_id": "q",
    "scenario": None, "worker": 0, "scheduled_s": 0.0, "sent_s": 0.0, "headers_s": None, "first_token_s": None,
    "first_answer_s": None, "last_token_s": None, "closed_s": None, "chunk_gap_us": [], "input_tokens": 10,
    "cached_tokens": None, "output_tokens": 1, "reasoning_tokens": None, "asked_output_tokens": None, "n_chunks": 1,
    "n_empty_chunks": 0, "n_reads": 1, "merged_reads": 0, "self_lag_max_us": None, "connection_reused": True,
    "stale_retries": 0, "token_source": "usage", "stamp_source": "kernel", "finish_reason": "stop", "status": "ok",
    "http_status": 200, "error": None, "response_id": None, "text": None,
}  # fmt: skip


def row(sent_s: float | None, ttft_s: float | None, gaps_s: list[float], tail_s: float = 0.0, **other: Any) -> Any:
    """One request that streams one token per chunk; keyword arguments override any field."""
    fields = dict(_BLANK)
    if sent_s is not None and ttft_s is not None:
        first = sent_s + ttft_s
        last = first + sum(gaps_s)
        fields |= {
            "scheduled_s": sent_s,
            "sent_s": sent_s,
            "first_token_s": first,
            "first_answer_s": first,
            "last_token_s": last,
            "closed_s": last + tail_s,
            "chunk_gap_us": [round(gap * 1e6) for gap in gaps_s],
            "output_tokens": len(gaps_s) + 1,
            "n_chunks": len(gaps_s) + 1,
        }
    else:
        fields |= {"sent_s": sent_s, "scheduled_s": sent_s or 0.0}
    return RequestRecord(**(fields | other))


def frame(*rows: Any) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(RequestRecord._fields))
