"""What a sweep's requests are: [workload], [sampling], and headers, query, route and fields of [server].

A specification is written into the run folder, so it holds no secret: what a name marks as one is given as the name of
a variable or a file (`REFERENCE`), whose value load/server_probe.py reads. No message here repeats a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, StringConstraints, field_validator, model_validator

from benchsuite.errors import SpecError, read_json, user_path
from benchsuite.limits import most
from benchsuite.load.arrivals import parse_profile
from benchsuite.redact import KEY_BEGINS
from benchsuite.servers.base import CAPS
from benchsuite.strict_model import MOST, MOST_COUNT, MOST_ITEMS, MOST_S, FirstMistake, StrictModel, key, read_text

# a field of a body whose value is a secret; a header's or query's name is taken for one more readily
_SECRET_FIELD = re.compile(
    r"(?i)([\w-]*[-_])?(api[-_]?key|authorization|(access|auth|bearer|secret)[-_]?key|password|secret)"
    r"|(x[-_])?(hf|api|access|auth|bearer|secret|client|refresh|session|user)[-_]?token"
)
_FORM = "expected NAME=VALUE, NAME=env:VARIABLE or NAME=file:PATH"
# a header or a query's name that says that its value is a secret; keyword, max-tokens and author are none
_SECRET_NAME = re.compile(
    r"(?i)(^|[-_.]|api|access|auth|subscription|secret|private|master|function)key(?!word)|token(?!s|iz)|secret"
    r"|auth(?!or(?!iz))|cookie|passw|pwd|credential|session|jwt|(^|[-_.])(sig(nature)?|code)$"
)
_KEY_FORM = re.compile(KEY_BEGINS + r"[\w-]{12}")
_SCHEME = re.compile(r"(?i)(bearer|basic|digest|token)\s+\S")
REFERENCE = re.compile(r"(?:(?P<scheme>[A-Za-z][\w-]*) )?(?P<kind>env|file):(?P<name>.+)", re.DOTALL)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# what benchsuite itself says of a request's framing and body, and why
_OURS = {
    **dict.fromkeys(
        ("content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer",
         "upgrade", "expect"),
        "frames the request, which benchsuite does itself",
    ),
    "accept-encoding": "would compress the stream, whose chunks then have no separate times",
    "content-type": "is application/json, as is the body",
}  # fmt: skip
OWN_FIELDS = {"model": "--model", "stream": "--stream or --no-stream", "messages": "--workload", "prompt": "--workload",
              "n": "one answer per request", "best_of": "one answer per request"}  # fmt: skip


def names_secret(name: str) -> bool:
    """Whether a header's or a query's name says that its value is a secret."""
    return _SECRET_NAME.search(name) is not None


def _pairs(what: str, given: Any) -> Any:
    """NAME=VALUE texts, or a table of them, as a table. what: header or query. Raises ValueError."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Mapping | list | tuple):
        return given  # the model says what type it should be
    table: dict[str, str] = {}
    mistakes, names = [], set()
    parted: list[Any] = [str(text).partition("=") for text in texts]
    if isinstance(texts, Mapping):
        parted = [(str(name), "=", value) for name, value in texts.items()]
    for number, (name, equals, value) in enumerate(parted, 1):
        named = re.split(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]", name)[0][:60] if equals or ":" in name else ""
        shown = named or f"number {number}"  # a text without a name may be the secret itself
        wrong = _mistake_in(what, name, value) if equals else f"has no =; {_FORM}"
        if wrong is None and (name.lower() if what == "header" else name) in names:
            wrong = "is given twice"
        names.add(name.lower() if what == "header" else name)
        if wrong is not None:
            mistakes.append(f"{what} {shown} {wrong}")
        else:
            table[name] = value
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return table


def _mistake_in(what: str, name: str, value: Any) -> str | None:
    """What is wrong with a header or a part of the query; None if nothing is."""
    header = what == "header"
    if not (_HEADER_NAME.fullmatch(name) if header else name and name.isprintable()):
        return f"is followed by invalid characters; {_FORM}" + (", not NAME: VALUE" if header and ":" in name else "")
    if header and name.lower() in _OURS:
        return f"cannot be set: it {_OURS[name.lower()]}"
    if not isinstance(value, str):
        return f"is {type(value).__name__}; expected a text"
    reference = REFERENCE.fullmatch(value)
    if reference is None and value.startswith(("env:", "file:")):
        return f"names nothing; {_FORM}"
    if reference is not None:
        variable = reference["kind"] == "env"
        if variable and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", reference["name"]):
            return "has no variable name after env:; expected the name of the variable, not its value"
        return None
    if not is_sendable(value):
        return "contains a character that an HTTP header cannot carry; expected printable ASCII on one line"
    if names_secret(name) or _KEY_FORM.match(value) or (header and _SCHEME.match(value)):
        return (
            "holds a secret by its name or form, and what is given here is written into the run folder; give "
            f"{name}=env:VARIABLE or {name}=file:PATH (with a word before it, if need be: {name}=Bearer env:VARIABLE)"
        )
    return None


def is_sendable(value: str) -> bool:
    """Whether a header can carry the value."""
    return value.isascii() and (value.isprintable() or not value) and value == value.strip()


def json_object_of(given: Any) -> Any:
    """A JSON object, or the text of one, as plain data that JSON can hold. Raises ValueError saying where it cannot."""
    example = 'expected a JSON object such as {"min_p": 0.1}'
    if isinstance(given, str):
        try:
            given = read_json(given)
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}; {example}") from None
        if not isinstance(given, dict):
            raise ValueError(f"{type(given).__name__} in JSON; {example}")
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError) as error:  # NaN, or a date of TOML
        raise ValueError(f"JSON cannot hold it: {error}; {example}") from None
    if secret := _secret_in(given):
        raise ValueError(
            f"{secret!r} names a secret or holds one, and this is written into the run folder; put the key into the "
            "environment (api_key_env, or a header NAME=env:VARIABLE) or a file (api_key_file)"
        )
    return given


def _secret_in(tree: Any, depth: int = 0) -> str | None:
    """The first key of plain data that names a secret, or whose value has the form of one."""
    if depth >= 20 or not isinstance(tree, list | dict):
        return None
    pairs = enumerate(tree) if isinstance(tree, list) else tree.items()
    named = next(
        (
            str(name)
            for name, value in pairs
            if _SECRET_FIELD.fullmatch(str(name)) or (isinstance(value, str) and _KEY_FORM.match(value))
        ),
        None,
    )
    items = tree if isinstance(tree, list) else tree.values()
    return named or next((name for item in items if (name := _secret_in(item, depth + 1))), None)


def extra_body_of(given: Any) -> Any:
    """As `json_object_of`, without the fields that the sweep itself decides."""
    tree = json_object_of(given)
    ours = [f"{name} ({flag})" for name, flag in OWN_FIELDS.items() if isinstance(tree, dict) and name in tree]
    if ours:
        raise ValueError(f"sets what the sweep decides: {', '.join(ours)}")
    for name in CAPS:
        cap = tree.get(name, 1) if isinstance(tree, dict) else 1
        if isinstance(cap, bool) or not isinstance(cap, int) or not 1 <= cap < 2**31:
            raise ValueError(f"{name}: expected a whole number of at least 1")
    return tree


def route_of(given: str) -> str:
    """The route of a request below the base URL. Raises ValueError."""
    if not re.fullmatch(r"/[!-~]*", given) or "?" in given or "#" in given:
        more = "; what follows ? is given with --query NAME=VALUE" if "?" in given else ""
        raise ValueError(f"expected a path such as /serve/chat/completions, without space, ? or #{more}")
    return given


Headers = Annotated[dict[str, str], BeforeValidator(partial(_pairs, "header"))]
Query = Annotated[dict[str, str], BeforeValidator(partial(_pairs, "query"))]
ExtraBody = Annotated[dict[str, Any], BeforeValidator(extra_body_of)]
Route = Annotated[str, AfterValidator(route_of)]


class TokenLengths(NamedTuple):
    """How long the inputs or outputs of random requests are: low to high tokens, evenly; or normal with a stdev."""

    mean: float
    stdev: float
    low: int
    high: int


# as GenAI-Bench writes them
_SCENARIO = re.compile(
    r"D\((\d+),(\d+)\)|N\((\d+),(\d+)\)/\((\d+),(\d+)\)|U\((\d+),(\d+)\)(?:/\((\d+),(\d+)\))?", re.ASCII
)
_SCENARIOS = "D(in,out), N(mean,stdev)/(mean,stdev), U(low,high)/(low,high) or U(high,high); input first"


def read_scenario(text: str) -> tuple[TokenLengths, TokenLengths]:
    """Input and output lengths in GenAI-Bench's notation. Raises ValueError."""
    match = _SCENARIO.fullmatch(text.replace(" ", "").upper())
    if match is None:
        raise ValueError(f"scenario: expected {_SCENARIOS} (given {text!r})")
    numbers = [min(int(group), MOST_ITEMS + 1) for group in match.groups() if group is not None]
    kind, pairs = match[0][0], [tuple(numbers[:2]), tuple(numbers[2:])]
    if len(numbers) == 2:
        pairs = [(n if kind == "D" else 1, n) for n in numbers]
    if kind == "N":
        lengths = [TokenLengths(mean, stdev, 1, MOST_ITEMS) for mean, stdev in pairs]
    else:
        lengths = [TokenLengths((low + high) / 2, 0, low, high) for low, high in pairs]
    if not all(1 <= n.low <= n.high <= MOST_ITEMS and n.mean >= 1 for n in lengths):
        raise ValueError(f"scenario: lengths are at least 1 token, the lower before the higher (given {text!r})")
    return lengths[0], lengths[1]


GENERATED = ("wineval", "random")  # sources that are no file


class WorkloadSpec(StrictModel, flags="--"):
    """The request set. Keys from input_tokens to scenario are of random sets."""

    source: str = key(
        "wineval",
        "request set: wineval or random (generated), a file (JSONL, JSON, CSV, Parquet, lines of text; .gz, .zst) or "
        "hf:ORG/NAME[:CONFIG]:SPLIT",
        "--workload",
        outside=True,
    )
    columns: dict[str, str] = key(
        {},
        "column of the file for a key of the request: KEY=COLUMN; repeatable",
        "--column",
        unset="by their names",
        example={"prompt": "question"},
    )
    skip_bad: int = key(0, "number of invalid rows of the file that may be skipped", ge=0, le=MOST_COUNT)
    requests: int | None = key(
        None,
        "number of requests of the set",
        unset="2993 for wineval, 1000 for random, otherwise the whole file",
        example=2993,
        ge=1,
        le=MOST_ITEMS,
    )
    max_output_tokens: int | None = key(
        None, "cap on every request's output tokens", unset="no cap", example=512, ge=1, le=MOST_COUNT
    )
    input_tokens: int | None = key(
        None, "random: mean tokens of a prompt, without the chat template", example=1024, ge=1, le=MOST_ITEMS
    )
    output_tokens: int | None = key(
        None, "random: mean cap on an answer, which --fixed-length makes its length", example=128, ge=1, le=MOST_ITEMS
    )
    length_stdev: float | None = key(
        None, "random: standard deviation of both lengths, as a share of their mean", unset="none", example=0.25
    )
    length_range: float | None = key(
        None, "random: instead, both uniform within mean x (1 - this) to (1 + this)", "--range", example=0.5
    )
    prefix_tokens: int | None = key(
        None,
        "random: tokens of the input that are a shared prefix",
        unset="none",
        example=200,
        ge=1,
        le=MOST_ITEMS,
    )
    prefix_share: float | None = key(None, "random: share of the prompts with the prefix", unset="1", example=0.5)
    scenario: str | None = key(
        None, f"random: lengths as GenAI-Bench writes them: {_SCENARIOS}", example="N(480,240)/(300,150)"
    )
    trace_block: int | None = key(
        None, "tokens of a block of a trace's hash_ids", "--block", unset="512; 16 for Alibaba's", ge=1, le=MOST_ITEMS
    )
    tokenizer: str | None = key(
        None,
        "a tokenizer.json, its folder, or a name on the hub: makes random prompts exact, counts tokens without usage",
        example="Qwen/Qwen3-8B",
        outside=True,
    )
    fixed_length: bool = key(
        False,
        "make every output exactly as long as its cap",
        "--fixed-length/--no-fixed-length",
        unset="off; on for random",
    )
    cache_bust: Literal["auto", "field", "prompt", "off"] = key("auto", "how prefix caches are kept out")
    save_text: bool | Literal["auto"] = key(
        "auto",
        "keep the answers' texts in requests.parquet; without them answers are scored once, after each point",
        "--save-text/--no-text",
        unset="on where a prompt has a scorer",
    )

    @model_validator(mode="before")
    @classmethod
    def _random_keeps_lengths(cls, value: Any) -> Any:
        random = isinstance(value, dict) and value.get("source") == "random"
        return {"fixed_length": True} | value if random else value

    @model_validator(mode="after")
    def _random(self) -> WorkloadSpec:
        names = ("input_tokens", "output_tokens", "length_stdev", "length_range", "prefix_tokens", "prefix_share")
        given = [name for name in (*names, "scenario") if getattr(self, name) is not None]
        if self.source != "random":
            if given:
                raise ValueError(f"{', '.join(given)}: only for the request set random (--workload random)")
            return self
        if self.scenario is not None and set(given) & set(names[:4]):
            raise ValueError(f"scenario has the lengths in it; without {', '.join(n for n in given if n in names[:4])}")
        if self.scenario is None and (missing := [name for name in names[:2] if name not in given]):
            raise ValueError(f"{' and '.join(missing)}: required for random lengths; or --scenario D(1024,128)")
        if self.length_stdev is not None and self.length_range is not None:
            raise ValueError("length_stdev and length_range: give one of them")
        for name in ("length_stdev", "length_range", "prefix_share"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                tokens = "" if name == "prefix_share" else "; in tokens: --scenario, N(mean,stdev) or U(low,high)"
                raise ValueError(f"{name}: expected a share, 0 to 1 (given {share:g}){tokens}")
        if self.prefix_share is not None and self.prefix_tokens is None:
            raise ValueError("prefix_share: needs prefix_tokens, the length of the prefix")
        mean = self.random_lengths[0].mean
        if mean * (self.requests or 1000) > most("set_tokens"):
            raise ValueError(f"requests: expected at most {most('set_tokens'):,} tokens in all prompts, held in memory")
        if self.prefix_tokens is not None and self.prefix_tokens >= mean:
            raise ValueError(
                f"prefix_tokens: part of the {mean:g} input tokens, and shorter (given {self.prefix_tokens})"
            )
        return self

    @property
    def random_lengths(self) -> tuple[TokenLengths, TokenLengths]:
        """Of the inputs and the outputs of a random set."""
        if self.scenario is not None:
            return read_scenario(self.scenario)
        stdev, spread = self.length_stdev or 0.0, self.length_range or 0.0

        def around(mean: int) -> TokenLengths:
            if stdev:
                return TokenLengths(mean, stdev * mean, 1, MOST_ITEMS)
            return TokenLengths(mean, 0, max(round(mean * (1 - spread)), 1), round(mean * (1 + spread)))

        return around(self.input_tokens or 1), around(self.output_tokens or 1)

    @field_validator("columns", mode="before")
    @classmethod
    def _columns(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        if odd := next((pair for pair in value if not re.match(r"[^=]+=.", str(pair))), None):
            raise ValueError(f"expected KEY=COLUMN, such as prompt=question, not {odd!r}")
        return dict(str(pair).split("=", 1) for pair in value)


class ArrivalSpec(StrictModel, flags="--"):
    """When the requests of an open loop (load.rate, or a trace) are due."""

    arrival: Literal["poisson", "constant", "gamma"] = key("poisson", "gaps between requests")
    burstiness: float = key(1.0, "shape of gamma gaps, whose CV is 1/sqrt of it; 1 is poisson", gt=0, le=1e6)
    rate_profile: str = key(
        "", 'how the rate moves within the window: "ramp 0.5 1.5", "steps 0.5 1 1.5", "sine 0.5 60", "hours FILE.csv", '
        "in multiples of the rate", unset="it is constant", example="ramp 0.5 1.5",
    )  # fmt: skip
    duration_s: float = key(120.0, "measured window of each rate", ge=0.001, le=MOST_S)
    warmup_s: float | None = key(
        None, "load before the window, discarded", unset="30 s, or three requests' time", example=30.0, ge=0, le=MOST_S
    )
    tail: Literal["load", "drain"] = key("load", "whether the load goes on until the window's requests have ended")
    tail_max_s: float = key(60.0, "longest load after the window", ge=0, le=MOST_S)
    max_in_flight: int | None = key(None, "requests in flight at once, at most", unset="no limit", example=256, ge=1)
    over: Literal["wait", "drop"] = key("wait", "what a request does that is one too many")
    past_saturation: bool = key(False, "measure rates above two that saturated the server too")
    replay: bool = key(False, "send the request set at its own times, of a trace; rates scale them")
    speed: tuple[float, ...] | None = key(None, "how many times as fast a trace is replayed", unset="1", example=[1, 2])
    from_s: float = key(0.0, "where a trace's replay begins", ge=0, le=MOST)
    to_s: float | None = key(None, "where it ends", unset="the trace's end", example=600.0, gt=0, le=MOST)

    @field_validator("rate_profile")
    @classmethod
    def _profile(cls, value: str) -> str:
        if not value.startswith("hours ") or ":" in value:  # of a file: read later
            try:
                parse_profile(value)
            except SpecError as error:
                raise ValueError(f"{error.what}; expected {error.expected}") from None
        return value

    @field_validator("speed", mode="before", json_schema_input_type=float | list[float])
    @classmethod
    def _speeds(cls, value: Any) -> Any:
        speeds = value if isinstance(value, list | tuple) else None if value is None else [value]
        if speeds is not None and not all(type(one) in (int, float) and 0.001 <= one <= 1000 for one in speeds):
            raise ValueError("a speed is a number from 0.001 to 1000")
        if speeds is not None and not len({f"{one:.5g}" for one in speeds}) == len(speeds) > 0:
            raise ValueError("expected at least one speed, and no speed twice, to five digits")
        return speeds

    @model_validator(mode="after")
    def _fits(self) -> ArrivalSpec:
        if self.arrival != "gamma" and self.burstiness != 1:
            raise ValueError(f"burstiness: {self.arrival} has none; expected --arrival gamma")
        if self.replay and self.rate_profile:
            raise ValueError("rate_profile: a trace has its own times")
        if self.over == "drop" and self.max_in_flight is None:
            raise ValueError("over: drop needs max_in_flight")
        trace_alone = [name for name in ("speed", "from_s", "to_s") if getattr(self, name)]
        if trace_alone and not self.replay:
            raise ValueError(f"{trace_alone[0]}: is of a trace's replay; expected --replay")
        return self


class SamplingSpec(StrictModel, flags="--"):
    """How the server chooses tokens, and what it is told before each prompt. What is left out is not sent."""

    temperature: float | None = key(None, "sampling temperature; 0 is greedy decoding", example=0.0, ge=0)
    top_p: float | None = key(None, "nucleus sampling: tokens up to this total probability", example=0.9, ge=0, le=1)
    top_k: int | None = key(None, "sample from this many of the most likely tokens", example=40, ge=-1, le=MOST_COUNT)
    seed: int | None = key(None, "the server's seed of sampling", example=1, ge=-(2**63), lt=2**63)
    stop: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1)], ...],
        FirstMistake(),
        BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
    ] = key((), "text that ends an answer; repeatable", example=["END"])
    presence_penalty: float | None = key(None, "penalty on tokens that have occurred", example=0.5, ge=-2, le=2)
    frequency_penalty: float | None = key(None, "penalty on tokens by their frequency", example=0.5, ge=-2, le=2)
    reasoning_effort: str | None = key(
        None, "reasoning effort, such as none, low or high", example="low", pattern=r"^[\w-]+$"
    )
    chat_template_kwargs: Annotated[dict[str, Any], BeforeValidator(json_object_of)] = key(
        {}, "values for the model's chat template: JSON, or @FILE that holds it", example={"enable_thinking": False}
    )
    system_prompt: str | None = key(
        None, "system prompt for every prompt without one; or @FILE that holds it", example="Be brief."
    )

    @property
    def fields(self) -> dict[str, Any]:
        """What is given, by the names that chat and text completions have for it."""
        given = {name: value for name, value in self if name != "system_prompt" and value not in (None, (), {})}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def read_named_files(tree: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Puts what stands in FILE in the place of the value @FILE of these dotted keys, in the tree. Raises SpecError."""
    for dotted in keys:
        *tables, name = dotted.split(".")
        table: Any = tree
        for step in tables:
            table = table.get(step) if isinstance(table, dict) else None
        value = table.get(name) if isinstance(table, dict) else None
        if not isinstance(value, str) or not value.startswith("@"):
            continue
        what, expected = f"the file that {dotted} names", "@FILE, or the value"
        table[name] = read_text(user_path(value[1:]), what, expected=expected, error_type=SpecError)
