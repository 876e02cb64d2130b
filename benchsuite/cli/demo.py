"""`benchsuite demo`: a real sweep of a real engine on this machine, from nothing."""

from __future__ import annotations

from pathlib import Path

import click

_LEVELS, _REQUESTS, _TOKENS = [1, 4, 8, 16, 32, 64], 96, 96
_SLO = "ttft_mean<1s,output_throughput_per_user>50"
_USD_PER_HOUR = 0.10


@click.command(
    epilog="""\b
Examples:
  benchsuite demo
  benchsuite demo --output results/first --quiet
""",
)
@click.option("--output", type=click.Path(path_type=Path), help="The run folder.  [default: results/<run_id>]")
@click.option("--quiet", is_flag=True, help="Print the decision and nothing else.")
@click.pass_context
def command(ctx: click.Context, output: Path | None, quiet: bool) -> int:
    """Sweep the embedded engine (llama.cpp with a tiny random model, on the CPU) and decide.

    The price is an assumption, 0.10 $/hour for a small cloud machine; the tokens and times are measured here.
    """
    from benchsuite.cli.sweep import command as sweep
    from benchsuite.serving.launch import launched
    from benchsuite.serving.launch_plan import parse_serve

    with launched(parse_serve("llamacpp")) as engine:
        code: int = ctx.invoke(
            sweep,
            base_url=engine.base_url,
            model=engine.model,
            profile="llamacpp",
            requests=_REQUESTS,
            max_output_tokens=_TOKENS,
            fixed_length=True,
            concurrency=_LEVELS,
            usd_per_hour=_USD_PER_HOUR,
            slo=_SLO,
            output=output,
            quiet=quiet,
        )
    return code
