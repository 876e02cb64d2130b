"""What a simulator is told: its law, the shape of its bytes, its faults. Values only; nothing here runs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from benchsuite.errors import SpecError
from benchsuite.serving.simulator_law import Law

FaultKind = Literal[
    "reset",  # RST after at_chunk chunks
    "cut",  # FIN after at_chunk chunks, inside the HTTP message
    "truncated",  # the HTTP message ends cleanly after at_chunk chunks: no finish_reason, usage or [DONE]
    "stall",  # `seconds` of silence after at_chunk chunks
    "error_event",  # an error object after at_chunk chunks of a 200 stream, then [DONE]
    "malformed",  # one event of broken JSON after at_chunk chunks, then on as if nothing were
    "huge_line",  # one event of size_bytes after at_chunk chunks, with no token in it
    "wrong_usage",  # usage says 7 completion tokens too many
    "slow_headers",  # headers come `seconds` after the request
    "early_close",  # FIN instead of headers
    "garbage_status",  # not an HTTP status line
    "http_429",
    "http_500",
    "http_503",
]
FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)
RoleEvent = Literal["joined", "early", "none"]
UsagePlace = Literal["own", "finish", "every", "none"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with a request; at_chunk counts the chunks that come before it.

    probability: of each request, drawn in order of arrival from the server's seed. It plays no part when a request
    asks for its fault itself.
    """

    kind: FaultKind
    probability: float = 1.0
    at_chunk: int = 1
    seconds: float = 1.0
    size_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise SpecError("no such simulator fault", given=self.kind, expected=", ".join(FAULT_KINDS))
        if not 0 <= self.probability <= 1 or self.at_chunk < 0 or self.seconds < 0:
            raise SpecError("a simulator fault does not hold together", given=self, expected="0 <= probability <= 1")


@dataclass(frozen=True, slots=True)
class Shape:
    """How an answer looks on the wire. The defaults are vLLM's.

    token_text: the text of every token. tokens_per_chunk: several tokens in one event, as one step of the law.
    role: the role-only first event joins the first token's write, comes early (role_first_s after the request), or not
        at all. Chat streams only.
    reasoning_tokens: so many of the output tokens come first, in reasoning_field.
    usage: an own event when include_usage is asked for, the finish event always, every event, or nowhere.
    split_bytes: a write is sent in pieces of so many bytes, split_gap_s apart. None: one send() per write.
    join_events: so many events in one write, sent when its last is due. comment_every: an SSE comment before every
        n-th chunk. done: whether [DONE] is sent. framing: HTTP chunks, or up to the end of the connection.
    """

    token_text: str = " tok"
    tokens_per_chunk: int = 1
    role: RoleEvent = "joined"
    role_first_s: float = 0.0
    reasoning_tokens: int = 0
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    usage: UsagePlace = "own"
    crlf: bool = False
    split_bytes: int | None = None
    split_gap_s: float = 0.0
    join_events: int = 1
    comment_every: int | None = None
    done: bool = True
    keep_alive: bool = True
    framing: Literal["chunked", "close"] = "chunked"

    def __post_init__(self) -> None:
        choices = {
            "role": get_args(RoleEvent),
            "usage": get_args(UsagePlace),
            "reasoning_field": ("reasoning_content", "reasoning"),
            "framing": ("chunked", "close"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise SpecError(f"no such simulator {name}", given=getattr(self, name), expected=", ".join(allowed))
        for name in ("tokens_per_chunk", "join_events", "split_bytes", "comment_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SpecError(f"simulator {name} must be at least 1", given=value)


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """A whole simulator.

    port: 0 lets the system choose. refuse: nobody listens on the port (connections are refused).
    natural_output_tokens: an answer ends with `stop` after so many tokens, unless ignore_eos or max_tokens ends it
        first. None: every answer is as long as max_tokens allows. default_max_tokens: when a request names none.
    reject_fields: body fields that are answered with 422. any_model: any model name is served, not only `model`.
    prefix_cache: whole blocks of a prompt seen before are not prefilled again, and usage says so.
    spin_us: how long before a deadline the server stops sleeping and polls the clock.
    """

    law: Law = field(default_factory=Law)
    shape: Shape = field(default_factory=Shape)
    faults: tuple[Fault, ...] = ()
    host: str = "127.0.0.1"
    port: int = 0
    model: str = "simulator"
    any_model: bool = False
    max_model_len: int = 131_072
    default_max_tokens: int = 16
    natural_output_tokens: int | None = None
    reject_fields: tuple[str, ...] = ()
    prefix_cache: bool = False
    refuse: bool = False
    seed: int = 0
    spin_us: float = 50.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SpecError("no such port", where="port", given=self.port, expected="0 to 65535")

    def to_json(self) -> str:
        """The configuration as one line of JSON, for `from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SimulatorConfig:
        """The configuration that `to_json` wrote. Raises SpecError for what no configuration has."""
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["law"] = Law(**fields.get("law", {}))
            fields["shape"] = Shape(**fields.get("shape", {}))
            fields["faults"] = tuple(Fault(**fault) for fault in fields.get("faults", ()))
            fields["reject_fields"] = tuple(fields.get("reject_fields", ()))
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise SpecError("not a simulator configuration", given=text[:200], hint=str(error)) from None


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What holds for one request: the server's options with the request's own put over them."""

    ttft_s: float
    itl_s: float
    sync: bool
    shape: Shape
    fault: Fault | None


_TIMES = ("ttft_s", "itl_s", "sync")
_SHAPE_FIELDS = tuple(f.name for f in dataclasses.fields(Shape))


def request_options(config: SimulatorConfig, asked: dict[str, Any], fault: Fault | None) -> RequestOptions:
    """The options of one request. asked: the body's `sim` object, or the x-sim-* headers (see `header_options`).

    fault: what the server drew; a request's own `fault` (a kind, or an object of Fault's fields) goes before it.
    Raises SpecError for a name or value that no option has.
    """
    unknown = [name for name in asked if name not in (*_TIMES, *_SHAPE_FIELDS, "fault")]
    if unknown:
        raise SpecError("no such simulator option", given=", ".join(unknown))
    law = config.law
    if not asked:
        return RequestOptions(law.ttft_s, law.itl_s, law.steps_together, config.shape, fault)
    if "fault" in asked:
        wanted = asked["fault"]
        fault = None if wanted is None else Fault(**(wanted if isinstance(wanted, dict) else {"kind": wanted}))
    try:
        paced = dataclasses.replace(law, **{name: asked[name] for name in _TIMES if name in asked})
        shape = dataclasses.replace(config.shape, **{name: asked[name] for name in _SHAPE_FIELDS if name in asked})
    except TypeError as error:
        raise SpecError("a simulator option has the wrong type", given=asked, hint=str(error)) from None
    return RequestOptions(paced.ttft_s, paced.itl_s, paced.steps_together, shape, fault)


def header_options(headers: dict[str, str]) -> dict[str, Any]:
    """The options in headers x-sim-NAME: `x-sim-itl-s: 0.02` is {"itl_s": 0.02}. Values are JSON, else text.

    headers: names in lower case.
    """
    asked: dict[str, Any] = {}
    for name, value in headers.items():
        if name.startswith("x-sim-"):
            try:
                asked[name[6:].replace("-", "_")] = cast("Any", json.loads(value))
            except ValueError:
                asked[name[6:].replace("-", "_")] = value
    return asked
