"""`benchsuite doctor`: is this machine, and this server, fit to be measured?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import FAILED, PATH, json_option, output_option
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
    "base_url", "model", "profile", "endpoint", "api_key_env", "api_key_file", "insecure",
    "concurrency", "workers", "gpu", "gpu_ids", "dcgm_url", "metrics_url",
)  # fmt: skip
@output_option("Where results will go.", default=Path("results"), show_default=True)
@json_option
def command(spec: Path | None, output: Path, as_json: bool, **flags: Any) -> int:
    """Check the machine, its GPUs and the server before a sweep: each line ok, warn or fail, with the remedy.

    Takes the sweep's own specification and flags. Without a server only the machine is looked at; with one, it gets up
    to three requests of 8 tokens. Exit codes: 0 nothing fails, 1 something does, 2 bad input.
    """
    from benchsuite.analysis.gpu import THROTTLES
    from benchsuite.load.doctor import check_up
    from benchsuite.spec import load_spec, overrides

    keys = overrides(flags)
    server = spec is not None or "server.base_url" in keys or bool(os.environ.get("OPENAI_BASE_URL"))
    asked = load_spec(spec, keys if server else keys | {"server.base_url": _NOWHERE})
    results = check_up(asked, output, THROTTLES, server=server)
    done = _as_json(results) if as_json else _print(results)
    return FAILED if any(result.status == "fail" for result in done) else 0


def _as_json(results: Iterable[Diagnostic]) -> list[Diagnostic]:
    import dataclasses
    import json

    done = list(results)
    diagnostics = [dataclasses.asdict(result) for result in done]
    click.echo(json.dumps({**_counts(done), "diagnostics": diagnostics}, indent=1))
    return done


def _counts(results: list[Diagnostic]) -> dict[str, int]:
    return {status: sum(result.status == status for result in results) for status in _STYLES}


def _print(results: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Each line as soon as it is known."""
    from rich.console import Console

    from benchsuite.report.console import say

    console, done = Console(), list[Any]()
    for result in results:
        if not done or done[-1].area != result.area:
            say(console, result.area, style="bold")
        head = f"  {result.status:<5} {result.name + ':':<15}"
        _hang(console, head, result.detail, _STYLES[result.status])
        if result.remedy is not None:
            _hang(console, " " * (len(head) - 3) + "-> ", result.remedy, "")
        done.append(result)
    counts = _counts(done)
    warnings = f"{counts['warn']} warning{'s' * (counts['warn'] != 1)}"
    say(console, f"{counts['ok']} ok, {warnings}, {counts['fail']} failed", style="bold")
    return done


def _hang(console: Any, head: str, words: str, style: str) -> None:
    """The words behind their head, wrapped below themselves; on one line where there is no terminal."""
    from rich.text import Text

    from benchsuite.report.console import safe

    text = Text(safe(console, words))
    width = max(20, console.width - len(head))
    lines = text.wrap(console, width) if console.is_terminal else [text]
    for i, line in enumerate(lines):
        line.rstrip()
        start = (head, style) if i == 0 else " " * len(head)
        console.print(Text.assemble(start, line), soft_wrap=True)
