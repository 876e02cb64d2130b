"""`benchsuite serve ENGINE`: each server that benchsuite starts, in the foreground; what differs is in `servers`.

`benchsuite tiny-model`: a model for those that need one.
"""

from __future__ import annotations

import signal
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import click

from benchsuite.cli.options import SECONDS, given, print_json, print_line
from benchsuite.cli.spec_options import model_options
from benchsuite.servers import LAUNCHED, SERVERS
from benchsuite.servers.base import Server

_FILE, _PORT = click.Path(dir_okay=False, path_type=Path), click.IntRange(1, 65535)


class _Engines(click.Group):
    """In the order of the servers' table."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(LAUNCHED)


@click.group(cls=_Engines)
def command() -> None:
    """Start a server to measure. It runs until Ctrl-C or SIGTERM, on 127.0.0.1.

    `benchsuite sweep --serve "ENGINE ..."` starts one, sweeps it and stops it.
    """


def _command_of(server: Server) -> click.Command:
    local = server.local
    assert local is not None, server.name

    def serve(words: tuple[str, ...], port: int, log_path: Path | None, **how: Any) -> int:
        from dataclasses import replace

        from benchsuite.serving.launch import compose_file, launched
        from benchsuite.serving.launch_plan import plan_of

        ours = [word for name in ("image", "python") if how.get(name) for word in (f"--{name}", how[name])]
        model = [words[0]] if words and not words[0].startswith("-") else []
        docker = how.get("docker") or how.get("print_compose") or False
        plan = plan_of(server.name, [*model, *ours, "--", *words[len(model) :]], docker=docker)
        if how.get("print_compose"):
            print_json(compose_file(plan, port))
            return 0
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end it in order
        try:
            with launched(
                replace(plan, port=port),
                log_path=log_path,
                ready_timeout_s=how["ready_timeout_s"],
                on_wait=lambda text: print_line(text, err=True),
            ) as engine:
                print_line(f"ready: {engine.base_url} model {engine.model or '(named by each request)'}")
                print_line(f"log: {engine.process.log_path}", err=True)
                engine.process.child.wait()
                raise engine.process.died("the server exited")
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
        return 0

    options: list[click.Parameter] = [
        click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, metavar="MODEL [-- ARGS...]"),
        click.Option(["--port"], type=_PORT, default=server.ports[0], show_default=True, help="Port."),
        click.Option(["--log", "log_path"], type=_FILE, help="Where the server logs.  [default: in the cache folder]"),
        click.Option(["--ready-timeout-s"], type=SECONDS,
                     help=f"Time limit for its start.  [default: {local.ready_timeout_s:g}]"),
    ]  # fmt: skip
    if server.docker:
        options += [
            click.Option(["--docker"], is_flag=True, help="Run it in a container with `docker compose`."),
            click.Option(["--image"], help="The container's image; IMAGE@sha256:... pins its digest."),
            click.Option(["--print-compose"], is_flag=True, help="Print the compose file and start nothing."),
        ]
    if local.module and not local.embedded:
        variable = f"BENCHSUITE_{server.name.upper()}_PYTHON"
        help_text = f"Interpreter or virtual environment of the engine.  [default: ${variable}, PATH]"
        options.append(click.Option(["--python"], help=help_text))
    program = " ".join([local.program, *takewhile(str.isidentifier, local.words.split())])
    how = f": `{program}`" + (", or its image with --docker" if server.docker else "") if local.program else ""
    about = [
        f"Serve a model with {server.title}{how}. {local.note}",
        "It listens on 127.0.0.1. When it is ready, one line prints its URL and model; it runs until Ctrl-C or "
        "SIGTERM. Arguments after -- are passed to the server unchanged.",
        *([] if server.tried else ["Implemented from its documentation; not yet tested."]),
    ]
    return click.Command(
        server.name,
        short_help=server.summary or f"{server.title}, installed here{' or in a container' * bool(server.docker)}.",
        callback=serve,
        params=options,
        help="\n\n".join(about),
        epilog="\b\nExamples:\n" + "\n".join(f"  benchsuite serve {example}" for example in server.examples),
        context_settings={"ignore_unknown_options": True},
    )


@command.command(
    "simulator",
    short_help=SERVERS["simulator"].summary,
    epilog="""\b
Examples:
  benchsuite serve simulator --port 8000 --ttft-s 0.2 --itl-s 0.02
  benchsuite serve simulator --port 8000 --itl-s 0.01 --slots 4
  benchsuite serve simulator --port 8000 --answers wineval:200 --error-rate 0.25
  benchsuite serve simulator --config simulator.toml

\b
A configuration (all its keys: benchsuite/simulator/config.py):
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
  [answers]
  workload = "wineval"
  requests = 200  # as the sweep: fewer requests are other prompts
  error_rate = 0.25
  seed = 7
""",
)
@click.option("--config", type=_FILE, help="TOML file; the options here override it.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port; 0 lets the system choose.  [default: 0]")
@click.option("--model", help="Model name.  [default: simulator]")
@click.option("--ttft-s", type=float, help="Seconds from request to first chunk.  [default: 0]")
@click.option("--itl-s", type=float, help="Seconds between chunks; 0: as fast as possible.  [default: 0]")
@click.option("--slots", type=int, help="Requests that run at once; more wait.  [default: no limit]")
@click.option("--seed", type=int, help="Seed of the random faults.  [default: 0]")
@click.option(
    "--answers",
    metavar="wineval[:REQUESTS]|FILE",
    help="Answer this request set's scored prompts, as right as it is asked to; of wineval as many as the sweep "
    "requests.  [default: none]",
)
@click.option("--error-rate", type=float, help="Share of them, in each scenario, that is wrong.  [default: 0]")
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def _simulator(config: Path | None, until_stdin_closes: bool, **overrides: str | float | None) -> None:
    """An OpenAI-compatible server whose latencies are known on paper.

    Every chunk carries the CLOCK_MONOTONIC ns of its sending in system_fingerprint. Requests override latency and
    response with a body object `sim` or headers x-sim-NAME. Prints its port and base URL as one line of JSON.
    """
    from benchsuite.simulator.config import load_config
    from benchsuite.simulator.server import serve

    latency = {f"latency.{name}": overrides.pop(name) for name in ("ttft_s", "itl_s", "slots")}
    source, error_rate = overrides.pop("answers"), overrides.pop("error_rate")
    name, colon, requests = str(source or "").partition(":")
    of_wineval = name == "wineval" and colon and requests.isdecimal()
    answers = {
        "answers.workload": name if of_wineval else source,
        "answers.requests": int(requests) if of_wineval else None,
        "answers.error_rate": error_rate,
    }
    serve(load_config(config, overrides | latency | answers), sys.stdin.buffer if until_stdin_closes else None)


for _name in LAUNCHED:
    if _name != "simulator":
        command.add_command(_command_of(SERVERS[_name]))


@click.command(
    "tiny-model",
    epilog="""\b
Examples:
  benchsuite tiny-model models/tiny
  benchsuite tiny-model models/ends --eos-every 50 --seed 7 --no-gguf
""",
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@model_options("TinyModelSpec")
@click.option("--gguf/--no-gguf", default=True, show_default=True, help="Also write model.gguf, for llama.cpp.")
def tiny_model(directory: Path, gguf: bool, **sizes: Any) -> None:
    """Write a tiny Llama with random weights into DIRECTORY: Hugging Face layout, and GGUF.

    The same options give the same bytes. By default it never ends a reply by itself, so every server generates exactly
    the tokens that it is asked for.
    """
    from benchsuite.serving.tiny_model import TinyModelSpec, make_tiny_model
    from benchsuite.strict_model import validated

    spec = validated(TinyModelSpec, given(sizes), "the tiny model", where="flags")
    parameters, producible = make_tiny_model(directory, spec, gguf=gguf)
    print_line(
        f"{directory}: {parameters / 1e6:.2f} M parameters, vocabulary {spec.vocab_size}"
        f" ({producible} producible), context {spec.context_tokens} tokens"
    )
    for path in sorted(directory.iterdir()):
        print_line(f"  {path.stat().st_size:>10,} bytes  {path.name}")
