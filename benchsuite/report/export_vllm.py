"""A run as result files of `vllm bench serve --save-result --save-detailed`, for vLLM's own tools. Pure.

Keys, units and formulas are vLLM's (vllm/benchmarks/serve.py, 0.32), so its percentiles interpolate where ours do not;
but TPOT leaves out the tokens of the first chunk where chunks hold several. Failed requests are 0, '' or [] in its
lists. A file has no place for when a response closed, for a first answer apart from a first thought, or for a level's
repeats: each repeat is a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.requests import tokens_after_first_chunk
from benchsuite.errors import PointsError
from benchsuite.manifest import RunManifest
from benchsuite.metrics import BY_COLUMN
from benchsuite.report.judge import Judgement

_LISTS = (
    "input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times", "generated_texts",
    "errors",
)  # fmt: skip
PERCENTILES = (50, 90, 95, 99)
GOODPUT = BY_COLUMN["goodput_per_s"]
_NO_TOKEN = "Never received a valid chunk to calculate TTFT. This response will be marked as failed!"  # vLLM's words


def vllm_files(judgement: Judgement) -> dict[str, dict[str, Any]]:
    """The content of a file for each point that was measured to its end, by file name: 'c0008-r0.json', ...

    Raises PointsError for a run that was not streamed: without first tokens vLLM's file would call all failed.
    """
    run = judgement.facts
    manifest, whole = run.manifest, run.whole
    repeats = {(level.level.users, one.repeat): (level, one) for level in judgement.measured for one in level.repeats}
    found = {}
    for point_id in sorted(pc.unique(whole["point_id"]).to_pylist()):
        rows = whole.filter(pc.equal(whole["point_id"], pa.scalar(point_id))).sort_by("scheduled_s").to_pylist()
        measured = repeats.get((rows[0]["concurrency"], rows[0]["repeat"]))
        if measured is None:
            continue  # nothing was sent
        if not any(row["first_token_s"] is not None for row in rows) and any(row["status"] == "ok" for row in rows):
            raise PointsError(
                "the run was not streamed, and vLLM's files know no request without a first token",
                where=str(run.path),
                hint="--format csv or json",
            )
        found[f"{point_id}.json"] = _header(manifest, rows) | vllm_result(
            rows, measured[1].duration_s, GOODPUT.of_repeat(*measured)
        )
    return found


def _header(manifest: RunManifest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    model = manifest.model
    endpoint = (manifest.spec.get("server") or {}).get("endpoint")
    backend = "openai" if endpoint == "completions" else "openai-chat"
    date = (manifest.created or "")[:19].replace("-", "").replace(":", "").replace("T", "-")
    return {
        "date": date,
        "endpoint_type": backend,
        "backend": backend,
        "label": None,
        "model_id": model,
        "tokenizer_id": model,
        "num_prompts": len(rows),
        "benchsuite": manifest.benchsuite,
        "benchsuite_run_id": manifest.run_id,
        "benchsuite_point_id": rows[0]["point_id"],
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": rows[0]["concurrency"],
    }


def vllm_result(
    rows: Sequence[Mapping[str, Any]], duration_s: float, goodput_per_s: float | None = None
) -> dict[str, Any]:
    """Totals, statistics and lists of one run of a level. rows: RequestRecord's keys, at least one; in any order.

    Statistics are None where no request succeeded. A token count that no server told is 0, as vLLM has it.
    """
    lists = _lists(rows)
    ok = [i for i, error in enumerate(lists["errors"]) if not error]
    tokens_in, tokens_out = (sum(lists[key][i] for i in ok) for key in ("input_lens", "output_lens"))
    per_s = 1 / duration_s if duration_s > 0 else 0.0
    peaks = _peaks([{key: lists[key][i] for key in ("start_times", "ttfts", "itls", "latencies")} for i in ok])
    totals = {
        "duration": duration_s,
        "completed": len(ok),
        "failed": len(rows) - len(ok),
        "total_input_tokens": tokens_in,
        "total_output_tokens": tokens_out,
        "request_throughput": len(ok) * per_s,
        "request_goodput": goodput_per_s,
        "output_throughput": tokens_out * per_s,
        "total_token_throughput": (tokens_in + tokens_out) * per_s,
        "max_output_tokens_per_s": peaks[0],
        "max_concurrent_requests": peaks[1],
        "rtfx": 0.0,
    }
    several = [i for i in ok if lists["output_lens"][i] > 1]
    # vLLM divides by output_len - 1, which is too many where the first chunk holds several tokens
    after_first_chunk = tokens_after_first_chunk(
        np.array(lists["output_lens"], dtype=np.float64), np.array([len(gaps) + 1.0 for gaps in lists["itls"]])
    )
    values_s = {
        "ttft": [lists["ttfts"][i] for i in ok],
        "tpot": [
            (lists["latencies"][i] - lists["ttfts"][i]) / after_first_chunk[i] for i in several if after_first_chunk[i]
        ],
        "itl": [gap for i in ok for gap in lists["itls"][i]],
        "e2el": [lists["latencies"][i] for i in ok],
    }
    stats: dict[str, Any] = {}
    for name, values in values_s.items():
        stats |= _stats(name, values)
    return totals | stats | lists


def _lists(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {key: [] for key in _LISTS}
    for row in rows:
        sent_s = row["scheduled_s"] if row["sent_s"] is None else row["sent_s"]
        first_s, last_s = row["first_token_s"], row["last_token_s"]
        error = _error(row)
        found["input_lens"].append(row["input_tokens"] or 0)
        found["output_lens"].append(0 if error else row["output_tokens"] or 0)
        found["ttfts"].append(0.0 if first_s is None else first_s - sent_s)
        found["itls"].append([] if first_s is None else [gap * 1e-6 for gap in row["chunk_gap_us"] or ()])
        found["latencies"].append(0.0 if error else last_s - sent_s)
        found["start_times"].append(sent_s)
        found["queue_times"].append(max(sent_s - row["scheduled_s"], 0.0))
        found["generated_texts"].append(row["text"] or "")
        found["errors"].append(error)
    return found


def _error(row: Mapping[str, Any]) -> str:
    """'' for what succeeded; vLLM counts a response without a token as failed."""
    if row["status"] != "ok":
        told = row["error"] or "no more is known of it than that"
        code = f" with HTTP status {row['http_status']}" if row["http_status"] else ""
        return f"benchsuite: the request ended as {row['status']}{code}: {told}"
    return "" if row["first_token_s"] is not None and row["last_token_s"] is not None else _NO_TOKEN


def _stats(name: str, values_s: Sequence[float]) -> dict[str, float | None]:
    keys = [f"mean_{name}_ms", f"median_{name}_ms", f"std_{name}_ms", *(f"p{p}_{name}_ms" for p in PERCENTILES)]
    if not values_s:
        return dict.fromkeys(keys)
    ms = np.asarray(values_s) * 1e3
    found = [ms.mean(), np.median(ms), ms.std(), *np.percentile(ms, PERCENTILES)]
    return {key: float(value) for key, value in zip(keys, found, strict=True)}


def _peaks(requests: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
    """The most chunks and the most requests in any second since the first start, as vLLM counts them."""
    if not requests:
        return 0.0, 0
    starts_s = np.array([one["start_times"] for one in requests])
    begin_s = starts_s.min()
    ends_s = starts_s + np.array([one["latencies"] for one in requests])
    n_seconds = int(np.ceil(ends_s.max() - begin_s)) + 1
    chunks, busy = np.zeros(n_seconds), np.zeros(n_seconds + 1, dtype=np.int64)
    for one, start_s, end_s in zip(requests, starts_s, ends_s, strict=True):
        at_s = start_s + one["ttfts"] + np.concatenate([[0.0], np.cumsum(one["itls"])]) - begin_s
        seconds = at_s.astype(np.int64)
        np.add.at(chunks, seconds[seconds < n_seconds], 1)
        busy[int(start_s - begin_s)] += 1
        busy[min(int(end_s - begin_s), n_seconds - 1) + 1] -= 1
    return float(chunks.max()), int(np.cumsum(busy).max())
