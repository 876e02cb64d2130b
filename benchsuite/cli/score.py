"""`benchsuite score`: the answers of a run scored again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import PATH, Number, gathered, json_option, print_json, print_line

if TYPE_CHECKING:
    from rich.console import Console

    from benchsuite.quality.judge import Judge


@click.command(
    epilog="""\b
Examples:
  benchsuite score results/RUN
  benchsuite score results/RUN --workload exam-corrected.jsonl --only anatomy
  benchsuite score results/RUN --workload exam.jsonl --scorer "*=contains" --scorer "exam=choice"
  benchsuite score results/RUN --judge-url https://HOST/v1 --judge-model M --judge-rubric rubric.md
  benchsuite score results/RUN --against results/OTHER --judge-url https://HOST/v1 --judge-model M
"""
)
@click.argument("run", type=PATH)
@click.option("--workload", help="The request set again, if it was a file: the same prompts.")
@click.option(
    "--scorer", "scorers", multiple=True, metavar="SCENARIO=NAME",
    help="Scorer of a scenario's prompts with a reference, or of all (*); repeatable.",
)  # fmt: skip
@click.option("--only", metavar="SCENARIO", help="Score this scenario again; the scores of others stay.")
@gathered(
    "judging",
    click.option("--judge-url", help="An OpenAI-compatible server whose model judges answers by rubrics."),
    click.option("--judge-model", help="Its model."),
    click.option("--judge-key-env", default="JUDGE_API_KEY", show_default=True, help="Variable with its API key."),
    click.option("--judge-rubric", type=PATH, help="Rubric of prompts without one: a text, or TOML with a scale."),
    click.option("--judge-control", type=PATH, help="Answers with known verdicts, for sets without references."),
    click.option("--judge-concurrency", type=click.IntRange(1, 8), default=8, show_default=True,
                 help="Requests at a time."),
    click.option("--judge-max-tokens", type=click.IntRange(min=16), default=1024, show_default=True,
                 help="Most tokens of a verdict; more for a judge that thinks first."),
    click.option("--judge-usd-per-1m-input", type=Number(min=0), help="Its price per million input tokens."),
    click.option("--judge-usd-per-1m-output", type=Number(min=0), help="Its price per million output tokens."),
    click.option("--against", type=PATH, help="Have the judge compare with the answers of this run, and score none."),
)  # fmt: skip
@json_option
def command(
    run: Path,
    workload: str | None,
    scorers: tuple[str, ...],
    only: str | None,
    judging: dict[str, Any],
    as_json: bool,
) -> int:
    """Score the answers of a run again, by the references and scorers that its request set has now.

    A sweep scores by itself where prompts have a scorer. Leaves scores.parquet in the run folder, a row for each
    request of a scored prompt (failed ones score 0), and report.html and summary.json anew. Needs the answers' texts,
    and the same prompts.

    A judge is asked after the run, and answers with known verdicts among the others tell how far to believe it. Its
    verdicts are kept in judge.jsonl of the run folder: none is paid for twice.
    """
    from benchsuite.api import decide
    from benchsuite.errors import InputError
    from benchsuite.report.console import Console, say
    from benchsuite.report.export import quality_json
    from benchsuite.report.format import judge_lines, judging_of
    from benchsuite.report.terminal import print_quality
    from benchsuite.scoring import prefer, score

    for text in scorers:
        if "=" not in text:
            raise InputError("a scorer names its scenario", where="--scorer", given=text, expected="SCENARIO=NAME")
    judge, more = _judge(judging), {name: judging[name] for name in ("judge_rubric", "judge_control")}
    if judging["against"] is not None:
        if judge is None or scorers or only:
            raise InputError(
                "a comparison is a judge's", where="--against", expected="--judge-url, and no --scorer, --only"
            )
        facts = prefer(run, judging["against"], judge, workload=workload, progress=_progress, **more)
        if as_json:
            print_json(facts)
        else:
            _print_judge(Console(), facts, judge_lines(facts))
        return 0
    given = {scenario: name for scenario, _, name in (text.partition("=") for text in scorers)}
    scored = score(run, workload=workload, scorers=given, only=only, judge=judge, progress=_progress, **more)
    (judgement,) = decide(scored)
    found = None if scored.stored.scores is None else judging_of(scored.stored.scores.facts)
    if as_json:
        levels = ((j.point.level, j.quality) for j in judgement.judged)
        rows = [level.named() | quality_json(of) for level, of in levels if of is not None]
        print_json({"scores": rows, "judge": found} if found else rows)
        return 0
    console = Console()
    print_quality(judgement, console)
    if found:
        _print_judge(console, found)
    say(console, f"files in {run}: scores.parquet, report.html, summary.json", style="dim")
    return 0


def _judge(flags: dict[str, Any]) -> Judge | None:
    """The judge that the flags name; None where they name none. Raises InputError."""
    from benchsuite.errors import InputError
    from benchsuite.quality.judge import Judge

    url, model = flags["judge_url"], flags["judge_model"]
    if url is None and model is None:
        named = [name for name in ("judge_rubric", "judge_control", "judge_usd_per_1m_input", "judge_usd_per_1m_output")
                 if flags[name] is not None]  # fmt: skip
        if named:
            raise InputError("no judge is named", where=f"--{named[0].replace('_', '-')}", expected="--judge-url URL")
        return None
    if url is None or model is None:
        raise InputError("a judge is a server and its model", expected="--judge-url URL --judge-model MODEL")
    return Judge(
        url, model, key_env=flags["judge_key_env"], concurrency=flags["judge_concurrency"],
        max_tokens=flags["judge_max_tokens"],
        usd_per_1m_input=flags["judge_usd_per_1m_input"], usd_per_1m_output=flags["judge_usd_per_1m_output"],
    )  # fmt: skip


def _progress(done: int, total: int) -> None:
    if done % 100 == 0 and total > 100:
        print_line(f"judged {done:,} of {total:,}", err=True)


def _print_judge(console: Console, facts: dict[str, Any], lines: Iterable[str] = ()) -> None:
    """What to know before trusting a judge, below `lines`."""
    from benchsuite.quality.rubric import judge_findings
    from benchsuite.report.console import say

    for line in lines:
        say(console, line)
    for found in judge_findings(facts):
        say(console, f"{found.finding}; {found.effect}: {found.remedy}", style="yellow")
