"""`benchsuite doctor`: is this machine, and this server, fit to be measured?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.spec_options import GROUPS

if TYPE_CHECKING:
    from benchsuite.load.doctor import Finding

FAILED = 1
_NAMES = (
    "--base-url", "--model", "--profile", "--endpoint", "--api-key-env", "--api-key-file", "--insecure",
    "--concurrency", "--workers", "--gpu", "--gpu-ids", "--dcgm-url", "--metrics-url",
)  # fmt: skip
_FLAGS = [flag for flags in GROUPS.values() for flag in flags if flag.name in _NAMES]
_NOWHERE = "http://127.0.0.1"
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def _sweep_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    for flag in reversed(_FLAGS):
        command = click.option(flag.name, help=flag.help, **flag.options)(command)
    return command


@click.command(
    epilog="""\b
Examples:
  benchsuite doctor
  benchsuite doctor --base-url http://127.0.0.1:8000 --concurrency 8,64
  benchsuite doctor sweep.toml
  benchsuite doctor --base-url http://gpu1:8000 --dcgm-url http://gpu1:9400/metrics --json
"""
)
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@_sweep_flags
@click.option("--output", type=click.Path(path_type=Path), default=Path("results"), help="Where results will go.")
@click.option("--json", "as_json", is_flag=True, help="Plain data on stdout.")
def command(spec: Path | None, output: Path, as_json: bool, **flags: Any) -> int:
    """Check the machine, its GPUs and the server before a sweep: each line ok, warn or fail, with the remedy.

    Takes the sweep's own specification and flags. Without a server only the machine is looked at; with one, it gets up
    to three requests of 8 tokens. Exit codes: 0 nothing fails, 1 something does, 2 bad input.
    """
    from benchsuite.analysis.gpu import THROTTLES
    from benchsuite.load.doctor import check_up
    from benchsuite.spec_reading import load_spec

    keys = {flag.key: flags[flag.parameter] for flag in _FLAGS}
    server = spec is not None or keys["server.base_url"] is not None
    if keys["server.base_url"] is not None:
        keys["server.more_base_urls"] = ()
    asked = load_spec(spec, keys if server else keys | {"server.base_url": _NOWHERE}, {})
    findings = check_up(asked, output, THROTTLES, server=server)
    found = _as_json(findings) if as_json else _print(findings)
    return FAILED if any(one.verdict == "fail" for one in found) else 0


def _as_json(findings: Iterable[Finding]) -> list[Finding]:
    import dataclasses
    import json

    found = list(findings)
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in _STYLES}
    click.echo(json.dumps({**counts, "findings": [dataclasses.asdict(one) for one in found]}, indent=1))
    return found


def _print(findings: Iterable[Finding]) -> list[Finding]:
    """Each line as soon as it is found."""
    from rich.console import Console

    from benchsuite.report.console import say

    console, found = Console(), list[Any]()
    for one in findings:
        if not found or found[-1].area != one.area:
            say(console, one.area, style="bold")
        head = f"  {one.verdict:<5} {one.name + ':':<15}"
        _hang(console, head, one.found, _STYLES[one.verdict])
        if one.remedy is not None:
            _hang(console, " " * (len(head) - 3) + "-> ", one.remedy, "")
        found.append(one)
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in _STYLES}
    warnings = f"{counts['warn']} warning{'s' * (counts['warn'] != 1)}"
    say(console, f"{counts['ok']} ok, {warnings}, {counts['fail']} failed", style="bold")
    return found


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
