"""`benchsuite score`: the answers of a run scored again."""

from __future__ import annotations

from pathlib import Path

import click

from benchsuite.cli.options import PATH, json_option, print_json


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
    from benchsuite.api import decide, score
    from benchsuite.errors import InputError
    from benchsuite.report.console import Console, say
    from benchsuite.report.export import quality_json
    from benchsuite.report.terminal import print_quality

    for text in scorers:
        if "=" not in text:
            raise InputError("a scorer names its scenario", where="--scorer", given=text, expected="SCENARIO=NAME")
    given = {scenario: name for scenario, _, name in (text.partition("=") for text in scorers)}
    (judgement,) = decide(score(run, workload=workload, scorers=given, only=only))
    if as_json:
        levels = ((j.point.level, j.quality) for j in judgement.judged)
        print_json([level.named() | quality_json(of) for level, of in levels if of is not None])
        return 0
    console = Console()
    print_quality(judgement, console)
    say(console, f"scores in {run / 'scores.parquet'}; `benchsuite report {run}` writes its report again", style="dim")
    return 0
