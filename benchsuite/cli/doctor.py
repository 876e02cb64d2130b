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
    from benchsuite.load.doctor import Finding

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
    from benchsuite.spec_reading import load_spec, overrides

    keys = overrides(flags)
    server = spec is not None or "server.base_url" in keys or bool(os.environ.get("OPENAI_BASE_URL"))
    asked = load_spec(spec, keys if server else keys | {"server.base_url": _NOWHERE})
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
