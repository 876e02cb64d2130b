"""`benchsuite memory`: which GPUs hold a model of a given shape, and how many requests at once. No measurement."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from benchsuite.cli.options import NOT_MET, json_option


@click.command(
    epilog="""\b
Examples:
  benchsuite memory --params-b 70 --layers 80 --kv-heads 8 --head-dim 128 --context 4096 --concurrency 32
"""
)
@click.option("--params-b", type=float, required=True, help="All parameters, in 1e9.")
@click.option("--layers", type=int, required=True, help="Layers.")
@click.option("--kv-heads", type=int, required=True, help="Key/value heads (not query heads).")
@click.option("--head-dim", type=int, required=True, help="Size of a head.")
@click.option(
    "--context",
    "context_tokens",
    type=float,
    required=True,
    help="Mean tokens of a request in flight, prompt and answer.",
)
@click.option("--concurrency", type=int, required=True, help="Requests at once.")
@click.option(
    "--precision", "precisions", multiple=True, help="Of the weights, repeatable.  [default: fp16, int8, int4]"
)
@click.option("--kv-precision", default="fp16", show_default=True, help="Of the KV cache.")
@click.option("--memory-share", type=float, default=0.9, show_default=True, help="What the server may use.")
@click.option("--activation-gb", type=float, default=2.0, show_default=True, help="Kept for work, per GPU.")
@click.option("--gpu-memory-gb", type=float, help="One GPU of this memory instead of the table.")
@json_option
def command(as_json: bool, **flags: Any) -> int:
    """Which GPUs hold a model: weights and KV cache against the memory of 1, 2, 4 or 8 of them."""
    from rich.console import Console

    from benchsuite.api import memory_fit
    from benchsuite.report.console import plain, say
    from benchsuite.report.format import count, number

    found = memory_fit(**{key: value for key, value in flags.items() if value != ()})
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
        return 0 if any(one.fits for one in found) else NOT_MET
    from rich.table import Table

    console = Console()
    title = f"{flags['params_b']:g}B at {flags['concurrency']} requests of {flags['context_tokens']:g} tokens"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("GPU", "weights", "GB", "GPUs needed", "requests it holds", "KV GB a request"):
        table.add_column(name, justify="left" if name in ("GPU", "weights") else "right")
    for one in found:
        needed = str(one.gpu_count) if one.fits else f"more than {one.gpu_count}"
        cells = plain(one.gpu.name), one.precision, number(one.weights_gb), needed
        style = "" if one.fits else "dim"
        table.add_row(*cells, count(one.max_slots), number(one.kv_gb_per_slot), style=style)
    console.print(table)
    say(
        console,
        f"assumed: {flags['memory_share']:g} of the memory is the server's, {flags['activation_gb']:g} GB a GPU for "
        f"activations (measure it), KV cache in {flags['kv_precision']}, weights without the scales of quantisation, "
        f"1, 2, 4 or 8 GPUs in tensor parallel; memory: {found[0].gpu.source} {found[0].gpu.as_of}".rstrip(),
        style="dim",
    )
    return 0 if any(one.fits for one in found) else NOT_MET
