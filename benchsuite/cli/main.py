"""The command line: `benchsuite VERB`. Each verb is a thin module, imported only when it is called."""

from __future__ import annotations

import importlib
import io
import keyword
import os
import sys
import traceback

import click
from click.shell_completion import get_completion_class

from benchsuite import __version__, keep_pandas_out
from benchsuite.errors import BenchsuiteError
from benchsuite.redact import mask_stream, printable, remember_secrets

VERBS = {
    "demo": "See it work: sweep a real engine on this machine.",
    "init": "Write a commented sweep.toml for a running server.",
    "find": "Measure the cheapest level that meets the SLO, in the fewest minutes.",
    "sweep": "Measure a server at several concurrency levels or rates, and decide.",
    "doctor": "Check this machine and a server before a measurement.",
    "runs": "List run folders: model, server, date, SLO, decision.",
    "matrix": "Sweep a server under several settings and name the cheapest.",
    "decide": "Find the cheapest level that meets the SLO, from run folders or a table of levels.",
    "import": "Import result files of vllm bench, GuideLLM or AIPerf as a run folder.",
    "score": "Score the answers of a run again: other references, other scorers.",
    "check": "Find disturbed levels and other reasons for doubt; how cost and speed scale.",
    "cost": "The hourly cost of a GPU, owned or rented, and its parts.",
    "plan": "Monthly cost of a demand: own replicas, APIs or both; how many GPUs, how certain.",
    "memory": "Which GPUs hold a model.",
    "frontier": "Compare models: cost at their optimum against their score.",
    "workload": "Make, describe or convert a request set.",
    "calibrate": "Measure the error of the measuring client on this machine.",
    "report": "Write the report of a run.",
    "gate": "Pass or fail a run against an SLO or a baseline; for CI.",
    "ab": "Compare two builds, measured alternately in one session; for CI.",
    "recover": "Recover the rows of an interrupted run.",
    "serve": "Start a server to measure: vLLM, SGLang, TGI, Ollama, llama.cpp, a simulator and others.",
    "tiny-model": "Make the tiny random-weight model of the embedded engine.",
    "schema": "Print the JSON Schema of a sweep.toml.",
    "completion": "Print the completion script for bash, zsh or fish.",
}


# verbs that stand in another verb's module, as a command of their name
_IN = {
    "ab": "gate", "completion": "main", "demo": "sweep", "frontier": "decide", "memory": "cost", "recover": "sweep",
    "schema": "spec_file", "tiny-model": "serve",
}  # fmt: skip


def load_verb(name: str) -> click.Command:
    module = importlib.import_module(f"benchsuite.cli.{_IN.get(name, name + '_' * keyword.iskeyword(name))}")
    command: click.Command = getattr(module, name.replace("-", "_") if name in _IN else "command")
    return command


class _Verbs(click.Group):
    """Knows every verb by its name and summary, and imports only the one that is called: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, verb, rest = super().resolve_command(ctx, args)
        return name, verb and load_verb(verb.name or ""), rest


@click.group(
    cls=_Verbs,
    commands=[click.Command(name, short_help=summary) for name, summary in VERBS.items()],
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  benchsuite demo
  benchsuite find --base-url http://127.0.0.1:8000 --slo "ttft_p95<500ms" --usd-per-hour 1.99
  benchsuite init && benchsuite sweep sweep.toml
  benchsuite sweep --base-url http://127.0.0.1:8000 --concurrency 8,16,32 --usd-per-hour 1.99
  benchsuite decide results/RUN --slo "ttft_p95<500ms"

\b
Exit codes:
    0  done; if an SLO was judged, it is met
    1  the run failed
    2  bad input
    3  measured, but no level meets the SLO
    4  check --strict found something
    5  the gate failed
    6  undecided: neither is proven yet
  130  interrupted (143 by SIGTERM, 129 by a lost terminal)

\b
Environment:
  OPENAI_BASE_URL      the server, if neither --base-url nor a file names one
  OPENAI_API_KEY       the server's API key (--api-key-env names another)
  FALLBACK_API_KEY     the key of a fallback API
  BENCHSUITE_*_PYTHON  where `serve vllm` and others find their engine
All of them: docs/guide/reference.md.
""",
)
@click.version_option(__version__, prog_name="benchsuite")
def cli() -> None:
    """Which model, on which GPU, at which concurrency, at what cost, under which latency promise: measured."""


@click.command(
    epilog="""\b
Examples:
  benchsuite completion bash > ~/.local/share/bash-completion/completions/benchsuite
  echo 'eval "$(benchsuite completion zsh)"' >> ~/.zshrc
  benchsuite completion fish > ~/.config/fish/completions/benchsuite.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell; the examples say where it goes."""
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "benchsuite", "_BENCHSUITE_COMPLETE").source())


def main() -> None:
    """Entry point: every BenchsuiteError becomes one message on stderr and its exit code.

    Whatever is written on stdout or stderr is masked, and what is made is nobody else's to change, whatever the umask.
    """
    os.umask(os.umask(0o022) | 0o002)
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # of a large run the others hold half as much again
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a search plans while the load runs: twice the CPU is no faster
    remember_secrets(os.environ, *sys.argv[1:])
    keep_pandas_out()
    for name in ("stdout", "stderr"):  # closed by the caller
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until the end
        elif isinstance(getattr(stream, "buffer", None), io.RawIOBase):  # PYTHONUNBUFFERED: a write in part is no error
            line = {"buffering": 1, "encoding": stream.encoding, "errors": stream.errors, "closefd": False}
            setattr(sys, name, open(stream.fileno(), "w", **line))  # noqa: SIM115, PTH123
    outputs = [sys.stdout, sys.stderr]
    for stream in outputs:
        mask_stream(stream)
    try:
        sys.exit(_run())
    finally:
        for stream in outputs:
            vars(stream).pop("write", None)


def _run() -> int:
    try:
        code = cli(prog_name="benchsuite", standalone_mode=False)
    except BenchsuiteError as error:
        click.echo(printable(f"error: {error}"), err=True)
        return error.exit_code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(printable(shown.getvalue()), err=True, nl=False)
        return 2
    except click.exceptions.Abort:
        click.echo("aborted", err=True)
        return 130
    except OSError as error:  # a full disk, a folder that is not there, an output that takes nothing
        click.echo(printable(f"error: a file cannot be read or written\n  given:    {error}"), err=True)
        return 1
    except Exception:  # a fault of ours: its traceback may hold what others wrote
        click.echo(printable(traceback.format_exc()), err=True, nl=False)
        return 1
    return code if isinstance(code, int) else 0
