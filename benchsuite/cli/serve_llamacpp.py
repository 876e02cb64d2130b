"""`benchsuite serve llamacpp`: the embedded engine in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from benchsuite.cli.options import until_stopped
from benchsuite.serving.llamacpp import DEFAULT_CONTEXT_TOKENS, DEFAULT_SLOTS, TINY_MODEL_NAME, llamacpp

_COUNT = click.IntRange(min=1)


@click.command(
    "llamacpp",
    epilog="""\b
Examples:
  benchsuite serve llamacpp --port 8000
  benchsuite serve llamacpp --slots 4 --ctx 2048 --threads 2 --log llamacpp.log
""",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port of 127.0.0.1.")
@click.option("--slots", type=_COUNT, default=DEFAULT_SLOTS, show_default=True, help="Replies at once; more queue.")
@click.option(
    "--ctx",
    "context_tokens",
    type=_COUNT,
    default=DEFAULT_CONTEXT_TOKENS,
    show_default=True,
    help="Tokens per slot.",
)
@click.option("--threads", type=_COUNT, default=1, show_default=True, help="Compute threads.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A GGUF file, or a folder with a model.gguf. Default: the tiny model.",
)
@click.option("--name", default=TINY_MODEL_NAME, show_default=True, help="The model's name in requests.")
@click.option("--log", "log_path", type=click.Path(dir_okay=False, path_type=Path), help="Where the server logs.")
def command(
    port: int,
    slots: int,
    context_tokens: int,
    threads: int,
    model: Path | None,
    name: str,
    log_path: Path | None,
) -> None:
    """Serve llama.cpp until Ctrl-C or SIGTERM. When it is ready, one line says where and which model."""
    until_stopped(
        llamacpp(
            model=model,
            name=name,
            port=port,
            slots=slots,
            context_tokens=context_tokens,
            threads=threads,
            log_path=log_path,
        )
    )
