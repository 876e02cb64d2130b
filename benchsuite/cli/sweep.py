"""`benchsuite sweep`: measure a server at several concurrency levels, and decide; demo; recover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchsuite.cli.options import (
    FAILED,
    PATH,
    SECONDS,
    exit_code,
    figure_options,
    long_running,
    output_option,
    print_json,
    print_line,
    quiet_option,
)
from benchsuite.cli.spec_options import SpecCommand, spec_options

_ASSUMED_TOKENS_PER_S = (100, 10)  # that a user gets: a fast server, and one that a person reads along with


@click.command(
    cls=SpecCommand,
    epilog="""\b
Examples:
  benchsuite sweep --base-url http://127.0.0.1:8000 --model my-model --usd-per-hour 1.99
  benchsuite sweep sweep.toml --concurrency 8,16,32 --repeats 3
  benchsuite sweep --serve "vllm Qwen/Qwen3-0.6B -- --max-num-seqs 64" --preset h100-low
  benchsuite sweep --serve "docker:tgi Qwen/Qwen3-0.6B" --preset h100-low
  benchsuite sweep --base-url http://gpu1:8000 --base-url http://gpu2:8000 --usd-per-hour 1.99 --gpus 2
  benchsuite sweep --base-url http://gpu1:8000 --fallback-url https://api.example.com --fallback-model big \\
      --fallback-usd-per-1m-input 0.5 --fallback-usd-per-1m-output 1.5
  benchsuite sweep --base-url http://127.0.0.1:8000 --slo "ttft_p95<1s,tpot_mean<50ms" --preset h100-low
  benchsuite sweep --resume results/20261121T120000Z-my-model-1a2b --base-url http://127.0.0.1:8000
""",
)
@click.argument("spec", required=False, type=PATH)
@spec_options()
@output_option()
@click.option("--resume", type=PATH, help="Measure the missing points of a run folder; give its server again.")
@click.option(
    "--serve", metavar="TEXT", help="Start this server, sweep it, stop it: 'vllm MODEL -- ARGS'; see `serve`."
)
@click.option("--serve-timeout-s", type=SECONDS, help="Time limit for its start.  [default: 1800]")
@click.option("--print-spec", is_flag=True, help="Print what would be measured as a sweep.toml, and measure nothing.")
@click.option("--dry-run", is_flag=True, help="Print the points and requests that it would take, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="The summary on stdout, everything else on stderr.")
@figure_options
@quiet_option
@long_running()
def command(
    spec: Path | None,
    output: Path | None,
    resume: Path | None,
    serve: str | None,
    serve_timeout_s: float | None,
    print_spec: bool,
    dry_run: bool,
    as_json: bool,
    figures: dict[str, Any],
    quiet: bool,
    **flags: Any,
) -> int:
    """Measure a server at several concurrency levels or request rates, and find the cheapest that meets the SLO.

    Leaves a run folder with manifest.json, requests.parquet, summary.json and report.html, and gpu.parquet and
    server.parquet where there was something to sample, scores.parquet where the set has scorers. The same spec into the
    same folder measures only what is missing. Exit codes: 0 the level that is named is proven to meet the SLO, 6 that
    is undecided (one run seldom proves it), 3 no level meets it, 2 bad input, 1 the run failed.
    """
    from functools import partial

    from benchsuite.cli.spec_file import toml_of
    from benchsuite.input_files import read_workload
    from benchsuite.load.launched_sweep import plan_sweep, run_sweep
    from benchsuite.load.schedule import minutes_words, plan_points, plan_words, replayed, seconds_between
    from benchsuite.load.sweep import SweepRunner
    from benchsuite.quality.score import RowScorer
    from benchsuite.records import UNJUDGED
    from benchsuite.redact import printable
    from benchsuite.report.console import Console
    from benchsuite.report.export import summary_json
    from benchsuite.report.judge import unit_price
    from benchsuite.report.live import SweepView
    from benchsuite.report.page import write_judged
    from benchsuite.report.terminal import Shown, print_judgement
    from benchsuite.spec import overrides
    from benchsuite.store.run_folder import read_run

    asked, plan = plan_sweep(spec, overrides(flags), output=output, resume=resume, serve=serve)
    unit_price(asked.price)
    shown, console = Shown.asked(**figures), Console(stderr=as_json)
    if print_spec:
        click.echo(toml_of(asked), nl=False)
        return 0
    if dry_run:
        asked, workload, times_s = replayed(asked, read_workload(asked.workload, asked.load.random_seed))
        prompts = workload.prompts
        points = plan_points(asked.load, len(prompts), "", asked.arrivals, times_s)
        hour_usd = unit_price(asked.price)
        total_usd = None if hour_usd is None else hour_usd * asked.price.gpus
        caps = [cap for one in prompts if (cap := asked.workload.max_output_tokens or one.max_output_tokens)]
        if len(caps) == len(prompts):
            fast_s, slow_s = (sum(caps) / len(caps) / tokens_per_s for tokens_per_s in _ASSUMED_TOKENS_PER_S)
            minutes = minutes_words(seconds_between(points, fast_s)[0], seconds_between(points, slow_s)[0], total_usd)
            minutes += ", if each user gets {:g} to {:g} tok/s and answers reach their cap".format(
                *_ASSUMED_TOKENS_PER_S
            )
        else:
            minutes = "how long is not known before the sweep's probe: answers have no cap (--max-output-tokens)"
        price = "no price given" if total_usd is None else f"${total_usd:.4g} an hour"
        print_line(f"{plan_words(points)}; {price}; {minutes}")
        return 0
    with SweepView(quiet=quiet, console=console) as view:
        runner = partial(SweepRunner, scoring=RowScorer.of_run)
        result = run_sweep(asked, plan, resume or output, view, ready_timeout_s=serve_timeout_s, runner=runner)
    for failure in result.failures:
        click.echo(printable(f"error: {failure}"), err=True)
    run = read_run(result.path, UNJUDGED)
    if not run.manifest.complete_points:
        print_line(f"stopped before a level was complete; {run.table.num_rows} rows kept in {run.path}", err=as_json)
        print_line(f"measure it: {run.manifest.resume_command(run.path)}", err=True)
        return FAILED
    judgement = write_judged(run)
    print_judgement(judgement, run.path, quiet=quiet, shown=shown, console=console)
    if as_json:
        print_json(summary_json(judgement))
    if not result.complete:
        print_line(f"measure what is missing: {run.manifest.resume_command(run.path)}", err=True)
        return FAILED
    return exit_code([judgement.decision.verdict])


@click.command(
    epilog="""\b
Examples:
  benchsuite demo
  benchsuite demo --output results/first --quiet
""",
)
@output_option()
@quiet_option
@click.pass_context
def demo(ctx: click.Context, output: Path | None, quiet: bool) -> int:
    """Sweep the embedded engine (llama.cpp with a tiny random model, on the CPU, random prompts) and decide.

    The price is an assumption, 0.10 $/hour for a small cloud machine; the tokens and times are measured here.
    """
    code: int = ctx.invoke(
        command, serve="llamacpp", workload="random", input_tokens=64, output_tokens=128, requests=64,
        warmup_requests=32, concurrency=[1, 4, 8, 16, 32], usd_per_hour=0.10, gpu="off",
        slo="ttft_mean<1s,output_throughput_per_user>100", output=output, quiet=quiet,
    )  # fmt: skip
    return code


@click.command(
    epilog="""\b
Examples:
  benchsuite recover results/20261121T120000Z-my-model-1a2b
  benchsuite sweep --resume results/20261121T120000Z-my-model-1a2b --base-url http://127.0.0.1:8000
"""
)
@click.argument("run", type=PATH)
def recover(run: Path) -> int:
    """Recover every row that an interrupted sweep wrote, and list the complete points.

    Reading a run does this too, in memory; here the journals become requests.parquet. `sweep --resume` measures the
    rest.
    """
    from collections import Counter

    from benchsuite.store import run_folder

    found = run_folder.recover(run)
    rows = Counter(zip(found.table["point_id"].to_pylist(), found.table["attempt"].to_pylist(), strict=True))
    for point in found.manifest.points:
        attempt = f" attempt {point.attempt + 1}" if point.attempt else ""
        print_line(f"{point.point_id}{attempt}: {rows[point.point_id, point.attempt]} rows, {point.status}")
    whole, planned = {p.point_id for p in found.manifest.complete_points}, found.manifest.planned_points
    missing = [point_id for point_id in planned if point_id not in whole]
    print_line(
        f"{found.table.num_rows} rows kept; {len(whole)} of {len(planned)} points complete; run {found.manifest.status}"
    )
    for line in found.damage:
        print_line(line)
    if missing:
        print_line(f"measure the rest: {found.manifest.resume_command(run)}")
    return 0
