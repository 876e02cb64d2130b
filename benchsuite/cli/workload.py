"""`benchsuite workload`: make, describe or convert a request set."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import json_option, print_json, print_line
from benchsuite.cli.spec_options import spec_options

if TYPE_CHECKING:
    from benchsuite.workload.dataset import ScenarioStats, Workload

_random_options = spec_options(
    "input_tokens", "output_tokens", "length_stdev", "range", "prefix_tokens", "prefix_share", "scenario", "tokenizer"
)
_file_options = spec_options("requests", "column", "skip_bad", "block")
_tokenizer_option = spec_options("tokenizer")


@click.group("workload")
def command() -> None:
    """Make, describe or convert a request set."""


@command.command("make")
@click.argument("kind", type=click.Choice(["wineval", "random"]))
@click.option(
    "--requests",
    type=click.IntRange(1, 10_000_000),
    default=None,
    help="Number of requests.  [default: 2993; random: 1000]",
)
@click.option("--random-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the set.")
@click.option("--output", metavar="FILE", default="-", show_default=True, help="The JSONL file; - is stdout.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@_random_options
def make(kind: str, requests: int | None, random_seed: int, output: str, force: bool, **flags: Any) -> None:
    """Write a generated request set as native JSONL; the same options give the same bytes.

    \b
    Examples:
      benchsuite workload make wineval --output wineval.jsonl
      benchsuite workload make wineval --requests 64 --output workloads/wineval-64.jsonl
      benchsuite workload make random --scenario "N(480,240)/(300,150)" --output random.jsonl
    """
    from benchsuite.input_files import write_workload

    workload = _workload(kind, random_seed, {"requests": requests, **flags})
    write_workload(workload, output, force=force)
    if output != "-":
        print_line(f"{output}: {len(workload.prompts)} requests, {_hashes(workload)}", err=True)


@command.command("describe")
@click.argument("source", metavar="FILE|hf:...|wineval|random")
@_file_options
@click.option("--random-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the generated set.")
@_random_options
@json_option
def describe(source: str, random_seed: int, as_json: bool, **flags: Any) -> None:
    """Show the format, lengths, output caps and languages per scenario. Input tokens are estimated from the text.

    \b
    Examples:
      benchsuite workload describe wineval
      benchsuite workload describe workloads/wineval-64.jsonl --json
      benchsuite workload describe questions.csv --column prompt=Question --skip-bad 3
    """
    from benchsuite.workload.dataset import contents
    from benchsuite.workload.dataset import describe as stats_of

    workload = _workload(source, random_seed, flags)
    if as_json:
        facts: dict[str, Any] = {"name": workload.name, "content_hash": workload.content_hash}
        facts |= {"references_hash": workload.references_hash, "note": workload.note}
        facts["contents"] = contents(workload.prompts)
        facts["reading"] = None if workload.reading is None else dataclasses.asdict(workload.reading)
        print_json(facts | {"scenarios": [dataclasses.asdict(row) for row in stats_of(workload)]})
    else:
        _print(workload, stats_of(workload, bins=10))


@command.command("import")
@click.argument("format_name", metavar="FORMAT")
@click.argument("source", metavar="FILE|hf:...")
@_file_options
@_tokenizer_option
@click.option("--random-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of a trace's texts.")
@click.option("--output", metavar="FILE", default="-", show_default=True, help="The JSONL file; - is stdout.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def import_(format_name: str, source: str, random_seed: int, output: str, force: bool, **flags: Any) -> None:
    """Write a request set of another FORMAT as native JSONL; auto recognises each row by its keys.

    Traces (mooncake, which Alibaba's are too, azure, burstgpt, vidur) have no texts: random ones of their lengths are
    made. An exam (question, options, answer) becomes questions for a letter, scored; a sample file of lm-eval
    or evalscope what was sent.

    \b
    Examples:
      benchsuite workload import auto ShareGPT_V3.json --requests 1000 --output sharegpt.jsonl
      benchsuite workload import openai-batch batch.jsonl.gz --output set.jsonl
      benchsuite workload import exam exam.csv --output exam.jsonl
      benchsuite workload import lm-eval samples_gsm8k.jsonl --output gsm8k.jsonl
      benchsuite workload import mooncake conversation_trace.jsonl --requests 1000 --output trace.jsonl
      benchsuite workload import auto hf:openai/gsm8k:main:test --output gsm8k.jsonl
    """
    from benchsuite.input_files import write_workload
    from benchsuite.workload.formats import FORMATS

    names = ["auto", *(one.name for one in FORMATS)]
    if format_name not in names:
        raise click.BadParameter(f"{format_name!r} is not one of {', '.join(names)}", param_hint="FORMAT")
    workload = _workload(source, random_seed, flags, format_name)
    write_workload(workload, output, force=force)
    lines = [] if workload.reading is None else workload.reading.lines()
    total = f"{output}: {len(workload.prompts)} requests, {_hashes(workload)}"
    for line in [*lines, total]:
        print_line(line, err=True)


def _hashes(workload: Workload) -> str:
    references = workload.references_hash
    return f"sha256 {workload.content_hash}" + f", references {references}" * (references is not None)


def _workload(source: str, random_seed: int, flags: dict[str, Any], format_name: str = "auto") -> Workload:
    from benchsuite.input_files import read_workload
    from benchsuite.request_spec import WorkloadSpec
    from benchsuite.spec import overrides
    from benchsuite.strict_model import validated

    keys = {key.removeprefix("workload."): value for key, value in overrides(flags).items()}
    asked = validated(WorkloadSpec, {"source": source, **keys}, "the request set", where="flags")
    return read_workload(asked, random_seed, format_name)


def _print(workload: Workload, stats: list[ScenarioStats]) -> None:
    """What 80 columns hold; --json has the shares, and all statistics of the caps."""
    from benchsuite.report.console import Console, say, spark, table
    from benchsuite.report.format import DASH
    from benchsuite.workload.dataset import contents

    console, rows = Console(), []
    for row in stats:
        tokens, caps = row.input_tokens, row.max_output_tokens
        lengths = (tokens.mean, tokens.p50, tokens.p95, tokens.max, caps.p95)
        rows.append(
            (
                "all" if row.total else row.scenario or "(none)",
                str(row.n),
                *(DASH if length is None else f"{length:.0f}" for length in lengths),
                f"{row.language_share['zh'] * 100:.0f}",
                spark(console, [n or None for n in row.histogram]),
            )
        )
    heads = ("scenario", "n", "mean", "p50", "p95", "max", "cap p95", "zh %", "log")
    exact = (workload.lengths or {}).get("by") == "tokenizer"
    how = "as its tokenizer counts them" if exact else "estimated from the text"
    left, title = ("scenario", "log"), f"{workload.name}: input tokens of a request, {how}"
    console.print(table(console, heads, rows, left=left, title=title))
    say(console, "cap: max_output_tokens; log: histogram over the logarithm of the length", style="dim")
    lines = ([] if workload.note is None else [workload.note]) + (workload.reading.lines() if workload.reading else [])
    lines.append("with " + ", ".join(f"{what}: {n}" for what, n in contents(workload.prompts).items()))
    for line in lines:
        say(console, line, indent=2)
    for line in _hashes(workload).split(", "):
        say(console, line)
