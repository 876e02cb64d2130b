"""The memory half of `benchsuite plan`: which GPUs of the table hold a model, in which precision."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from benchsuite.economics.memory import Fit


def show_fit(flags: dict[str, Any], as_json: bool) -> bool:
    """Print the fits that the flags ask for; True if there is one. Raises InputError."""
    from benchsuite.economics.memory import GPUS, Gpu, ModelShape, Reserve, fits

    own = flags["gpu_memory_gb"]
    found = fits(
        ModelShape(flags["params_b"], flags["layers"], flags["kv_heads"], flags["head_dim"]),
        gpus=GPUS if own is None else (Gpu(f"{own:g} GB", own, "--gpu-memory-gb", ""),),
        precisions=flags["precision"] or ("fp16", "int8", "int4"),
        context_tokens=flags["context"],
        concurrency=flags["concurrency"],
        kv_precision=flags["kv_precision"],
        reserve=Reserve(flags["memory_share"], flags["activation_gb"]),
    )
    if as_json:
        click.echo(json.dumps([_plain(one) for one in found], indent=2))
    else:
        _print(found, flags)
    return any(one.fits for one in found)


def _plain(one: Fit) -> dict[str, Any]:
    return {
        "gpu": one.gpu.name,
        "memory_gb": one.gpu.memory_gb,
        "source": one.gpu.source,
        "as_of": one.gpu.as_of or None,
        "precision": one.precision,
        "fits": one.fits,
        "gpus_needed": one.gpu_count if one.fits else None,
        "single_gpu": one.fits and one.gpu_count == 1,
        "gpus_tried": one.gpu_count,
        "max_slots": one.max_slots,
        "weights_gb": one.weights_gb,
        "kv_gb_per_slot": one.kv_gb_per_slot,
    }


def _print(found: list[Fit], flags: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchsuite.report.console import say
    from benchsuite.report.words import count, number

    console = Console()
    title = f"{flags['params_b']:g}B at {flags['concurrency']} requests of {flags['context']:g} tokens"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("GPU", "weights", "GB", "GPUs needed", "requests it holds", "KV GB a request"):
        table.add_column(name, justify="left" if name in ("GPU", "weights") else "right")
    for one in found:
        table.add_row(
            one.gpu.name,
            one.precision,
            number(one.weights_gb),
            str(one.gpu_count) if one.fits else f"more than {one.gpu_count}",
            count(one.max_slots),
            number(one.kv_gb_per_slot),
            style="" if one.fits else "dim",
        )
    console.print(table)
    source = found[0].gpu
    say(
        console,
        f"assumed: {flags['memory_share']:g} of the memory is the server's, {flags['activation_gb']:g} GB a GPU for "
        f"activations (measure it), KV cache in {flags['kv_precision']}, weights without the scales of quantisation, "
        f"1, 2, 4 or 8 GPUs in tensor parallel; memory: {source.source} {source.as_of}".rstrip(),
        style="dim",
    )
