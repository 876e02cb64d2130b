"""`benchsuite serve simulator`: for trying a client or a sweep without an engine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchsuite.simulator.config import load_config
from benchsuite.simulator.server import serve


@click.command(
    "simulator",
    epilog="""\b
Examples:
  benchsuite serve simulator --port 8000 --ttft-s 0.2 --itl-s 0.02
  benchsuite serve simulator --port 8000 --itl-s 0.01 --slots 4
  benchsuite serve simulator --config simulator.toml

\b
A configuration (all its keys: docs/METHODS.md, Simulator):
  natural_output_tokens = 200
  [latency]
  ttft_s = 0.05
  itl_s = 0.01
  slots = 32
  itl_per_stream_s = 0.0005
  prefill_tokens_per_s = 8000
  [response]
  tokens_per_chunk = 2
  [[faults]]
  kind = "http_503"
  probability = 0.1
""",
)
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file; the options here go before it."
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port; 0 lets the system choose.  [default: 0]")
@click.option("--model", help="Model name.  [default: simulator]")
@click.option("--ttft-s", type=float, help="Seconds from request to first chunk.  [default: 0]")
@click.option("--itl-s", type=float, help="Seconds between chunks; 0: as fast as it can.  [default: 0]")
@click.option("--slots", type=int, help="Requests that run at once; more wait.  [default: no limit]")
@click.option("--seed", type=int, help="Seed of the faults' draws.  [default: 0]")
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def command(config: Path | None, until_stdin_closes: bool, **overrides: str | float | None) -> None:
    """An OpenAI-compatible server whose latencies are known on paper.

    Every chunk carries the CLOCK_MONOTONIC ns of its sending in system_fingerprint. Requests override latency and
    response with a body object `sim` or headers x-sim-NAME. Prints its port and base URL as one line of JSON.
    """
    latency = {f"latency.{name}": overrides.pop(name) for name in ("ttft_s", "itl_s", "slots")}
    serve(load_config(config, overrides | latency), sys.stdin.buffer if until_stdin_closes else None)
