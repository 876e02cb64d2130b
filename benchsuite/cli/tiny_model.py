"""`benchsuite tiny-model DIR`: write the tiny random-weight model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchsuite.serving.tiny_model import TinyModelSpec, make_tiny_model

_DEFAULT = TinyModelSpec()


@click.command(
    "tiny-model",
    epilog="""\b
Examples:
  benchsuite tiny-model models/tiny
  benchsuite tiny-model models/ends --eos-every 50 --seed 7 --no-gguf
""",
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--hidden", "hidden_size", default=_DEFAULT.hidden_size, show_default=True, help="Hidden size.")
@click.option("--layers", default=_DEFAULT.layers, show_default=True, help="Number of layers.")
@click.option("--heads", default=_DEFAULT.heads, show_default=True, help="Attention heads.")
@click.option("--kv-heads", default=_DEFAULT.kv_heads, show_default=True, help="Key and value heads.")
@click.option("--inter", "intermediate_size", default=_DEFAULT.intermediate_size, show_default=True, help="MLP size.")
@click.option("--vocab", "vocab_size", default=_DEFAULT.vocab_size, show_default=True, help="Vocabulary size.")
@click.option("--ctx", "context_tokens", default=_DEFAULT.context_tokens, show_default=True, help="Context, tokens.")
@click.option("--seed", default=_DEFAULT.seed, show_default=True, help="Seed of the weights.")
@click.option("--eos-every", type=float, help="End replies after about N tokens (temperature 1). Default: never.")
@click.option("--any-bytes", is_flag=True, help="Let pieces of UTF-8 characters through.")
@click.option("--gguf/--no-gguf", default=True, show_default=True, help="Also write model.gguf, for llama.cpp.")
def command(directory: Path, gguf: bool, **sizes: Any) -> None:
    """Write a tiny Llama with random weights into DIRECTORY: Hugging Face layout, and GGUF.

    The same options give the same bytes. By default it never ends a reply by itself, so every server generates exactly
    the tokens that it is asked for.
    """
    spec = TinyModelSpec(**sizes)
    info = make_tiny_model(directory, spec, gguf=gguf)
    click.echo(
        f"{info.path}: {info.parameters / 1e6:.2f} M parameters, vocabulary {info.vocab_size}"
        f" ({info.producible_tokens} producible), context {spec.context_tokens} tokens"
    )
    for path in sorted(info.path.iterdir()):
        click.echo(f"  {path.stat().st_size:>10,} bytes  {path.name}")
