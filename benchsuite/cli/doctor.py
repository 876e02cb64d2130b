"""`benchsuite doctor`: is this machine, and this server, fit to be measured?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import FAILED, PATH, json_option, output_option, print_json
from benchsuite.cli.spec_options import spec_options

if TYPE_CHECKING:
    from benchsuite.load.doctor import Diagnostic

_NOWHERE = "http://127.0.0.1"
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command(
    epilog="""\b
Examples:
  benchsuite doctor
  benchsuite doctor --base-url http://127.0.0.1:8000 --concurrency 8,64
  benchsuite doctor sweep.toml
  benchsuite doctor --base-url http://gpu1:8000 --dcgm-url http://gpu1:9400/metrics --json
"""
)
@click.argument("spec", required=False, type=PATH)
@spec_options(
    "base_url", "model", "profile", "endpoint", "api_key_env", "api_key_file", "header", "query", "path", "extra_body",
    "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty", "reasoning_effort",
    "chat_template_kwargs", "system_prompt", "insecure",
    "first_token_timeout_s", "concurrency", "workers", "gpu", "gpu_ids", "dcgm_url", "metrics_url",
)  # fmt: skip
@output_option("Where results will go.", default=Path("results"), show_default=True)
@json_option
def command(spec: Path | None, output: Path, as_json: bool, **flags: Any) -> int:
    """Check the machine, its GPUs and the server before a sweep: each line ok, warn or fail, with the remedy.

    Takes the sweep's own specification and flags. Without a server only the machine is checked; a server gets up to
    three requests of 8 tokens, with 30 s for a first token unless given. Exit codes: 0 no check fails, 1 one does, 2
    bad input.
    """
    from benchsuite.analysis.gpu import THROTTLES
    from benchsuite.load.doctor import check_up
    from benchsuite.spec import load_spec, overrides

    keys = overrides(flags)
    server = spec is not None or "server.base_url" in keys or bool(os.environ.get("OPENAI_BASE_URL"))
    asked = load_spec(spec, keys if server else keys | {"server.base_url": _NOWHERE})
    results = check_up(asked, output, THROTTLES, server=server)
    done = list(results) if as_json else list(_shown(results))
    counts = {status: sum(result.status == status for result in done) for status in _STYLES}
    if as_json:
        print_json({**counts, "diagnostics": done})
    else:
        ok, warnings, failed = counts.values()
        click.secho(f"{ok} ok, {warnings} warning{'s' * (warnings != 1)}, {failed} failed", bold=True)
    return FAILED if counts["fail"] else 0


def _shown(results: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Each in a line as soon as it is known, on a terminal wrapped below itself."""
    from rich.table import Table
    from rich.text import Text

    from benchsuite.report.console import Console, safe, say

    console, area = Console(), ""
    if not console.is_terminal:
        console = Console(width=10_000)  # a line each
    for result in results:
        if result.area != area:
            area = result.area
            say(console, area, style="bold")
        lines = [(Text(f"  {result.status}", _STYLES[result.status]), Text(f"{result.name}:"), result.detail)]
        if result.remedy is not None:
            lines.append((Text(), Text("->", justify="right"), result.remedy))
        for status, name, words in lines:
            grid = Table.grid(padding=(0, 1))
            for width in (7, 18, None):
                grid.add_column(width=width, overflow="fold")
            grid.add_row(status, name, Text(safe(console, words)))
            console.print(grid)
        yield result
