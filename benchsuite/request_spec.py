"""What a sweep's requests say besides their prompts: [sampling], and headers, query, route and fields of [server].

A specification is written into the run folder, so it holds no secret: what a name marks as one is given as the name of
a variable or a file (`REFERENCE`), whose value load/server_probe.py reads. No message here repeats a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from benchsuite.errors import SpecError, read_json
from benchsuite.servers.base import CAPS
from benchsuite.strict_model import StrictModel, key

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
_KEY_FORM = re.compile(r"(sk-|hf_|gh[pousr]_|github_pat_|glpat-|gsk_|nvapi-|xai-|r8_|AIza|AKIA|eyJ)[\w-]{12}")
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
    "accept-encoding": "would compress the stream, whose chunks then have no times of their own",
    "content-type": "is application/json, as is the body",
}  # fmt: skip
OWN_FIELDS = {"model": "--model", "stream": "--stream or --no-stream", "messages": "--workload", "prompt": "--workload",
              "n": "one answer a request", "best_of": "one answer a request"}  # fmt: skip


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
        return f"is followed by what no name has; {_FORM}" + (", not NAME: VALUE" if header and ":" in name else "")
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
            return "has behind env: what is no name of a variable; expected its name, not what it holds"
        return None
    if not is_sendable(value):
        return "holds a character that no HTTP header can carry; expected printable ASCII on one line"
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


class SamplingSpec(StrictModel, flags="--"):
    """How the server chooses tokens, and what it is told before each prompt. What is left out is not sent."""

    temperature: float | None = key(None, "sampling temperature; 0 takes the likeliest token", example=0.0, ge=0)
    top_p: float | None = key(None, "sample from the likeliest tokens up to this probability", example=0.9, ge=0, le=1)
    top_k: int | None = key(None, "sample from so many of the likeliest tokens", example=40, ge=-1)
    seed: int | None = key(None, "the server's seed of sampling", example=1, ge=-(2**63), lt=2**63)
    stop: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1)], ...],
        BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
    ] = key((), "text that ends an answer; again for another", example=["END"])
    presence_penalty: float | None = key(None, "penalty on tokens that came before", example=0.5, ge=-2, le=2)
    frequency_penalty: float | None = key(None, "penalty on tokens by how often they came", example=0.5, ge=-2, le=2)
    reasoning_effort: str | None = key(
        None, "how much the model thinks, such as none, low or high", example="low", pattern=r"^[\w-]+$"
    )
    chat_template_kwargs: Annotated[dict[str, Any], BeforeValidator(json_object_of)] = key(
        {}, "values for the model's chat template: JSON, or @FILE that holds it", example={"enable_thinking": False}
    )
    system_prompt: str | None = key(
        None, "goes before every prompt without one of its own; or @FILE that holds it", example="Be brief."
    )

    @property
    def fields(self) -> dict[str, Any]:
        """What is given, by the names that chat and text completions have for it."""
        given = {name: value for name, value in self if name != "system_prompt" and value not in (None, (), {})}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def read_named_files(tree: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Puts what stands in FILE in the place of the value @FILE of these dotted keys, in the tree. Raises SpecError."""
    for dotted in keys:
        *tables, name = dotted.split(".")
        table: Any = tree
        for step in tables:
            table = table.get(step) if isinstance(table, dict) else None
        value = table.get(name) if isinstance(table, dict) else None
        if not isinstance(value, str) or not value.startswith("@"):
            continue
        try:
            table[name] = Path(value[1:]).expanduser().read_text("utf-8")
        except (OSError, ValueError) as error:
            given = f"{value[1:]}: {error.strerror if isinstance(error, OSError) else 'no UTF-8 text'}"
            raise SpecError(
                f"the file that {dotted} names cannot be read", where=where, given=given, expected="@FILE, or the value"
            ) from None
