"""`benchsuite decide`: the cheapest level that meets the SLO, from run folders or from a table of levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import (
    exit_code,
    json_option,
    judging_options,
    print_json,
)

if TYPE_CHECKING:
    from benchsuite.report.judge import Judgement


@click.command(
    epilog="""\b
Examples:
  benchsuite decide results/RUN --slo "ttft_p95<500ms,output_throughput_per_user>20"
  benchsuite decide results/A results/B --preset h100-low --json
  benchsuite decide --levels-csv docs/examples/paper_table4.csv --usd-per-hour 1.58
""",
)
@judging_options(energy=True)
@json_option
def command(asked: dict[str, Any], price: dict[str, Any], as_json: bool) -> int:
    """Decide again, from what is already measured: another SLO, another price, no server needed.

    Exit codes: 0 the level that is named is proven to meet the SLO (of several runs: one is), 6 that is undecided, 3 no
    level meets it, 2 bad input.
    """
    from benchsuite.api import decide

    judgements = decide(*asked.pop("runs"), **asked, **price)
    if as_json:
        print_json([_plain(one) for one in judgements])
    else:
        _print(judgements, each_level=asked["levels_csv"] is None)
    return exit_code(one.decision.verdict for one in judgements)


def _plain(judgement: Judgement) -> dict[str, Any]:
    from benchsuite.report.export import decision_json
    from benchsuite.report.format import headline

    decision, best = judgement.decision, judgement.best
    plain = decision_json(decision)
    optimum = plain["optimum"] or {}
    per_1m = None if best is None else best.intervals.get("usd_per_1m_output_tokens")
    return {
        "model": judgement.model,
        "optimum_concurrency": optimum.get("concurrency"),
        "cost_usd": optimum.get("cost_usd"),
        "usd_per_1m_output_tokens": optimum.get("usd_per_1m_output_tokens"),
        "usd_per_1m_output_tokens_low": per_1m.low if per_1m else None,
        "usd_per_1m_output_tokens_high": per_1m.high if per_1m else None,
        "verdict": decision.verdict,
        "sentence": headline(decision, judgement.judged),
        "recommended_concurrency": optimum.get("recommended_concurrency"),
        "proven_concurrency": optimum.get("proven_concurrency"),
        "effort": decision.effort,
        "p_opt": decision.p_opt if decision.kind == "optimum" else None,
        "p_by_level": {str(level): p for level, p in decision.p_by_level.items()} or None,
        "p_method": decision.p_method,
        "binding": optimum.get("binding"),
        "runner_up": optimum.get("runner_up"),
        "reason": decision.reason,
        "nearest": (plain["no_feasible"] or {}).get("nearest"),
        "warnings": [warn for one in judgement.judged for warn in one.point.warnings],
    }


def _print(judgements: list[Judgement], each_level: bool) -> None:
    """A row a model; each_level: a row a level of every model before it."""
    from rich.console import Console

    from benchsuite.report.console import say, table
    from benchsuite.report.format import grouped_warnings, usd, warning_text
    from benchsuite.report.terminal import final_table

    console = Console()
    if each_level:
        for one in judgements:
            final_table(one.judged, one.decision, one.slo, console=console, title=one.model)
        if len(judgements) == 1:
            return
    rows = [
        (
            row["model"],
            str(row["optimum_concurrency"] or "none"),
            row["verdict"],
            usd(row["cost_usd"]),
            usd(row["usd_per_1m_output_tokens"]),
            str((row["runner_up"] or {}).get("concurrency", "")),
            row["binding"] or row["reason"],
        )
        for row in map(_plain, judgements)
    ]
    heads = ("model", "optimum", "SLO", "$ per run", "$/1M output", "runner-up", "stopped by")
    title = "Cheapest level that is seen to meet the SLO, and whether that is proven"
    console.print(table(console, heads, rows, left=("model", "SLO", "stopped by"), title=title))
    if not each_level:
        for one in judgements:
            say(console, f"{one.model}: {one.decision.reason} ({one.decision.p_method})")
            for warn, levels in grouped_warnings(one.judged):
                say(console, f"warning {warn.code} {warning_text(warn, levels)}", style="yellow", indent=2)
