"""`benchsuite sweep`: measure a server at several concurrency levels, and decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

NOT_MET, FAILED = 3, 1


def whole_numbers(_: click.Context, __: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    try:
        return [int(level) for level in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers such as 8,16,32") from None


def _workers(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    return int(value) if value is not None and value.lstrip("-").isdigit() else value


# flag -> dotted key of the spec
_KEYS = {
    "base_url": "server.base_url",
    "model": "server.model",
    "profile": "server.profile",
    "endpoint": "server.endpoint",
    "stream": "server.stream",
    "api_key_env": "server.api_key_env",
    "insecure": "server.insecure",
    "workload": "workload.source",
    "requests": "workload.requests",
    "max_output_tokens": "workload.max_output_tokens",
    "fixed_length": "workload.fixed_length",
    "cache_bust": "workload.cache_bust",
    "save_text": "workload.save_text",
    "concurrency": "load.concurrency",
    "repeats": "load.repeats",
    "seed": "load.seed",
    "warmup_requests": "load.warmup_requests",
    "warmup_min_s": "load.warmup_min_s",
    "cooldown_min_s": "load.cooldown_min_s",
    "workers": "load.workers",
    "driver": "load.driver",
    "max_rps": "load.max_rps",
    "request_timeout_s": "timeouts.request_s",
    "usd_per_hour": "price.usd_per_hour",
    "preset": "price.preset",
    "gpus": "price.gpus",
    "slo": "slo",
}


@click.command(
    epilog="""\b
Examples:
  benchsuite sweep --base-url http://127.0.0.1:8000 --model my-model --usd-per-hour 1.99
  benchsuite sweep sweep.toml --concurrency 8,16,32 --repeats 3
  benchsuite sweep --base-url http://127.0.0.1:8000 --slo "ttft_p95<1s,tpot_mean<50ms" --preset h100-low
"""
)
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option("--base-url", help="The server, with or without /v1.")
@click.option("--model", help="As the server knows it.  [default: the only one that it lists]")
@click.option("--profile", help="auto, vllm, tgi, ollama, llamacpp, transformers or openai.  [default: auto]")
@click.option("--endpoint", help="chat or completions.  [default: chat]")
@click.option("--stream/--no-stream", default=None, help="Ask for a stream of tokens.  [default: stream]")
@click.option("--api-key-env", help="Environment variable with the API key.  [default: OPENAI_API_KEY]")
@click.option("--insecure", is_flag=True, default=None, help="Do not verify the server's TLS certificate.")
@click.option("--workload", help="'wineval', or a JSONL file of requests.  [default: wineval]")
@click.option("--requests", type=int, help="Size of the request set.  [default: 2993 for wineval, else the file's]")
@click.option("--max-output-tokens", type=int, help="Cap on every request's output tokens.")
@click.option("--fixed-length", is_flag=True, default=None, help="Make every output exactly as long as its cap.")
@click.option("--cache-bust", help="auto, field, prompt or off: how prompts are made new to prefix caches.")
@click.option("--save-text", is_flag=True, default=None, help="Keep the generated texts in requests.parquet.")
@click.option("--concurrency", callback=whole_numbers, help="Levels, such as 8,16.  [default: 8,16,32,48,64,128]")
@click.option("--repeats", type=int, help="Times that each level is measured.  [default: 1]")
@click.option("--seed", type=int, help="Seed of the request set, its order and the levels' order.  [default: 0]")
@click.option("--warmup-requests", type=int, help="Discarded requests before each point.  [default: max(2N, 64)]")
@click.option("--warmup-min-s", type=float, help="Least warm-up.  [default: 30 for sets of 1000 or more, else 0]")
@click.option("--cooldown-min-s", type=float, help="Least pause before each point.  [default: as for the warm-up]")
@click.option("--request-timeout-s", type=float, help="When a request is given up.  [default: 1800]")
@click.option("--usd-per-hour", type=float, help="Price of one GPU-hour.")
@click.option("--preset", help="A bundled price instead; see `benchsuite cost --list-presets`.")
@click.option("--gpus", type=int, help="GPUs that serve the model.  [default: 1]")
@click.option("--slo", help="Limits that must hold.  [default: ttft_mean<1s,throughput>20]")
@click.option("--workers", callback=_workers, help="Measuring processes, or auto.  [default: 1]")
@click.option("--driver", help="wire; or httpx, httpx-shared, openai to cross-check.  [default: wire]")
@click.option("--max-rps", type=float, help="Never send more requests a second than this.")
@click.option("--output", type=click.Path(path_type=Path), help="The run folder.  [default: results/<run_id>]")
@click.option("--quiet", is_flag=True, help="Print the decision and nothing else.")
def command(spec: Path | None, output: Path | None, quiet: bool, **flags: Any) -> int:
    """Measure a server at several concurrency levels, and find the cheapest that meets the SLO.

    Leaves a run folder with manifest.json, requests.parquet, summary.json and report.html. Exit codes: 0 the SLO is
    met at some level, 3 at none, 2 bad input, 1 the run failed.
    """
    from benchsuite.load.sweep import sweep
    from benchsuite.report.judgement import judge_run, unit_price
    from benchsuite.report.page import write_report
    from benchsuite.report.terminal import SweepView, print_judgement
    from benchsuite.sources import read_workload
    from benchsuite.spec import load_spec
    from benchsuite.store import SUMMARY, read_run, write_json

    asked = load_spec(spec, {_KEYS[flag]: value for flag, value in flags.items()})
    unit_price(asked.price)
    requests = read_workload(asked.workload.source, asked.workload.requests, asked.load.seed)
    with SweepView(quiet=quiet) as view:
        result = sweep(asked, requests, output, view)
    run = read_run(result.path)
    if not result.complete and not any(point["status"] == "complete" for point in run.manifest["points"]):
        click.echo(f"stopped before a level was measured to its end; {run.table.num_rows} rows kept in {result.path}")
        return FAILED
    judgement = judge_run(run)
    write_json(result.path / SUMMARY, judgement.summary())
    print_judgement(judgement, result.path, quiet=quiet)
    write_report(result.path)
    if not result.complete:
        return FAILED
    return 0 if judgement.decision.kind == "optimum" else NOT_MET
