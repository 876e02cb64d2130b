"""`benchsuite serve vllm|tgi|ollama|transformers`: servers that benchsuite starts, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from benchsuite.cli.options import until_stopped

PORTS = {"vllm": 8000, "tgi": 8080, "ollama": 11434, "transformers": 8000}
_HELP = {
    "vllm": "Serve a model with vLLM: `vllm serve`, or its image with --docker.",
    "tgi": "Serve a model with Text Generation Inference: `text-generation-launcher`, or its image with --docker.",
    "ollama": "Serve a model with Ollama, pulled and loaded; settings such as --num-parallel N go after --.",
    "transformers": "Serve a model with `transformers serve`, with continuous batching unless told otherwise.",
}
_EXAMPLES = {
    "vllm": ["vllm Qwen/Qwen3-0.6B", "vllm Qwen/Qwen3-0.6B --docker --port 8001 -- --max-num-seqs 64"],
    "tgi": ["tgi Qwen/Qwen3-0.6B --docker -- --max-concurrent-requests 256"],
    "ollama": ["ollama qwen3:0.6b -- --num-parallel 32 --context-length 4096"],
    "transformers": ["transformers Qwen/Qwen3-0.6B --python ~/venvs/hf -- --dtype bfloat16"],
}


def command_of(engine: str) -> click.Command:
    """The command of one engine."""
    python = engine in ("vllm", "transformers")
    docker = engine != "transformers"

    def command(
        words: tuple[str, ...],
        port: int,
        log_path: Path | None,
        ready_timeout_s: float | None,
        use_docker: bool = False,
        image: str | None = None,
        python: str | None = None,
    ) -> int:
        from dataclasses import replace

        from benchsuite.serving.launch import launched, plan_of

        own = [*(["--image", image] if image else []), *(["--python", python] if python else [])]
        model = [words[0]] if words and not words[0].startswith("-") else []
        plan = plan_of(engine, [*model, *own, "--", *words[len(model) :]], docker=use_docker)

        def tell(text: str) -> None:
            click.echo(f"waiting: {text}", err=True)

        return until_stopped(
            launched(replace(plan, port=port), log_path=log_path, ready_timeout_s=ready_timeout_s, on_wait=tell),
            tell_log=True,
        )

    command.__doc__ = f"""{_HELP[engine]}

    It listens on 127.0.0.1. When it is ready, one line says where and which model; it runs until Ctrl-C or SIGTERM.
    All after -- goes to the server unchanged.
    """
    parameters: list[click.Parameter] = [
        click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, metavar="MODEL [-- ARGS...]"),
        click.Option(["--port"], type=click.IntRange(1, 65535), default=PORTS[engine], show_default=True, help="Port."),
        click.Option(
            ["--log", "log_path"],
            type=click.Path(dir_okay=False, path_type=Path),
            help="Where the server logs.  [default: kept in the cache folder]",
        ),
        click.Option(["--ready-timeout-s"], type=float, help="When starting is given up.  [default: 1800]"),
    ]
    if docker:
        parameters += [
            click.Option(["--docker", "use_docker"], is_flag=True, help="In a container, by `docker compose`."),
            click.Option(["--image"], help="The container's image; IMAGE@sha256:... pins its bytes."),
        ]
    if python:
        variable = f"BENCHSUITE_{engine.upper()}_PYTHON"
        parameters.append(
            click.Option(["--python"], help=f"Interpreter or environment that has it.  [default: ${variable}, PATH]")
        )
    examples = "\n".join(f"  benchsuite serve {example}" for example in _EXAMPLES[engine])
    return click.Command(
        engine,
        callback=command,
        params=parameters,
        help=command.__doc__,
        epilog=f"\b\nExamples:\n{examples}",
        context_settings={"ignore_unknown_options": True},
    )
