"""`benchsuite init`: a commented sweep.toml for the server that is there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import output_option, print_line
from benchsuite.redact import single_line

if TYPE_CHECKING:
    from benchsuite.load.server_probe import DiscoveredServer

_ESTIMATED = 1.15  # tokens are estimated from the text; a server's own count may be higher
_FEWEST = 64


@click.command(
    epilog="""\b
Examples:
  benchsuite init
  benchsuite init --base-url http://127.0.0.1:8000 --output vllm.toml
  benchsuite init && benchsuite sweep sweep.toml
"""
)
@click.option(
    "--base-url",
    envvar="OPENAI_BASE_URL",
    help="The server, with or without /v1.  [default: $OPENAI_BASE_URL, else the usual ports of this machine]",
)
@output_option("The file.", default=Path("sweep.toml"), show_default=True)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(base_url: str | None, output: Path, force: bool) -> int:
    """Write a sweep.toml for a running server: its model, suitable levels, every key with its default.

    Asks the server at --base-url, or tries the usual ports of this machine; sends nothing that costs tokens. Without a
    server it writes a template.
    """
    from benchsuite.cli.spec_file import spec_toml
    from benchsuite.errors import InputError
    from benchsuite.load.server_probe import PORTS, discover, discover_servers
    from benchsuite.spec import load_spec
    from benchsuite.store.files import write_output

    if (output.is_file() or output.is_dir()) and not force:
        raise InputError(
            "the file already exists", where=str(output), expected="a new file", hint="--force, or --output FILE"
        )
    servers = discover_servers() if not base_url else [discover(base_url)]
    keys, words = _choices(servers[0] if servers else None)
    next_step = f"benchsuite sweep {shlex.quote(str(output))}"
    text = spec_toml(_heading(servers, next_step), keys, words)
    if write_output(output, text):
        load_spec(output, {})  # what is written holds together, whatever a server calls its models
    if not servers:
        print_line(f"no server answers on the usual ports of this machine ({', '.join(map(str, PORTS))})")
        print_line(f"{output}: a template; put the server's URL into base_url, or start one: benchsuite serve llamacpp")
    for server in servers:
        print_line(f"found {_describe(server)}")
    if servers:
        print_line(f"{output}: for {servers[0].model or 'no model listed'}; next: {next_step}")
    return 0


def levels_for(slots: int | None) -> list[int]:
    """Levels that a server with so many slots takes at once: the usual ones, or powers of two up to all slots."""
    from benchsuite.spec import DEFAULT_LEVELS

    usual = [level for level in DEFAULT_LEVELS if slots is None or level <= slots]
    if slots is None or len(usual) >= 3:
        return usual
    return sorted({2**i for i in range(slots.bit_length()) if 2**i <= slots} | {slots})


def _choices(server: DiscoveredServer | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The keys that are set, and words for keys instead of their own."""
    from benchsuite.economics.prices import presets
    from benchsuite.slo import PAPER_SLO

    prices = ", ".join(f"{price.name} {price.usd_per_hour:.2f}" for price in presets().values())
    words = {
        "price.usd_per_hour": "$ per GPU-hour: put yours here",
        "price.preset": f"a price by name instead ($/h): {prices}",
        "workload.requests": "a first look: ten for each user of the highest level; wineval has 2993. Of a file not "
        "more than its lines: it would start again, and a copy tells less than another prompt",
    }
    keys: dict[str, Any] = {"slo": PAPER_SLO, "server.base_url": "http://127.0.0.1:8000"}
    if server is None:
        return keys | {"workload.requests": 1280}, words
    levels = levels_for(server.slots)
    keys |= {"server.base_url": server.base_url, "load.concurrency": levels}
    keys["workload.requests"] = min(2993, max(100, 10 * max(levels)))
    if server.model is not None:
        keys["server.model"] = server.model
    if len(server.models) > 1:
        words["server.model"] = single_line(f"also available: {', '.join(server.models[1:])}")
    if server.kind.recognise is not None:  # else a sweep's first requests may know better
        keys["server.profile"] = server.kind.name
    if server.slots is not None:
        name = server.kind.limits.slots if server.kind.limits else "slots"
        words["load.concurrency"] = f"the server takes {server.slots} at a time ({name}); above that requests wait"
    if server.context_tokens is not None:
        _fit_context(server.context_tokens, keys, words)
    if server.gpus:
        gpus = ", ".join(f"{server.gpus.count(name)} x {name}" for name in dict.fromkeys(server.gpus))
        words["price.gpus"] = f"that serve the model; in this machine: {single_line(gpus)}"
    return keys, words


def _fit_context(context_tokens: int, keys: dict[str, Any], words: dict[str, str]) -> None:
    """Cap the answers, where the longest prompts and their answers would not fit; and say what may still not."""
    from benchsuite.input_files import read_workload
    from benchsuite.request_spec import WorkloadSpec
    from benchsuite.workload.dataset import describe

    total = describe(read_workload(WorkloadSpec(requests=keys["workload.requests"]), 0))[-1]
    longest, cap = round(total.input_tokens.max or 0), round(total.max_output_tokens.max or 0)
    holds = f"cap on every request's output tokens; the server's context holds {context_tokens:,} with the prompt"
    if longest * _ESTIMATED + cap > context_tokens:
        holds += f", and the set's longest prompt has about {longest:,}"
        left = int(context_tokens - longest * _ESTIMATED)
        if left >= _FEWEST:
            keys["workload.max_output_tokens"] = left
        words["workload.source"] = (
            f"wineval (generated), or a JSONL file; prompts beyond the server's context of {context_tokens:,} tokens "
            "fail: a larger context, or shorter prompts"
        )
    words["workload.max_output_tokens"] = holds


def _describe(server: DiscoveredServer) -> str:
    version = f" {server.version}" if server.version else ""
    return single_line(f"{server.kind.title}{version} at {server.base_url}")


def _heading(servers: list[DiscoveredServer], next_step: str) -> str:
    what = f"A sweep of {_describe(servers[0])}" if servers else "A sweep: no server was found, so this is a template"
    also = "".join(f"Also found: {_describe(server)}\n" for server in servers[1:])
    return (
        f"{what}; written by `benchsuite init`.\n{also}Measure it: {single_line(next_step)}\n"
        "A line that begins with # is a default or an example: remove the # to set it. `benchsuite schema` is for "
        "editors.\nDurations are in seconds, prices in US dollars unless said otherwise."
    )
