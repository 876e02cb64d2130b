"""`benchsuite init`: a commented sweep.toml for the server that is there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.redact import printable, single_line

if TYPE_CHECKING:
    from benchsuite.load.discover import Seen

_NAMES = {
    "vllm": "vLLM",
    "tgi": "TGI",
    "ollama": "Ollama",
    "llamacpp": "llama.cpp",
    "transformers": "transformers serve",
    "openai": "an OpenAI-compatible server",
}
_ESTIMATED = 1.15  # tokens are estimated from the text; a server's own count may be higher
_FEWEST = 64
_SLOTS = {"vllm": "max_num_seqs", "tgi": "max_concurrent_requests", "llamacpp": "slots"}


@click.command(
    epilog="""\b
Examples:
  benchsuite init
  benchsuite init --base-url http://127.0.0.1:8000 --output vllm.toml
  benchsuite init && benchsuite sweep sweep.toml
"""
)
@click.option("--base-url", help="The server, with or without /v1.  [default: the usual ports of this machine]")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("sweep.toml"), show_default=True, help="The file."
)
@click.option("--force", is_flag=True, help="Write over an existing file.")
def command(base_url: str | None, output: Path, force: bool) -> int:
    """Write a sweep.toml for the server that answers: its model, levels that it can take, every key with its default.

    Looks at --base-url, or at ports 8000, 8080, 11434, 3000 and 1234 of this machine; asks nothing that costs tokens.
    Without a server it is a template.
    """
    from benchsuite.cli.spec_options import spec_toml
    from benchsuite.errors import InputError
    from benchsuite.load.discover import look, look_around

    if output.exists() and not force:
        raise InputError(
            "the file exists already", where=str(output), expected="a new file", hint="--force, or --output FILE"
        )
    found = look_around() if base_url is None else [look(base_url)]
    set_here, said = _choices(found[0]) if found else _template()
    _write(output, spec_toml(_heading(found, output), set_here, said), force)
    for line in _told(found, output):
        click.echo(line)
    return 0


def _write(output: Path, text: str, force: bool) -> None:
    from benchsuite.errors import InputError
    from benchsuite.spec_reading import load_spec

    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError("the file cannot be written", where=str(output), given=error.strerror) from None
    load_spec(output, {})  # what is written holds together, whatever a server calls its models


def _template() -> tuple[dict[str, Any], dict[str, str]]:
    return {"server.base_url": "http://127.0.0.1:8000", "slo": "ttft_mean<1s,throughput>20"} | _requests([128]), _said()


def _requests(levels: list[int]) -> dict[str, Any]:
    """A first look: ten requests for each user of the highest level."""
    return {"workload.requests": min(2993, max(100, 10 * max(levels)))}


def _choices(seen: Seen) -> tuple[dict[str, Any], dict[str, str]]:
    from benchsuite.cli.spec_options import levels_for

    levels = levels_for(seen.slots)
    keys: dict[str, Any] = {"slo": "ttft_mean<1s,throughput>20", "server.base_url": seen.base_url}
    keys |= {"load.concurrency": levels} | _requests(levels)
    said = _said()
    if seen.model is not None:
        keys["server.model"] = seen.model
    if len(seen.models) > 1:
        said["server.model"] = single_line(f"also there: {', '.join(seen.models[1:])}")
    if seen.profile != "openai":  # a sweep's first requests may know better
        keys["server.profile"] = seen.profile
    if seen.slots is not None:
        name = _SLOTS.get(seen.profile, "slots")
        said["load.concurrency"] = f"the server takes {seen.slots} at a time ({name}); above that requests wait"
    if seen.context_tokens is not None:
        _fit_context(seen.context_tokens, keys, said)
    if seen.gpus:
        said["price.gpus"] = f"that serve the model; in this machine: {single_line(', '.join(_counted(seen.gpus)))}"
    return keys, said


def _fit_context(context_tokens: int, keys: dict[str, Any], said: dict[str, str]) -> None:
    """Cap the answers, where the longest prompts and their answers would not fit; and say what may still not."""
    from benchsuite.input_files import read_workload
    from benchsuite.workload.dataset import describe

    (all_of_it,) = (row for row in describe(read_workload("wineval", keys["workload.requests"], 0)) if row.total)
    longest, cap = round(all_of_it.input_tokens.max or 0), round(all_of_it.max_output_tokens.max or 0)
    words = f"tokens: caps every request's own; the server's context holds {context_tokens:,} with the prompt"
    if longest * _ESTIMATED + cap > context_tokens:
        words += f", and the set's longest prompt has about {longest:,}"
        left = int(context_tokens - longest * _ESTIMATED)
        if left >= _FEWEST:
            keys["workload.max_output_tokens"] = left
        said["workload.source"] = (
            f"wineval (generated), or a JSONL file; prompts beyond the server's context of {context_tokens:,} tokens "
            "fail: a larger context, or shorter prompts"
        )
    said["workload.max_output_tokens"] = words


def _said() -> dict[str, str]:
    from benchsuite.economics.prices import presets

    prices = ", ".join(f"{price.name} {price.usd_per_hour:.2f}" for price in presets().values())
    return {
        "slo": "what must hold: also tpot, ttfa, e2e, gap with _mean _p50 _p90 _p95 _p99 _max; "
        "decode, output, requests, error_rate",
        "price.usd_per_hour": "$ for one GPU: yours here",
        "price.preset": f"a price by name instead ($/h): {prices}",
        "workload.requests": "a first look: ten for each user of the highest level; the whole of wineval is 2993",
    }


def _counted(names: tuple[str, ...]) -> list[str]:
    return [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]


def _who(seen: Seen) -> str:
    version = f" {seen.version}" if seen.version else ""
    return f"{_NAMES.get(seen.profile, seen.profile)}{version} at {seen.base_url}"


def _heading(found: list[Seen], output: Path) -> str:
    what = (
        f"A sweep of {single_line(_who(found[0]))}" if found else "A sweep: no server was found, so this is a template"
    )
    also = [f"Also found: {single_line(_who(seen))}" for seen in found[1:]]
    return "\n".join(
        [
            f"{what}; written by `benchsuite init`.",
            *also,
            f"Measure it: benchsuite sweep {printable(shlex.quote(str(output))).replace(chr(10), '?')}",
            "A line that begins with # is a default or an example: take the # away to set it (docs/METHODS.md,",
            "Sweep specification). Durations are in seconds, prices in US dollars unless said otherwise.",
        ]
    )


def _told(found: list[Seen], output: Path) -> list[str]:
    if not found:
        return [
            "no server answers on the usual ports of this machine (8000, 8080, 11434, 3000, 1234)",
            f"{output}: a template; put the server's URL into base_url, or start one: benchsuite serve llamacpp",
        ]
    seen = found[0]
    model = single_line(seen.model) if seen.model else "no model listed"
    lines = [f"found {single_line(_who(one))}" for one in found]
    return [*lines, f"{output}: for {model}; next: benchsuite sweep {shlex.quote(str(output))}"]
