"""`benchsuite sweep`: measure a server at several concurrency levels, and decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchsuite.cli.options import FAILED, NOT_MET, PATH, long_running, output_option, quiet_option
from benchsuite.cli.spec_options import SpecCommand, spec_options


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
  benchsuite sweep --resume results/20261121T120000Z-my-model-1a2b
""",
)
@click.argument("spec", required=False, type=PATH)
@spec_options()
@output_option()
@click.option("--resume", type=PATH, help="Measure what a run folder lacks, by its own spec.")
@click.option(
    "--serve", metavar="TEXT", help="Start this server, sweep it, stop it: 'vllm MODEL -- ARGS'; see `serve`."
)
@click.option("--serve-timeout-s", type=float, help="When starting it is given up.  [default: 1800]")
@click.option("--print-spec", is_flag=True, help="Print what would be measured as a sweep.toml, and measure nothing.")
@quiet_option
@long_running()
def command(
    spec: Path | None,
    output: Path | None,
    resume: Path | None,
    serve: str | None,
    serve_timeout_s: float | None,
    print_spec: bool,
    quiet: bool,
    **flags: Any,
) -> int:
    """Measure a server at several concurrency levels, and find the cheapest that meets the SLO.

    Leaves a run folder with manifest.json, requests.parquet, summary.json and report.html, and gpu.parquet and
    server.parquet where there was something to sample. The same spec into the same folder measures only what is
    missing. Exit codes: 0 the SLO is met at some level, 3 at none, 2 bad input, 1 the run failed.
    """
    from benchsuite.cli.spec_options import toml_of
    from benchsuite.load.launched_sweep import plan_sweep, run_sweep
    from benchsuite.report.judge import unit_price
    from benchsuite.report.live import SweepView
    from benchsuite.report.page import write_judged
    from benchsuite.report.terminal import print_judgement
    from benchsuite.spec_reading import overrides
    from benchsuite.store.run_folder import read_run

    asked, plan = plan_sweep(spec, overrides(flags), output=output, resume=resume, serve=serve)
    unit_price(asked.price)
    if print_spec:
        click.echo(toml_of(asked), nl=False)
        return 0
    with SweepView(quiet=quiet) as view:
        result = run_sweep(asked, plan, resume or output, view, ready_timeout_s=serve_timeout_s)
    for failure in result.failures:
        click.echo(f"error: {failure}", err=True)
    run = read_run(result.path)
    if not run.manifest.complete_points:
        click.echo(f"stopped before a level was measured to its end; {run.table.num_rows} rows kept in {run.path}")
        return FAILED
    judgement = write_judged(run)
    print_judgement(judgement, run.path, quiet=quiet)
    if not result.complete:
        click.echo(f"measure what is missing: benchsuite sweep --resume {run.path}", err=True)
        return FAILED
    return 0 if judgement.decision.kind == "optimum" else NOT_MET
