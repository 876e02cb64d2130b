"""A run's judgement for other programs and people: summary.json, a table as Markdown or CSV, vLLM's result files. Pure.

Missing is null in JSON, and NaN never leaves this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.requests import Floats, at_level, level_rows, tokens_after_first_chunk
from benchsuite.economics.verdict import why_text
from benchsuite.errors import PointsError
from benchsuite.level import Level, as_plain
from benchsuite.manifest import RunManifest
from benchsuite.metrics import BY_COLUMN, CONFIDENCE, METRICS, REASONING, level_row
from benchsuite.redact import csv_table, markdown_table, markdown_text
from benchsuite.report import format as fmt
from benchsuite.report.judge import Judgement, judged_again, judged_spec
from benchsuite.report.level_tables import (
    CLOSED_LOOP,
    CLOSED_LOOP_TITLE,
    SEARCH_TITLE,
    SEARCH_WORDS,
    closed_loop_table,
    search_table,
)
from benchsuite.results import Decision, EvaluatedLevel, Quality
from benchsuite.store.run_folder import Run

_TABLE = (
    "concurrency", "rate_per_s", "offered_per_s", "in_flight", "idle_share", "ttft_mean_s", "ttft_p95_s",
    "tpot_mean_s", "output_tok_s", "output_tok_s_per_user",
    "goodput_per_s", "attainment", "error_rate", "score", "usd_per_good_request", "usd_per_1m_correct",
    "usd_per_1m_output_tokens", "cost_usd", *REASONING,
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
    searched, path = [] if one.run is None else fmt.search_answer(one.run.manifest, one.slo), search_table(one)
    several = fmt.has_intervals(one.judged)  # then a level with one run has no interval like the others'
    cells = [fmt.cell if several and j.point.repeat_count == 1 else fmt.interval_cell for j in one.judged]
    rows = [[*(show(j, name) for name in columns), j.slo_verdict] for show, j in zip(cells, one.judged, strict=True)]
    heads = [*(fmt.head(column, one.judged) for column in columns), "SLO"]
    parts = [
        f"### {markdown_text(one.model)}",
        f"**{said[0]}**",
        *(f"Judged again: {markdown_text(text)}." for text in judged_again(one)),
        "\n".join(f"- {aside}" for aside in said[1:]),
        "\n".join(f"- search: {markdown_text(line)}" for line in searched),
        f"{SEARCH_TITLE}:\n\n"
        + "\n".join(markdown_table(*fmt.known_columns(*path), right={*path[0]} - {*SEARCH_WORDS}))
        if path
        else "",
        "\n".join(markdown_table(*fmt.known_columns(heads, rows))),
        f"{CLOSED_LOOP_TITLE}:\n\n" + "\n".join(markdown_table(*closed, right=closed[0]))
        if (closed := closed_loop_table(one.judged))
        else "",
        "\n".join(f"- {markdown_text(note)}" for note in one.capacity_notes),
        "\n".join(warned),
        f"<sub>{facts}. Value [{CONFIDENCE} interval{f' {fmt.over_runs(columns)}' * several}].</sub>",
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

    judged_again is there where SLO or price are not the run's own, capacity where rates are beside a closed loop,
    search where a search went to its end or was stopped.
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
        **({} if judgement.run is None else search_json(judgement.run.manifest)),
        **capacity_json(judgement),
        "points": [
            point_json(one)
            | {"client": as_plain(judgement.clients.get(one.point.level))}
            | balance_json(judgement, one.point.level)
            for one in judgement.judged
        ],
        **decision_json(judgement.decision),
    }


def search_json(manifest: RunManifest) -> dict[str, Any]:
    """`search`: what was asked of a search, its answer and how it ended (`end`, null where it was killed); {} of a
    sweep."""
    return {} if manifest.search is None else {"search": as_plain(manifest.search.model_dump(mode="json"))}


def capacity_json(judgement: Judgement) -> dict[str, Any]:
    """`capacity`: the closed loop that rates are compared with, its optimum under the same SLO, and the rates beside
    it, measured and predicted; {} without one."""
    if (closed := judgement.capacity) is None:
        return {}
    points = [
        j.point.level.named()
        | {name: BY_COLUMN[name].of(j) for name in ("request_per_s", "e2e_mean_s", "usd_per_1m_output_tokens")}
        | {"slo_verdict": j.slo_verdict}
        for j in closed.judged
    ]
    named = {"run_id": closed.run_id, "source": closed.source, "notes": judgement.capacity_notes}
    rates = [{column: BY_COLUMN[column].of(j) for column in CLOSED_LOOP} for j in judgement.judged]
    return {"capacity": {**named, "optimum": _level_json(closed.best), "points": points, "rates": rates}}


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
    if not judged.point.probed:
        del point["probed"]
    warnings, ratios, distributions = (point.pop(name) for name in ("warnings", "ratios", "distributions"))
    kinds = (None, judged.point.level.kind)
    ratios, distributions = (
        {key: value for key, value in of.items() if METRICS[key].of_kind in kinds} for of in (ratios, distributions)
    )
    scored = [m for m in METRICS.values() if m.of_answers and judged.quality is not None]
    others = [m for m in METRICS.values() if m.unit == "usd" or m.key in REASONING or m.of_kind == "rate"]
    others = [m for m in others if not m.of_answers] + scored
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
            **{m.key: m.of(judged) for m in others if m.of is not None and m.of_kind in kinds},
            **{name: getattr(judged, name) for name in names},
            "limits": limits,
            "intervals": judged.intervals,
            "warnings": warnings,
            **({} if judged.quality is None else {"quality": quality_json(judged.quality)}),
        }
    )
    return plain


def quality_json(quality: Quality) -> dict[str, Any]:
    """The quality of a level without its items; n of an estimate counts items, that of a scenario requests."""
    plain: dict[str, Any] = as_plain(quality)
    for one in plain["scenarios"]:
        del one["items"], one["edits"]
    return plain | {"partial": quality.partial, "time_share": quality.time_share}


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
        **level.point.level.named(),
        "binding": decision.binding,
        "cost_usd": level.cost.cost_usd,
        "usd_per_1m_output_tokens": level.cost.usd_per_1m_output_tokens,
        "runner_up": _level_json(decision.runner_up),
        "reason": decision.reason,
        "verdict": decision.verdict,
        **decision.choice.point.level.named("cheapest_"),
        **(
            dict.fromkeys(level.point.level.named("proven_")) if proven is None else proven.point.level.named("proven_")
        ),
        **effort,
        **({} if decision.p_good is None else {"p_good": decision.p_good}),
        "p_opt": decision.p_opt,
        **sure,
    }
    return {"optimum": as_plain(optimum), "no_feasible": None}


def _level_json(judged: EvaluatedLevel | None) -> dict[str, Any] | None:
    if judged is None:
        return None
    return {
        **judged.point.level.named(),
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
_NO_TOKEN = "Never received a valid chunk to calculate TTFT. This response will be marked as failed!"  # vLLM's words


def vllm_files(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the content of a file for each point that was measured to its end: 'c0008-r0.json', ...

    Raises PointsError for a run that was not streamed: without first tokens vLLM's file would call all failed.
    """
    whole, goodput = run.whole, judged_spec(run).limits.goodput
    for measured, repeat in ((m, one) for m in level_rows(whole, goodput) for one in m.repeats):
        at = pc.and_(at_level(whole, measured.level), pc.equal(whole["repeat"], repeat.repeat))
        if measured.level.rate_per_s is not None:  # without its warm-up and its tail
            due_s = whole["scheduled_s"]
            at = pc.and_(at, pc.and_(pc.greater_equal(due_s, repeat.start_s), pc.less(due_s, repeat.end_s)))
        rows = whole.filter(at).select(_OF_VLLM).sort_by("scheduled_s")
        if rows["first_token_s"].null_count == len(rows) and pc.any(pc.equal(rows["status"], "ok")).as_py():
            raise PointsError(
                "the run was not streamed, and vLLM's files know no request without a first token",
                where=str(run.path),
                hint="--format csv or json",
            )
        duration_s = repeat.duration_s
        if measured.level.rate_per_s is not None:  # as vLLM counts it: until the last of these has ended
            duration_s = max(duration_s, (pc.max(rows["last_token_s"]).as_py() or 0.0) - repeat.start_s)
        good = measured.total("good", repeat)  # of these, as all its rates are
        found = vllm_result(rows, duration_s, good / duration_s if good is not None and duration_s > 0 else None)
        point_id = rows["point_id"][0].as_py()
        yield f"{point_id}.json", _header(run.manifest, point_id, measured.level, len(rows)) | found


_OF_VLLM = [
    "point_id", "scheduled_s", "sent_s", "first_token_s", "last_token_s", "chunk_gap_us",
    "input_tokens", "output_tokens", "status", "http_status", "error", "text",
]  # fmt: skip


def _header(manifest: RunManifest, point_id: str, level: Level, n_requests: int) -> dict[str, Any]:
    endpoint = (manifest.spec.get("server") or {}).get("endpoint")
    backend, arrivals = "openai" if endpoint == "completions" else "openai-chat", manifest.spec.get("arrivals") or {}
    return {
        "date": re.sub("[-:]", "", (manifest.created or "")[:19]).replace("T", "-"),
        "endpoint_type": backend,
        "backend": backend,
        "label": None,
        "model_id": manifest.model,
        "tokenizer_id": manifest.model,
        "num_prompts": n_requests,
        "benchsuite": manifest.benchsuite,
        "benchsuite_run_id": manifest.run_id,
        "benchsuite_point_id": point_id,
        "request_rate": "inf" if level.rate_per_s is None else level.rate_per_s,
        "burstiness": None if arrivals.get("arrival") == "constant" else arrivals.get("burstiness", 1.0),
        "max_concurrency": level.concurrency,
    }


def vllm_result(rows: pa.Table, duration_s: float, goodput_per_s: float | None = None) -> dict[str, Any]:
    """Totals, statistics and lists of one run of a level. rows: at least one, with the columns _OF_VLLM; in any order.

    Statistics are None where no request succeeded. An unknown token count is 0, as in vLLM's files.
    """
    names = ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "input_tokens", "output_tokens")
    columns = {name: rows[name].cast(pa.float64()).to_numpy() for name in names}
    scheduled_s, sent_s, first_s, last_s, tokens_in, tokens_out = columns.values()
    started, start_s = ~np.isnan(first_s), np.where(np.isnan(sent_s), scheduled_s, sent_s)
    failed = ~(pc.equal(rows["status"], "ok").to_numpy() & started & ~np.isnan(last_s))  # as vLLM counts them
    ok, errors = ~failed, [""] * len(rows)
    for i, row in zip(np.flatnonzero(failed), rows.filter(pa.array(failed)).to_pylist(), strict=True):
        errors[i] = _error(row)
    ttft_s, e2e_s = np.where(started, first_s - start_s, 0.0), np.where(failed, 0.0, last_s - start_s)
    n_in, n_out = np.nan_to_num(tokens_in).astype(int), np.where(failed, 0, np.nan_to_num(tokens_out)).astype(int)
    gaps_us = rows["chunk_gap_us"].cast(pa.list_(pa.int32()))
    n_gaps = np.where(started, pc.fill_null(pc.list_value_length(gaps_us), 0).to_numpy(), 0)
    gaps_s = pc.list_flatten(gaps_us.filter(pa.array(started))).to_numpy() * 1e-6
    each_s, ends = gaps_s.tolist(), np.cumsum(n_gaps).tolist()
    itls = [each_s[begin:end] for begin, end in pairwise([0, *ends])]
    lists = {
        "input_lens": n_in.tolist(),
        "output_lens": n_out.tolist(),
        "ttfts": ttft_s.tolist(),
        "itls": itls,
        "latencies": e2e_s.tolist(),
        "start_times": start_s.tolist(),
        "queue_times": np.maximum(start_s - scheduled_s, 0.0).tolist(),
        "generated_texts": [text or "" for text in rows["text"].to_pylist()],
        "errors": errors,
    }
    n_ok, sum_in, sum_out = int(ok.sum()), int(n_in[ok].sum()), int(n_out[ok].sum())
    per_s = 1 / duration_s if duration_s > 0 else 0.0
    peak_chunks, peak_requests = _peaks(start_s[ok], ttft_s[ok], e2e_s[ok], [itls[i] for i in np.flatnonzero(ok)])
    totals = {
        "duration": duration_s,
        "completed": n_ok,
        "failed": len(rows) - n_ok,
        "total_input_tokens": sum_in,
        "total_output_tokens": sum_out,
        "request_throughput": n_ok * per_s,
        "request_goodput": goodput_per_s,
        "output_throughput": sum_out * per_s,
        "total_token_throughput": (sum_in + sum_out) * per_s,
        "max_output_tokens_per_s": peak_chunks,
        "max_concurrent_requests": peak_requests,
        "rtfx": 0.0,
    }
    # vLLM divides by output_len - 1, which is too many where the first chunk holds several tokens
    after_first_chunk = tokens_after_first_chunk(n_out.astype(np.float64), n_gaps + 1.0)
    decoded = ok & (n_out > 1) & (after_first_chunk != 0)
    stats: dict[str, float | None] = {}
    for name, values_s in {
        "ttft": ttft_s[ok],
        "tpot": (e2e_s - ttft_s)[decoded] / after_first_chunk[decoded],
        "itl": gaps_s[np.repeat(ok, n_gaps)],
        "e2el": e2e_s[ok],
    }.items():
        keys = [f"{stat}_{name}_ms" for stat in ("mean", "median", "std", *(f"p{p}" for p in PERCENTILES))]
        ms = values_s * 1e3
        found = [ms.mean(), np.median(ms), ms.std(), *np.percentile(ms, PERCENTILES)] if len(ms) else []
        stats |= dict(zip(keys, map(float, found), strict=True)) if found else dict.fromkeys(keys)
    return totals | stats | lists


def _error(row: Mapping[str, Any]) -> str:
    """Of a request that failed; vLLM counts a response without a token as failed."""
    if row["status"] == "ok":
        return _NO_TOKEN
    told = row["error"] or "no further details"
    code = f" with HTTP status {row['http_status']}" if row["http_status"] else ""
    return f"benchsuite: the request ended as {row['status']}{code}: {told}"


_LONGEST_S = 10_000_000  # a run, and no table of its seconds is longer


def _peaks(start_s: Floats, ttft_s: Floats, e2e_s: Floats, gaps_s: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The most chunks and the most requests in any second since the first start, as vLLM counts them."""
    if not len(start_s):
        return 0.0, 0
    begin_s = start_s.min()
    n_seconds = int(np.clip(np.ceil((start_s + e2e_s).max() - begin_s), 0, _LONGEST_S)) + 1
    later_s = np.fromiter(chain.from_iterable(accumulate(gaps, initial=0.0) for gaps in gaps_s), np.float64)
    at_s = np.repeat(ttft_s + start_s, [len(gaps) + 1 for gaps in gaps_s]) + later_s - begin_s
    seconds = at_s.astype(np.int64)
    chunks = np.bincount(seconds[(seconds >= 0) & (seconds < n_seconds)])
    begins, ends = (
        np.clip(at_s, 0, n_seconds - 1).astype(np.int64) for at_s in (start_s - begin_s, start_s + e2e_s - begin_s)
    )
    came = np.bincount(begins, minlength=n_seconds + 1)
    went = np.bincount(ends + 1, minlength=n_seconds + 1)
    return float(chunks.max(initial=0)), int(np.cumsum(came - went).max())
