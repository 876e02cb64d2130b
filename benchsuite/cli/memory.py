"""`benchsuite memory`: which GPUs hold a model of a given shape, and how many requests at once. No measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import NOT_MET, given, json_option, print_json
from benchsuite.cli.spec_options import model_options
from benchsuite.economics.memory import MemoryDemand

if TYPE_CHECKING:
    from benchsuite.economics.memory import Fit


@click.command(
    epilog="""\b
Examples:
  benchsuite memory --params-b 70 --layers 80 --kv-heads 8 --head-dim 128 --context 4096 --concurrency 32
"""
)
@model_options(MemoryDemand)
@json_option
def command(as_json: bool, **flags: Any) -> int:
    """Which GPUs hold a model: weights and KV cache against the memory of 1, 2, 4 or 8 of them."""
    from benchsuite.api import memory_fit

    found = memory_fit(**given(flags))
    if as_json:
        print_json(found)
    else:
        _print(found, MemoryDemand(**given(flags)))
    return 0 if any(one.fits for one in found) else NOT_MET


def _print(found: list[Fit], asked: MemoryDemand) -> None:
    from rich.console import Console

    from benchsuite.report.console import say, table
    from benchsuite.report.format import count, number

    rows = [
        (
            one.gpu.name, one.precision, number(one.weights_gb),
            f"{'' if one.fits else 'more than '}{one.gpu_count}", count(one.max_slots), number(one.kv_gb_per_slot),
        )
        for one in found
    ]  # fmt: skip
    console = Console()
    heads = ("GPU", "weights", "GB", "GPUs needed", "requests it holds", "KV GB a request")
    title = f"{asked.params_b:g}B at {asked.concurrency} requests of {asked.context_tokens:g} tokens"
    styles = ["" if one.fits else "dim" for one in found]
    console.print(table(console, heads, rows, left=("GPU", "weights"), styles=styles, title=title))
    say(
        console,
        f"assumed: {asked.memory_share:g} of the memory is the server's, {asked.activation_gb:g} GB a GPU for "
        f"activations (measure it), KV cache in {asked.kv_precision}, weights without the scales of quantization, "
        f"1, 2, 4 or 8 GPUs in tensor parallel; memory: {found[0].gpu.source} {found[0].gpu.as_of}".rstrip(),
        style="dim",
    )
