"""The command line: `benchsuite VERB`. Each verb is a thin module, imported only when it is called."""

from __future__ import annotations

import importlib
import keyword
import sys

import click

from benchsuite import __version__
from benchsuite.errors import BenchsuiteError

VERBS = {
    "demo": "See it work: sweep a real engine on this machine.",
    "sweep": "Measure a server at several concurrency levels and decide.",
    "matrix": "Sweep a server under several settings and name the cheapest.",
    "decide": "Find the cheapest level that meets the SLO, from run folders or a points table.",
    "import": "Make a run folder of result files of vllm bench, GuideLLM or AIPerf.",
    "check": "Name disturbed runs and what limits trust; how cost and speed scale.",
    "cost": "The hourly cost of a GPU, owned or rented, and its parts.",
    "compare-api": "A month at an API against a month on own GPUs, and where they break even.",
    "plan": "How many GPUs a demand needs, or which GPUs a model fits.",
    "frontier": "Which models are worth their money: cost at their optimum against their score.",
    "workload": "Make or describe a request set.",
    "calibrate": "What the measuring client adds to the truth, on this machine.",
    "report": "Write the report of a run.",
    "recover": "Save what an interrupted run had measured.",
    "serve": "Start a server to measure: the embedded engine, the simulator.",
    "tiny-model": "Make the tiny random-weight model of the embedded engine.",
}


class _Verbs(click.Group):
    """Lists every verb without importing any: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in VERBS:
            return None
        file = name.replace("-", "_") + "_" * keyword.iskeyword(name)
        module = importlib.import_module(f"benchsuite.cli.{file}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, 1) if args else []
            if not close:
                raise
            raise click.UsageError(f"{error.format_message()} Did you mean {close[0]!r}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="benchsuite")
def cli() -> None:
    """Which model, on which GPU, at which concurrency, at what cost, under which latency promise: measured.

    Exit codes: 0 done (and the SLO met, where one was judged), 1 the run failed, 2 bad input, 3 measured, but no
    level meets the SLO, 4 check --strict found something.
    """


def main() -> None:
    """Entry point: every BenchsuiteError becomes one message on stderr and its exit code."""
    try:
        code = cli(standalone_mode=False)
    except BenchsuiteError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Abort:
        click.echo("aborted", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
