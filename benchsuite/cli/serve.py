"""`benchsuite serve ENGINE`: the engines, each imported only when it is called."""

from __future__ import annotations

import importlib

import click

ENGINES = {
    "llamacpp": "llama.cpp's own server with a tiny model: real continuous batching on any laptop.",
    "simulator": "A server whose latencies are known on paper: for calibration and faults.",
    "vllm": "vLLM, installed here or in a container.",
    "tgi": "Text Generation Inference, installed here or in a container.",
    "ollama": "Ollama, installed here or in a container; pulls and loads the model.",
    "transformers": "transformers serve, with continuous batching.",
}
_LAUNCHED = ("vllm", "tgi", "ollama", "transformers")


class _Engines(click.Group):
    """Lists every engine without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(ENGINES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in ENGINES:
            return None
        if name in _LAUNCHED:
            from benchsuite.cli.serve_launched import command_of

            return command_of(name)
        module = importlib.import_module(f"benchsuite.cli.serve_{name.replace('-', '_')}")
        engine: click.Command = module.command
        return engine

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Engines"):
            formatter.write_dl(list(ENGINES.items()))


@click.group(cls=_Engines)
def command() -> None:
    """Start a server to measure. It runs until Ctrl-C or SIGTERM, on 127.0.0.1.

    `benchsuite sweep --serve "ENGINE ..."` starts one, sweeps it and stops it.
    """
