"""`benchsuite score`: the answers of a run scored again."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import click

from benchsuite.cli.options import PATH, json_option, print_json
from benchsuite.level import Level


@click.command(
    epilog="""\b
Examples:
  benchsuite score results/RUN
  benchsuite score results/RUN --workload exam-corrected.jsonl --only anatomy
  benchsuite score results/RUN --scorer "*=contains" --scorer "exam=choice"
"""
)
@click.argument("run", type=PATH)
@click.option("--workload", help="The request set, if not where it was: the same prompts.  [default: the run's]")
@click.option(
    "--scorer", "scorers", multiple=True, metavar="SCENARIO=NAME",
    help="Scorer of a scenario's prompts with a reference, or of all (*); repeatable.",
)  # fmt: skip
@click.option("--only", metavar="SCENARIO", help="Score this scenario again; the scores of others stay.")
@json_option
def command(run: Path, workload: str | None, scorers: tuple[str, ...], only: str | None, as_json: bool) -> int:
    """Score the answers of a run again, by the references and scorers that its request set has now.

    A sweep scores by itself where prompts have a scorer. Leaves scores.parquet in the run folder: a row for each
    request of a scored prompt, failed ones too, which score 0. Needs the answers' texts, and the same prompts.
    """
    from benchsuite.api import score
    from benchsuite.errors import InputError
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.format import level_head, percent

    for text in scorers:
        if "=" not in text:
            raise InputError("a scorer names its scenario", where="--scorer", given=text, expected="SCENARIO=NAME")
    given = {scenario: name for scenario, _, name in (text.partition("=") for text in scorers)}
    stored = score(run, workload=workload, scorers=given, only=only).stored
    assert stored.scores is not None
    levels = {point.point_id: point.level for point in stored.manifest.complete_points if point.level is not None}
    groups: dict[tuple[Level, str | None, str], list[dict[str, Any]]] = defaultdict(list)
    for row in stored.scores.table.to_pylist():
        groups[levels[row["point_id"]], row["scenario"], row["scorer"]].append(row)
    rows: list[dict[str, Any]] = []
    for level, scenario, scorer in sorted(groups, key=lambda one: (one[0], one[1] or "", one[2])):
        each = groups[level, scenario, scorer]
        judged = [row["score"] for row in each if row["score"] is not None]
        mean = sum(judged) / len(judged) if judged else None
        counts = {"n": len(each), "unread": sum(row["how"] == "unread" for row in each)}
        counts |= {name: sum(row[name] for row in each) for name in ("cut", "failed")}
        names = {"scenario": scenario, "scorer": scorer, "score": mean}
        rows.append(level.named() | names | counts | {"not_judged": len(each) - len(judged)})
    if as_json:
        print_json(rows)
        return 0
    console, shown = Console(), ("n", "unread", "cut", "failed", "not_judged")
    heads = (level_head(levels.values()), "scenario", "scorer", "score", *(name.replace("_", " ") for name in shown))
    cells = [
        [f"{row.get('concurrency', row.get('rate_per_s')):g}", row["scenario"] or "-", row["scorer"],
         percent(row["score"]), *(f"{row[name]:,}" for name in shown)]
        for row in rows
    ]  # fmt: skip
    console.print(table(console, heads, cells, left=("scenario", "scorer")))
    say(console, f"{stored.scores.table.num_rows:,} answers scored: {run / 'scores.parquet'}", style="dim")
    return 0
