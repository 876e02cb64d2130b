"""Request sets as values: `Prompt`, `Workload`, the native JSONL format, the content hash.

Knows text, not files: `benchsuite.sources.read_workload` reads a path.

One JSON object per line. Keys: id, scenario, messages or prompt (exactly one), max_output_tokens, reference, scorer,
arrival_s, tags. All but messages/prompt may be left out; null is the same as left out.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from benchsuite.errors import WorkloadError

KEYS = (
    "id",
    "scenario",
    "messages",
    "prompt",
    "max_output_tokens",
    "reference",
    "scorer",
    "arrival_s",
    "tags",
)
ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request of a set. Exactly one of messages and prompt is given.

    messages: ({"role": ..., "content": ...}, ...). max_output_tokens: None leaves the length to the server.
    reference, scorer: what a good answer is and how to compare; None when unscored. arrival_s: seconds after the
    start, for traces; None in closed loops.
    """

    prompt_id: str
    scenario: str | None
    messages: tuple[dict[str, str], ...] | None
    prompt: str | None
    max_output_tokens: int | None
    reference: str | None = None
    scorer: str | None = None
    arrival_s: float | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """A request set in its own order. content_hash: sha256 of its canonical JSONL."""

    name: str
    prompts: tuple[Prompt, ...]
    content_hash: str


def make_workload(name: str, prompts: Iterable[Prompt]) -> Workload:
    """The prompts, in their order, as a workload with its content hash."""
    kept = tuple(prompts)
    return Workload(name=name, prompts=kept, content_hash=content_hash(kept))


def take(workload: Workload, n: int) -> Workload:
    """The first n prompts; beyond the end the set starts again, its copies called `ID#2`, `ID#3`, ...

    prompt_id stays distinct. A copy has arrival_s None: a trace says nothing about a second round.
    Raises WorkloadError if n < 1.
    """
    if n < 1:
        raise WorkloadError("a workload has at least one request", given=n, expected="1 or more")
    if n == len(workload.prompts):
        return workload
    rounds = range(2, -(-n // len(workload.prompts)) + 1)
    taken = {prompt.prompt_id for prompt in workload.prompts}
    mark = "#"
    while any(f"{name}{mark}{k}" in taken for name in taken for k in rounds):
        mark += "#"
    prompts = list(workload.prompts[:n])
    for k in rounds:
        prompts += [replace(p, prompt_id=f"{p.prompt_id}{mark}{k}", arrival_s=None) for p in workload.prompts]
    return make_workload(workload.name, prompts[:n])


def content_hash(prompts: Iterable[Prompt]) -> str:
    """sha256 (hex) of the canonical JSONL, each line ended by a newline, in UTF-8."""
    digest = hashlib.sha256()
    for line in to_jsonl(prompts):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def to_jsonl(prompts: Workload | Iterable[Prompt]) -> Iterator[str]:
    """One canonical JSON line per prompt, without newline: keys in the order of KEYS, nothing that is None or empty."""
    for p in prompts.prompts if isinstance(prompts, Workload) else prompts:
        values = (
            p.prompt_id,
            p.scenario,
            p.messages and [{key: message[key] for key in ("role", "content")} for message in p.messages],
            p.prompt,
            p.max_output_tokens,
            p.reference,
            p.scorer,
            p.arrival_s,
            p.tags or None,
        )
        kept = {key: value for key, value in zip(KEYS, values, strict=True) if value is not None}
        yield json.dumps(kept, ensure_ascii=False)


def parse_jsonl(lines: Iterable[str], *, where: str, name: str | None = None) -> Workload:
    """The workload written in native JSONL. Blank lines are skipped; a prompt without id is called `line-N`.

    where: the file, for errors (`where:N`); name: None takes `where`. Raises WorkloadError at the first mistake, or if
    there is no prompt at all.
    """
    prompts: list[Prompt] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        prompt = _Line(f"{where}:{number}").prompt(line, f"line-{number}")
        if prompt.prompt_id in seen:
            raise WorkloadError(
                f"the id is used before, on line {seen[prompt.prompt_id]}",
                where=f"{where}:{number}",
                given=prompt.prompt_id,
                expected="ids that are all different",
            )
        seen[prompt.prompt_id] = number
        prompts.append(prompt)
    if not prompts:
        raise WorkloadError("the workload is empty", where=where, expected="one JSON object per line")
    return make_workload(name if name is not None else where, prompts)


@dataclass(frozen=True, slots=True)
class _Line:
    """Reads one line of native JSONL; every method raises WorkloadError at `where`."""

    where: str

    def prompt(self, line: str, fallback_id: str) -> Prompt:
        item = self.item(line)
        if ("messages" in item) == ("prompt" in item):
            both = "messages" in item
            self.refuse(
                "messages and prompt are both given" if both else "neither messages nor prompt is given",
                given=", ".join(item) or "{}",
                expected="exactly one of messages (chat) and prompt (completions)",
            )
        return Prompt(
            prompt_id=self.text(item, "id") or fallback_id,
            scenario=self.text(item, "scenario"),
            messages=self.messages(item["messages"]) if "messages" in item else None,
            prompt=self.text(item, "prompt"),
            max_output_tokens=self.count(item, "max_output_tokens"),
            reference=self.text(item, "reference"),
            scorer=self.text(item, "scorer"),
            arrival_s=self.seconds(item, "arrival_s"),
            tags=self.tags(item),
        )

    def refuse(self, what: str, *, given: object, expected: str) -> NoReturn:
        shown = given if isinstance(given, str) else repr(given)
        raise WorkloadError(what, where=self.where, given=shown[:120], expected=expected)

    def item(self, line: str) -> dict[str, Any]:
        """The line's object without its nulls."""
        try:
            item = json.loads(line)
            # An escaped half of a surrogate pair is legal JSON that no UTF-8 request can carry.
            json.dumps(item, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise WorkloadError(
                f"the line is not valid JSON: {error}",
                where=self.where,
                given=line.strip()[:120].encode("utf-8", "backslashreplace").decode(),
                expected="one JSON object per line",
            ) from None
        if not isinstance(item, dict):
            self.refuse("the line is not an object", given=item, expected='{"messages": [...], ...}')
        self.known(item, KEYS)
        return {key: value for key, value in item.items() if value is not None}

    def known(self, item: dict[str, Any], keys: tuple[str, ...]) -> None:
        for key in item:
            if key not in keys:
                close = difflib.get_close_matches(key, keys, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                self.refuse(f"unknown key {key!r}{hint}", given=key, expected=", ".join(keys))

    def text(self, item: dict[str, Any], key: str) -> str | None:
        value = item.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            self.refuse(f"{key} is not a text", given=value, expected="a string that is not empty, or no key")
        return value

    def count(self, item: dict[str, Any], key: str) -> int | None:
        value = item.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.refuse(f"{key} is not a count", given=value, expected="a whole number of at least 1, or no key")
        return value

    def seconds(self, item: dict[str, Any], key: str) -> float | None:
        value = item.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            self.refuse(f"{key} is not a time", given=value, expected="seconds after the start, 0 or more")
        try:
            return float(value) + 0.0  # -0.0 becomes 0.0
        except OverflowError:
            raise WorkloadError(f"{key} is not a time", where=self.where, expected="seconds after the start") from None

    def tags(self, item: dict[str, Any]) -> tuple[str, ...]:
        value = item.get("tags", [])
        if not isinstance(value, list) or not all(isinstance(tag, str) and tag for tag in value):
            self.refuse("tags is not a list of texts", given=value, expected='such as ["en"]')
        return tuple(value)

    def messages(self, value: Any) -> tuple[dict[str, str], ...]:
        if not isinstance(value, list) or not value:
            self.refuse("messages is not a list of messages", given=value, expected="at least one message")
        return tuple(self.message(message) for message in value)

    def message(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            self.refuse("a message is not an object", given=value, expected='{"role": ..., "content": ...}')
        self.known(value, ("role", "content"))
        role, content = value.get("role"), value.get("content")
        if role not in ROLES:
            self.refuse("a message has no known role", given=role, expected=", ".join(ROLES))
        if not isinstance(content, str):
            self.refuse("a message's content is not a text", given=content, expected="a string")
        return {"role": role, "content": content}
