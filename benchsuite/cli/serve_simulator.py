"""`benchsuite serve simulator`: the server with a law, for trying a client or a sweep without an engine."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import click

from benchsuite.serving.simulator import serve
from benchsuite.serving.simulator_config import FAULT_KINDS, Fault, Shape, SimulatorConfig
from benchsuite.serving.simulator_law import Law

LAW_HELP = {
    "mode": "paced: every stream by ttft-s and itl-s alone; engine: slots, queue, prefill and step time.",
    "ttft_s": "Paced: seconds from request to first chunk.",
    "itl_s": "Paced: seconds between chunks; 0 is as fast as it can.",
    "sync": "Streams step together (engine: yes by default; paced: no).",
    "slots": "Engine: requests that run at once; the others wait in order.",
    "prefill_tokens_per_s": "Engine: prefill rate. Not given: infinitely fast.",
    "prefill_fixed_s": "Engine: seconds of every prefill, whatever its length.",
    "prefill_serial": "Engine: one prefill at a time.",
    "step_base_s": "Engine: a of the step time a + b * active.",
    "step_per_active_s": "Engine: b of the step time a + b * active.",
    "kv_tokens": "Engine: most input and output tokens of all running requests.",
}
SHAPE_HELP = {
    "token_text": "The text of every token.",
    "tokens_per_chunk": "Tokens in one event.",
    "role": "The role-only event: joined to the first token's write, early, or none.",
    "role_first_s": "Seconds after the request that an early role event comes.",
    "reasoning_tokens": "So many of the output tokens come first, as reasoning.",
    "reasoning_field": "The field that reasoning comes in: reasoning_content or reasoning.",
    "usage": "Usage: own event when asked for, finish event, every event, or none.",
    "crlf": "Events end with CRLF.",
    "split_bytes": "Send each write in pieces of so many bytes.",
    "split_gap_s": "Seconds between the pieces.",
    "join_events": "Events in one write.",
    "comment_every": "An SSE comment before every n-th chunk.",
    "done": "Whether [DONE] is sent.",
    "keep_alive": "Whether the connection stays open after a response.",
    "framing": "chunked, or close: the response ends with the connection.",
}
SERVER_HELP = {
    "host": "Address to listen on.",
    "port": "Port; 0 lets the system choose, and the first line of output tells it.",
    "model": "Model name.",
    "any_model": "Serve every model name.",
    "max_model_len": "Most input and output tokens of one request.",
    "default_max_tokens": "Output tokens of a request that names none.",
    "natural_output_tokens": "Answers end with `stop` after so many tokens unless ignore_eos is sent.",
    "prefix_cache": "Prompts seen before are not prefilled again.",
    "refuse": "Refuse every connection.",
    "seed": "Seed of the faults' draws.",
    "spin_us": "Microseconds before a deadline from which the clock is polled.",
}


def _options(cls: type[Any], helps: dict[str, str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """One option per field of a dataclass, with the field's default. A flag where the field is true or false."""
    defaults = cls()

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name, text in reversed(helps.items()):
            flag, default = name.replace("_", "-"), getattr(defaults, name)
            if isinstance(default, bool) or name == "sync":
                option = click.option(f"--{flag}/--no-{flag}", name, default=default, help=text, show_default=True)
            else:
                kind = _optional_type(name) if default is None else type(default)
                option = click.option(f"--{flag}", name, type=kind, default=default, help=text, show_default=True)
            command = option(command)
        return command

    return add


def _optional_type(name: str) -> type[float] | type[int]:
    return float if name.endswith("_per_s") else int


def parse_fault(text: str) -> Fault:
    """KIND[:FIELD=VALUE...] as in `reset:probability=0.1:at_chunk=5`. Raises click.BadParameter."""
    kind, *fields = text.split(":")
    types = {"probability": float, "at_chunk": int, "seconds": float, "size_bytes": int}
    try:
        pairs = [field.split("=", 1) for field in fields]
        return Fault(kind, **{name: types[name](value) for name, value in pairs})  # type: ignore[arg-type]
    except (KeyError, ValueError):
        raise click.BadParameter(f"{text!r} is not KIND[:FIELD=VALUE...]; fields: {', '.join(types)}") from None


@click.command(
    "simulator",
    epilog="""\b
Examples:
  benchsuite serve simulator --port 8000
  benchsuite serve simulator --port 8000 --ttft-s 0.2 --itl-s 0.02
  benchsuite serve simulator --fault http_503:probability=0.1
""",
)
@_options(Law, LAW_HELP)
@_options(Shape, SHAPE_HELP)
@_options(SimulatorConfig, SERVER_HELP)
@click.option("--fault", "faults", multiple=True, metavar="KIND[:FIELD=VALUE...]", help=", ".join(FAULT_KINDS) + ".")
@click.option("--reject-field", "reject_fields", multiple=True, help="A body field that is answered with 422.")
@click.option("--until-stdin-closes", is_flag=True, help="End when standard input does, as with a parent process.")
def command(faults: tuple[str, ...], until_stdin_closes: bool, **values: Any) -> None:
    """A server whose latencies obey a law that is known on paper.

    Every chunk carries the CLOCK_MONOTONIC ns of its sending in system_fingerprint. Requests override the law and the
    shape with a body object `sim` or headers x-sim-NAME. Prints its port and base URL as one line of JSON.
    """
    law = Law(**{name: values.pop(name) for name in LAW_HELP})
    shape = Shape(**{name: values.pop(name) for name in SHAPE_HELP})
    config = SimulatorConfig(law=law, shape=shape, faults=tuple(map(parse_fault, faults)))
    serve(dataclasses.replace(config, **values), sys.stdin.buffer if until_stdin_closes else None)
