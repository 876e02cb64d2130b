"""The simulator's configuration: how fast it answers, how its responses look on the wire, what goes wrong.

Read by pydantic from a TOML file, from options or from one line of JSON; every mistake is named at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from benchsuite.clock import NS_PER_S
from benchsuite.strict_model import StrictModel, read_tables, validated

FaultKind = Literal[
    "reset",  # RST after at_chunk chunks
    "cut",  # FIN after at_chunk chunks, inside the HTTP message
    "truncated",  # the HTTP message ends cleanly after at_chunk chunks: no finish_reason, usage or [DONE]
    "stall",  # delay_s of silence after at_chunk chunks
    "error_event",  # an error object after at_chunk chunks of a 200 stream, then [DONE]
    "malformed",  # one event of broken JSON after at_chunk chunks, then on as if nothing were
    "huge_line",  # one event of size_bytes after at_chunk chunks, with no token in it
    "wrong_usage",  # usage says 7 completion tokens too many
    "slow_headers",  # headers come delay_s after the request
    "early_close",  # FIN instead of headers
    "garbage_status",  # not an HTTP status line
    "http_429",
    "http_500",
    "http_503",
]
FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)
Seconds = Annotated[float, Field(ge=0, lt=1e6)]
_GOLDEN = 0.6180339887498949
_PER_REQUEST = ("ttft_s", "itl_s", "synchronized")


class Fault(StrictModel):
    """One thing that goes wrong with a request, of those drawn by chance or the one that a request asks for."""

    kind: FaultKind
    probability: float = Field(default=1.0, ge=0, le=1)  # of each request, in order of arrival, from the server's seed
    at_chunk: int = Field(default=1, ge=0)  # chunks that come before it
    delay_s: Seconds = 1.0
    size_bytes: int = Field(default=1 << 20, ge=0)


class LatencyModel(StrictModel):
    """When tokens are due (formulas: simulator/engine.py). Without `slots` paced, with `slots` a batch engine."""

    ttft_s: Seconds = 0.0  # of an empty prompt without load
    itl_s: Seconds = 0.0  # the gap between chunks without load; 0 is as fast as it can
    # paced only: request k's first chunk is later by this times the fraction of k * golden ratio, which spreads the
    # phases evenly for streams that would otherwise keep the phase of their common start
    ttft_spread_s: Seconds = 0.0
    synchronized: bool | None = None  # streams step together; None: an engine's do, paced ones do not
    slots: PositiveInt | None = None  # requests that run at once, the others wait in order; what follows needs it
    prefill_tokens_per_s: PositiveFloat | None = None  # None is infinitely fast
    prefill_serial: bool = False  # one prefill at a time instead of one per slot
    itl_per_stream_s: Seconds = 0.0  # what each running stream adds to the ITL
    kv_tokens: PositiveInt | None = None  # most input + output tokens of all running requests

    @model_validator(mode="after")
    def _of_one_kind(self) -> LatencyModel:
        engine_only = ("prefill_tokens_per_s", "prefill_serial", "itl_per_stream_s", "kv_tokens")
        given = [name for name in engine_only if getattr(self, name)]
        if self.slots is None and given:
            raise ValueError(f"{', '.join(given)}: needs slots, the number of requests that run at once")
        if self.slots is not None and self.ttft_spread_s:
            raise ValueError("ttft_spread_s: not with slots; an engine's streams are spread by its queue")
        return self

    def first_due_ns(self, received_ns: int, sequence: int) -> int:
        """When the first chunk of paced request number `sequence` is due; synchronized, on a multiple of itl_s."""
        spread_s = self.ttft_spread_s * (sequence * _GOLDEN % 1.0)
        due_ns = received_ns + round((self.ttft_s + spread_s) * NS_PER_S)
        grid_ns = round(self.itl_s * NS_PER_S)
        return -(-due_ns // grid_ns) * grid_ns if self.synchronized and grid_ns else due_ns

    def prefill_ns(self, input_tokens: int, cached_tokens: int = 0) -> int:
        """How long an engine's prefill of a request lasts, ns."""
        rate = self.prefill_tokens_per_s
        return round((self.ttft_s + (0.0 if rate is None else (input_tokens - cached_tokens) / rate)) * NS_PER_S)

    def step_ns(self, active: int) -> int:
        """How long an engine's step with `active` streams lasts, ns: the ITL at that batch size."""
        return round((self.itl_s + self.itl_per_stream_s * active) * NS_PER_S)


class ResponseShape(StrictModel):
    """How a response looks on the wire. The defaults are vLLM's."""

    token_text: str = " tok"
    tokens_per_chunk: PositiveInt = 1  # several tokens in one event, as one step
    # the role-only first event of a chat: in the first token's write, role_first_s after the request, or not at all
    role: Literal["joined", "early", "none"] = "joined"
    role_first_s: Seconds = 0.0
    reasoning_tokens: int = Field(default=0, ge=0)  # so many of the output tokens come first, in reasoning_field
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    # an event of its own when include_usage is asked for, the finish event always, every event, or nowhere
    usage: Literal["separate", "finish", "every", "none"] = "separate"
    crlf: bool = False
    split_bytes: PositiveInt | None = None  # a write is sent in pieces of so many bytes, split_gap_s apart
    split_gap_s: Seconds = 0.0
    events_per_write: PositiveInt = 1  # sent when the last of them is due
    comment_every: PositiveInt | None = None  # an SSE comment before every n-th chunk
    done: bool = True  # whether [DONE] is sent
    keep_alive: bool = True
    framing: Literal["chunked", "close"] = "chunked"  # HTTP chunks, or up to the end of the connection


class PlantedAnswers(StrictModel):
    """Answers to the scored prompts of a request set, of which a known share is wrong (simulator/answers.py)."""

    workload: str = "wineval"  # the set: wineval, or a file
    requests: PositiveInt | None = None  # of it, as the sweep takes them; None: all
    random_seed: int = Field(default=0, ge=0)  # of the generated set
    # so many of each scenario's scored prompts are answered wrongly: at all levels the same ones, drawn from the seed
    error_rate: float = Field(default=0.0, ge=0, le=1)
    seed: int = 0
    chars_per_token: PositiveInt = 4  # a cap of n tokens cuts an answer after n times so many characters


class SimulatorConfig(StrictModel):
    answers: PlantedAnswers | None = None  # None: token_text, over and over
    latency: LatencyModel = LatencyModel()
    response: ResponseShape = ResponseShape()
    faults: tuple[Fault, ...] = ()
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)  # 0 lets the system choose
    model: str = "simulator"
    any_model: bool = False  # any model name is served, not only `model`
    max_model_len: PositiveInt = 131_072
    default_max_tokens: PositiveInt = 16  # when a request names none
    # a response ends with `stop` after so many tokens, unless ignore_eos or max_tokens ends it first; None: never
    natural_output_tokens: PositiveInt | None = None
    reject_fields: tuple[str, ...] = ()  # body fields that are answered with 422
    prefix_cache: bool = False  # whole blocks of a prompt seen before are not prefilled again, and usage says so
    refuse: bool = False  # nobody listens on the port
    seed: int = 0
    spin_us: float = Field(default=50.0, ge=0)  # how long before a deadline it stops sleeping and polls the clock


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> SimulatorConfig:
    """The configuration in the TOML file (None: the defaults) with `overrides` on top: dotted keys, None is not given.

    Raises SpecError listing every mistake.
    """
    what, expected = "the simulator's configuration", "the keys of benchsuite/simulator/config.py"
    tree = read_tables(what, path, overrides)
    return validated(SimulatorConfig, tree, what, where=str(path) if path else "options", expected=expected)


def with_request_options(
    config: SimulatorConfig, options: dict[str, Any], drawn: Fault | None
) -> tuple[LatencyModel, ResponseShape, Fault | None]:
    """What holds for one request: the server's configuration with the request's `sim` options over it.

    options: ttft_s, itl_s, synchronized, a field of ResponseShape, or `fault` (a kind, or an object of Fault's fields),
    which goes before the `drawn` one. Raises ValidationError.
    """
    if not options:
        return config.latency, config.response, drawn
    options = dict(options)
    if "fault" in options:
        fault = options.pop("fault")
        drawn = None if fault is None else Fault.model_validate(fault if isinstance(fault, dict) else {"kind": fault})
    times = {name: options.pop(name) for name in _PER_REQUEST if name in options}
    latency = LatencyModel.model_validate(config.latency.model_dump() | times)
    return latency, ResponseShape.model_validate(config.response.model_dump() | options), drawn
