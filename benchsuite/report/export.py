"""A run's judgement for other programs and people: summary.json, a table as Markdown or CSV, vLLM's result files. Pure.

Missing is null in JSON, and NaN never leaves this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.requests import tokens_after_first_chunk
from benchsuite.economics.verdict import why_text
from benchsuite.errors import PointsError
from benchsuite.level import Level, as_plain
from benchsuite.manifest import RunManifest
from benchsuite.metrics import BY_COLUMN, CONFIDENCE, METRICS, REASONING, level_row
from benchsuite.redact import csv_table, markdown_table, markdown_text
from benchsuite.report import format as fmt
from benchsuite.report.judge import Judgement, judged_again
from benchsuite.results import Decision, EvaluatedLevel

_TABLE = (
    "concurrency", "ttft_mean_s", "ttft_p95_s", "tpot_mean_s", "output_tok_s", "output_tok_s_per_user",
    "goodput_per_s", "attainment", "error_rate", "usd_per_1m_output_tokens", "cost_usd", *REASONING,
)  # fmt: skip


def as_markdown(runs: Sequence[Judgement]) -> str:
    """A heading, the decision, a table of levels and the warnings, for each run; as GitHub's Markdown."""
    return "\n".join(_markdown(one) for one in runs)


def _markdown(one: Judgement) -> str:
    columns = fmt.with_judged(_TABLE, one.judged)
    known: dict[str, Any] = {}
    if one.run is not None:
        manifest, gpu = one.run.manifest, one.run.manifest.gpu
        names = [str(device.name) for device in gpu.devices if device.uuid in gpu.used]
        known = {
            "run": manifest.run_id,
            "server": manifest.server_probe.name,
            "GPUs": ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)),
            "driver": gpu.driver,
            "workload": manifest.workload.in_words(),
            "measured": (manifest.created or "")[:10],
            "benchsuite": manifest.benchsuite,
        }
    known["SLO"] = one.slo
    facts = "; ".join(f"{key} {markdown_text(str(value))}" for key, value in known.items() if value)
    decision = one.decision, one.judged
    said = [markdown_text(text) for text in (fmt.headline(*decision), *fmt.asides(*decision))]
    warned = [
        f"- `{warn.code}` at {', '.join(map(str, levels))}: {markdown_text(fmt.spaced(warn.finding))}"
        for warn, levels in fmt.same_warnings(warn for j in one.judged for warn in j.point.warnings)
    ]
    several = fmt.has_intervals(one.judged)  # then a level with one run has no interval like the others'
    cells = [fmt.cell if several and j.point.repeat_count == 1 else fmt.interval_cell for j in one.judged]
    rows = [[*(show(j, name) for name in columns), j.slo_verdict] for show, j in zip(cells, one.judged, strict=True)]
    parts = [
        f"### {markdown_text(one.model)}",
        f"**{said[0]}**",
        *(f"Judged again: {markdown_text(text)}." for text in judged_again(one)),
        "\n".join(f"- {aside}" for aside in said[1:]),
        "\n".join(markdown_table((*map(fmt.head, columns), "SLO"), rows)),
        "\n".join(warned),
        f"<sub>{facts}. Value [{CONFIDENCE} interval{' over runs' * several}].</sub>",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def as_csv(runs: Sequence[Judgement]) -> str:
    """A header and one row per run and level. Empty: not known. Text that looks like a formula gets an apostrophe."""
    return csv_table(
        [{"run": one.source_name, **level_row(j), "slo": str(one.slo)} for one in runs for j in one.judged]
    )


SUMMARY_SCHEMA = 1


def summary_json(judgement: Judgement) -> dict[str, Any]:
    """The content of summary.json. usd_per_hour is ONE GPU's price, usd_per_hour_total the machine's; None: unknown.

    judged_again is there where SLO or price are not the run's own.
    """
    return {
        "schema": SUMMARY_SCHEMA,
        "run_id": judgement.run_id,
        "model": judgement.model,
        "slo": str(judgement.slo),
        "usd_per_hour": as_plain(judgement.usd_per_hour),
        "gpus": judgement.gpus,
        "usd_per_hour_total": as_plain(judgement.usd_per_hour_total),
        **({"judged_again": again} if (again := judged_again(judgement)) else {}),
        "points": [
            point_json(one)
            | {"client": as_plain(judgement.clients.get(one.point.level))}
            | balance_json(judgement, one.point.level)
            for one in judgement.judged
        ],
        **decision_json(judgement.decision),
    }


def balance_json(judgement: Judgement, level: Level) -> dict[str, Any]:
    """A level's `endpoints`, `imbalance` and `fallback`; null where the run does not say."""
    at = judgement.endpoints.get(level)
    named = at is not None and any(part.endpoint for part in at.parts)
    return {
        "endpoints": [as_plain(part) for part in at.parts] if at is not None and named else None,
        "imbalance": None if at is None else at.imbalance,
        "fallback": as_plain(judgement.fallback.get(level)),
    }


def point_json(judged: EvaluatedLevel) -> dict[str, Any]:
    """One level: its metrics by key, its verdict; its energy and GPUs (of the GPUs alone, without the host)."""
    point: dict[str, Any] = as_plain(judged.point)
    del point["model"], point["intervals"]
    warnings, ratios, distributions = (point.pop(name) for name in ("warnings", "ratios", "distributions"))
    costs = (m for m in METRICS.values() if m.unit == "usd" or m.key in REASONING)
    names = ("energy", "gpu", "slo_verdict", "within_limits", "p_met", "misses", "doubts")
    of_limit = ("asked", "value", "steady", "verdict", "p", "why")
    limits = [  # the verdict on each, what it rests on and what would decide
        {"limit": str(check.limit)}
        | {name: getattr(check, name) for name in of_limit}
        | {"text": why_text(check), "repeats": check.repeats, "requests": check.requests}
        for check in judged.limits
    ]
    plain: dict[str, Any] = as_plain(
        {
            **point,
            **ratios,
            **distributions,
            **{m.key: m.of(judged) for m in costs if m.of is not None},
            **{name: getattr(judged, name) for name in names},
            "limits": limits,
            "intervals": judged.intervals,
            "warnings": warnings,
        }
    )
    return plain


def decision_json(decision: Decision) -> dict[str, Any]:
    """`optimum` and `no_feasible`, one of them null."""
    effort = {"effort": decision.effort}
    # how often the rule picks each level; None without several runs of each
    sure = {"p_by_level": decision.p_by_level or None, "p_method": decision.p_method}
    if decision.kind == "none":
        said = {"reason": decision.reason, "verdict": decision.verdict, **effort, **sure}
        return {"optimum": None, "no_feasible": as_plain({"nearest": _level_json(decision.nearest), **said})}
    level, proven = decision.recommended, decision.proven
    optimum = {
        "concurrency": level.point.level.concurrency,
        "binding": decision.binding,
        "cost_usd": level.cost.cost_usd,
        "usd_per_1m_output_tokens": level.cost.usd_per_1m_output_tokens,
        "runner_up": _level_json(decision.runner_up),
        "reason": decision.reason,
        "verdict": decision.verdict,
        "cheapest_concurrency": decision.choice.point.level.concurrency,
        "proven_concurrency": None if proven is None else proven.point.level.concurrency,
        **effort,
        "p_opt": decision.p_opt,
        **sure,
    }
    return {"optimum": as_plain(optimum), "no_feasible": None}


def _level_json(judged: EvaluatedLevel | None) -> dict[str, Any] | None:
    if judged is None:
        return None
    return {
        "concurrency": judged.point.level.concurrency,
        "cost_usd": judged.cost.cost_usd,
        "usd_per_1m_output_tokens": judged.cost.usd_per_1m_output_tokens,
        "misses": [*judged.misses],
        "doubts": [*judged.doubts],
        "slo_verdict": judged.slo_verdict,
    }


# What `vllm bench serve --save-result --save-detailed` writes, for vLLM's own tools. Keys, units, formulas are its own
# (vllm/benchmarks/serve.py, 0.32), so its percentiles interpolate where ours do not; but TPOT leaves out the tokens of
# the first chunk where chunks hold several. Failed requests are 0, '' or [] in its lists. A file has no place for when
# a response closed, for a first answer apart from a first thought, or for a level's repeats: each is a file of its own.
PERCENTILES = (50, 90, 95, 99)
GOODPUT = BY_COLUMN["goodput_per_s"]
_NO_TOKEN = "Never received a valid chunk to calculate TTFT. This response will be marked as failed!"  # vLLM's words


def vllm_files(judgement: Judgement) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the content of a file for each point that was measured to its end: 'c0008-r0.json', ...

    Raises PointsError for a run that was not streamed: without first tokens vLLM's file would call all failed.
    """
    run = judgement.facts
    manifest, whole = run.manifest, run.whole
    repeats = {(m.level.users, one.repeat): (m, one) for m in judgement.measured for one in m.repeats}
    whole = whole.select(_OF_VLLM)
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
        found = vllm_result(rows, measured[1].duration_s, GOODPUT.of_repeat(*measured))
        yield f"{point_id}.json", _header(manifest, rows) | found


_OF_VLLM = [
    "point_id", "concurrency", "repeat", "scheduled_s", "sent_s", "first_token_s", "last_token_s", "chunk_gap_us",
    "input_tokens", "output_tokens", "status", "http_status", "error", "text",
]  # fmt: skip


def _header(manifest: RunManifest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    endpoint = (manifest.spec.get("server") or {}).get("endpoint")
    backend = "openai" if endpoint == "completions" else "openai-chat"
    return {
        "date": re.sub("[-:]", "", (manifest.created or "")[:19]).replace("T", "-"),
        "endpoint_type": backend,
        "backend": backend,
        "label": None,
        "model_id": manifest.model,
        "tokenizer_id": manifest.model,
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
    sent = [_as_vllm(row) for row in rows]
    ok = [one for one in sent if not one["errors"]]
    tokens_in, tokens_out = (sum(one[key] for one in ok) for key in ("input_lens", "output_lens"))
    per_s = 1 / duration_s if duration_s > 0 else 0.0
    peak_chunks, peak_requests = _peaks(ok)
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
        "max_output_tokens_per_s": peak_chunks,
        "max_concurrent_requests": peak_requests,
        "rtfx": 0.0,
    }
    # vLLM divides by output_len - 1, which is too many where the first chunk holds several tokens
    counts, chunks = ([one["output_lens"] for one in ok], [len(one["itls"]) + 1 for one in ok])
    after_first_chunk = tokens_after_first_chunk(np.array(counts, np.float64), np.array(chunks, np.float64))
    decoded = [(one, n) for one, n in zip(ok, after_first_chunk, strict=True) if one["output_lens"] > 1 and n]
    stats: dict[str, float | None] = {}
    for name, values_s in {
        "ttft": [one["ttfts"] for one in ok],
        "tpot": [(one["latencies"] - one["ttfts"]) / n for one, n in decoded],
        "itl": [gap for one in ok for gap in one["itls"]],
        "e2el": [one["latencies"] for one in ok],
    }.items():
        keys = [f"{stat}_{name}_ms" for stat in ("mean", "median", "std", *(f"p{p}" for p in PERCENTILES))]
        ms = np.asarray(values_s) * 1e3
        found = [ms.mean(), np.median(ms), ms.std(), *np.percentile(ms, PERCENTILES)] if values_s else []
        stats |= dict(zip(keys, map(float, found), strict=True)) if found else dict.fromkeys(keys)
    return totals | stats | {key: [one[key] for one in sent] for key in sent[0]}


def _as_vllm(row: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM's lists hold of a request."""
    sent_s = row["scheduled_s"] if row["sent_s"] is None else row["sent_s"]
    first_s, last_s, error = row["first_token_s"], row["last_token_s"], _error(row)
    return {
        "input_lens": row["input_tokens"] or 0,
        "output_lens": 0 if error else row["output_tokens"] or 0,
        "ttfts": 0.0 if first_s is None else first_s - sent_s,
        "itls": [] if first_s is None else [gap * 1e-6 for gap in row["chunk_gap_us"] or ()],
        "latencies": 0.0 if error else last_s - sent_s,
        "start_times": sent_s,
        "queue_times": max(sent_s - row["scheduled_s"], 0.0),
        "generated_texts": row["text"] or "",
        "errors": error,
    }


def _error(row: Mapping[str, Any]) -> str:
    """'' for what succeeded; vLLM counts a response without a token as failed."""
    if row["status"] != "ok":
        told = row["error"] or "no further details"
        code = f" with HTTP status {row['http_status']}" if row["http_status"] else ""
        return f"benchsuite: the request ended as {row['status']}{code}: {told}"
    return "" if row["first_token_s"] is not None and row["last_token_s"] is not None else _NO_TOKEN


def _peaks(requests: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
    """The most chunks and the most requests in any second since the first start, as vLLM counts them."""
    if not requests:
        return 0.0, 0
    starts_s = np.array([one["start_times"] for one in requests])
    begin_s = starts_s.min()
    ends_s = starts_s + np.array([one["latencies"] for one in requests])
    n_seconds = int(np.ceil(ends_s.max() - begin_s)) + 1
    each = zip(requests, starts_s, strict=True)
    at_s = [one["ttfts"] + start_s + np.cumsum([0.0, *one["itls"]]) - begin_s for one, start_s in each]
    seconds = np.concatenate(at_s).astype(np.int64)
    chunks = np.bincount(seconds[seconds < n_seconds])
    came = np.bincount((starts_s - begin_s).astype(np.int64), minlength=n_seconds + 1)
    went = np.bincount(np.minimum((ends_s - begin_s).astype(np.int64), n_seconds - 1) + 1, minlength=n_seconds + 1)
    return float(chunks.max(initial=0)), int(np.cumsum(came - went).max())
