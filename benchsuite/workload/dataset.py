"""Request sets as values: `Prompt`, `Workload`, canonical JSONL with its content hash, and length statistics.

Knows no file and no format but its own; `benchsuite.workload.formats` reads.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain, islice, pairwise
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.errors import WorkloadError
from benchsuite.file_list import FileList
from benchsuite.limits import most

_MOST_IN_MEMORY = 2**25  # bytes of a set, about; of a larger one one request at a time
_OBJECT_BYTES = 1024  # of a prompt, apart from its text
SKIPPED_SHOWN = 5
LANGUAGE_TAGS = ("zh", "en")
CHARS_PER_TOKEN_CJK = 1.5
CHARS_PER_TOKEN_OTHER = 4.0
_CJK = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request of a set. Exactly one of messages and prompt is given. Fields are in the order of canonical JSONL."""

    prompt_id: str
    scenario: str | None = None
    # as the API takes them: content is a text, a list of parts or None; name, tool_calls, tool_call_id may be there
    messages: tuple[dict[str, Any], ...] | None = None
    prompt: str | None = None
    max_output_tokens: int | None = None  # None leaves the length to the server
    reference: Any = None  # what a good answer is: JSON of the scorer's kind; None where it needs none, or is unscored
    scorer: str | dict[str, Any] | None = None  # how answers are scored: a name, or {"name": ..., options}
    at_s: float | None = None  # of a trace: when it was sent, from the trace's beginning
    tags: tuple[str, ...] = ()
    # what its request body has besides (temperature, tools, stop, ...); never model, stream or the output cap
    extra_body: dict[str, Any] = field(default_factory=dict)
    input_tokens: int | None = None  # that the text was made to have, without a chat template; None if not known


_FIELDS = tuple(field.name for field in fields(Prompt))


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file was read: its format, and what was changed or left out."""

    container: str  # JSON lines in gzip, ...
    formats: dict[str, int]  # rows by their format
    skipped: tuple[str, ...] = ()  # odd rows with their numbers and reasons
    notes: dict[str, int] = field(default_factory=dict)  # what was done with rows, and with how many
    ignored: dict[str, int] = field(default_factory=dict)  # columns that were not read, and in how many rows

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        facts = {"container": self.container, "formats": self.formats, "notes": self.notes}
        return facts | {"skipped": len(self.skipped)}

    def lines(self) -> list[str]:
        """What the sender of this set has to know, a line each."""
        kinds = ", ".join(f"{n} {name}" for name, n in self.formats.items())
        lines = [f"read from {self.container}: {kinds}"]
        lines += [f"skipped {line}" for line in self.skipped[:SKIPPED_SHOWN]]
        if (more := len(self.skipped) - SKIPPED_SHOWN) > 0:
            lines.append(f"skipped {more} more rows")
        lines += [f"{note} ({n})" for note, n in self.notes.items()]
        return lines + ([f"columns not used: {', '.join(self.ignored)[:300]}"] if self.ignored else [])


@dataclass(frozen=True, slots=True)
class Workload:
    """A request set in its own order."""

    name: str
    prompts: Sequence[Prompt]  # a tuple; of a large set a list in a file
    # sha256 (hex) of its canonical JSONL in UTF-8 without reference and scorer, each line ended by a newline
    content_hash: str
    # sha256 (hex) of a line [id, reference, scorer] for each prompt that has a scorer; None where none has
    references_hash: str | None = None
    lengths: dict[str, Any] | None = None  # of a random set: what its lengths were counted by
    reading: Reading | None = field(default=None, compare=False)  # None where it was generated

    @property
    def note(self) -> str | None:
        return note_of(self.prompts[0].prompt_id) if self.prompts else None


def note_of(prompt_id: str) -> str | None:
    """What has to be said of the generated clinical set, by one of its prompts; None of others."""
    generated = prompt_id.startswith("wineval-")
    return "a generated load with checkable answers, no exam of medicine" if generated else None


def make_workload(name: str, prompts: Iterable[Prompt], reading: Reading | None = None) -> Workload:
    """The prompts, in their order, as a workload. Raises WorkloadError for one that is too large."""
    digest, references, any_scored, n_bytes = hashlib.sha256(), hashlib.sha256(), False, 0
    kept: list[Prompt] | FileList[Prompt] = []
    for prompt in prompts:
        known = (prompt.reference, prompt.scorer) != (None, None)
        for line in to_jsonl((replace(prompt, reference=None, scorer=None) if known else prompt,)):
            digest.update(f"{line}\n".encode())
            n_bytes += len(line) + _OBJECT_BYTES
        if known:
            parts = [prompt.prompt_id, prompt.reference, prompt.scorer]
            line = json.dumps(parts, ensure_ascii=False, sort_keys=True)
            n_bytes += len(line)
            if prompt.scorer is not None:
                references.update(f"{line}\n".encode())
                any_scored = True
        kept.append(prompt)
        if n_bytes > most("set_bytes"):
            raise WorkloadError(
                "the request set is too large", where=name, given=f"more than {n_bytes:,} bytes",
                expected=f"at most {most('set_bytes'):,}", hint=f"--requests {len(kept) - 1}",
            )  # fmt: skip
        if isinstance(kept, list) and n_bytes > _MOST_IN_MEMORY:
            kept = FileList(kept, attrgetter(*_FIELDS), lambda values: Prompt(*values))
    whole = tuple(kept) if isinstance(kept, list) else kept
    return Workload(name, whole, digest.hexdigest(), references.hexdigest() if any_scored else None, reading=reading)


def take(workload: Workload, n: int) -> Workload:
    """The first n prompts; beyond the end the set starts again, its copies called `ID#2`, `ID#3`, ...

    n: at least 1. prompt_id stays distinct. A copy has at_s None: a trace says nothing about a second round.
    """
    if n == len(workload.prompts):
        return workload
    prompts, mark = workload.prompts, "#"
    rounds = range(2, -(-n // len(prompts)) + 1)
    taken = {prompt.prompt_id for prompt in prompts} if rounds else set[str]()
    while any(f"{name}{mark}{k}" in taken for name in taken for k in rounds):
        mark += "#"
    first = (prompts[i] for i in range(min(n, len(prompts))))
    copies = (replace(p, prompt_id=f"{p.prompt_id}{mark}{k}", at_s=None) for k in rounds for p in prompts)
    return make_workload(workload.name, islice(chain(first, copies), n), workload.reading)


def copy_numbers(prompts: Sequence[Prompt]) -> list[int]:
    """Of each prompt, how many before it have the same text."""
    digests = bytearray()  # no text of a large set is held twice
    for prompt in prompts:
        digests += hashlib.blake2b(_full_text(prompt).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    high, low = np.frombuffer(digests, np.uint64).reshape(-1, 2).T
    order = np.lexsort((low, high))  # stable: copies in the set's order
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    places, numbers = np.arange(len(order)), np.empty(len(order), np.int64)
    numbers[order] = places - np.maximum.accumulate(np.where(first, places, 0))
    return numbers.tolist()


class PromptPlaces:
    """Where the prompts of a set are, by their ids, with 24 bytes of each in memory.

    input_tokens: (n,) that each was made to have, NaN where that is not known.
    """

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        facts = ((hash(p.prompt_id), np.nan if p.input_tokens is None else p.input_tokens) for p in prompts)
        table = np.fromiter(facts, np.dtype("i8,f8"), len(prompts))
        self._order, self.input_tokens = np.argsort(table["f0"]), table["f1"]
        self._hashes = table["f0"][self._order]

    def of(self, prompt_ids: Sequence[str]) -> NDArray[np.intp]:
        """(n,) places of ids that are in the set."""
        places: NDArray[np.intp] = self._order[np.searchsorted(self._hashes, [*map(hash, prompt_ids)])]
        return places


def has_system_prompt(prompt: Prompt) -> bool:
    """Whether it begins with a system or developer message."""
    return (prompt.messages or ({},))[0].get("role") in ("system", "developer")


def shared_prefix_ratio(prompts: Sequence[Prompt], system_prompt: str | None = None) -> float:
    """The share of the set's text that a prefix cache could hold at best, by characters, if no two texts are equal.

    system_prompt: goes before those that have none.
    Copies of a text are new to the cache (a salt of their own), so each round of copies shares with itself alone. In
    sorted order a text shares most with its neighbour, so the sum over neighbours is what a trie of all would save.
    """

    def texts() -> Iterator[tuple[int, str]]:
        for prompt, number in zip(prompts, copy_numbers(prompts), strict=True):
            system = "" if has_system_prompt(prompt) else system_prompt or ""
            yield number, system + _full_text(prompt)

    total = shared = 0
    for (before, other), (number, text) in pairwise(chain([(-1, "")], _sorted(texts()))):
        total += len(text)
        shared += _common(other, text) if number == before else 0
    return shared / total if total else 0.0


def _sorted(items: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """In ascending order; of many a part at a time is in memory."""
    parts: list[FileList[tuple[int, str]]] = []
    part: list[tuple[int, str]] = []
    n_bytes = 0
    for item in items:
        part.append(item)
        n_bytes += len(item[1]) + _OBJECT_BYTES // 4
        if n_bytes > _MOST_IN_MEMORY:
            parts.append(FileList(sorted(part)))
            part, n_bytes = [], 0
    return heapq.merge(*parts, sorted(part))


def message_text(message: Mapping[str, Any]) -> str:
    """The text of a message: its content, or the text parts of it; "" if it has none."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part.get("text"), str))
    return content or ""


def _full_text(prompt: Prompt) -> str:
    """All that a prefix cache may tell apart, images and tool calls included."""
    if prompt.messages is None:
        return prompt.prompt or ""
    plain = all(len(m) == 2 and isinstance(m.get("content"), str) for m in prompt.messages)
    text = "\n".join(f"{m['role']}: {m['content']}" for m in prompt.messages) if plain else json.dumps(prompt.messages)
    return text + (json.dumps(prompt.extra_body["tools"]) if "tools" in prompt.extra_body else "")


def _common(a: str, b: str) -> int:
    """The length of the common start."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a.startswith(b[low:middle], low) else (low, middle - 1)
    return low


def to_jsonl(prompts: Iterable[Prompt]) -> Iterator[str]:
    """One canonical JSON line per prompt, without newline: keys in Prompt's order, nothing that is None or empty."""
    for prompt in prompts:
        values = {name.removeprefix("prompt_"): getattr(prompt, name) for name in _FIELDS}
        if prompt.messages:
            first = ("role", "content")
            values["messages"] = [
                {key: m[key] for key in (*(k for k in first if k in m), *sorted(m.keys() - first))}
                for m in prompt.messages
            ]
        values["extra_body"] = dict(sorted(prompt.extra_body.items()))
        filled = {k: v for k, v in values.items() if v not in (None, (), {}) or (k == "reference" and v is not None)}
        yield json.dumps(filled, ensure_ascii=False)


def token_weight(text: str) -> float:
    """The unrounded token estimate: one per 1.5 CJK characters (with their punctuation), one per 4 others. Additive.

    A rule of thumb for when no tokenizer is at hand, never a measurement: metrics and costs are made of the server's
    own count (`usage`).
    """
    other = len(_CJK.sub("", text))
    return (len(text) - other) / CHARS_PER_TOKEN_CJK + other / CHARS_PER_TOKEN_OTHER


def estimate_input_tokens(prompt: Prompt) -> int:
    """Estimated input tokens of the prompt (as generated, else by `token_weight`), without a chat template."""
    if prompt.input_tokens is not None:
        return prompt.input_tokens
    return round(sum(map(token_weight, prompt_texts(prompt))))


def prompt_texts(prompt: Prompt) -> list[str]:
    """The prompt, or the texts of its messages; images and tool calls have none."""
    return [prompt.prompt or ""] if prompt.messages is None else [message_text(m) for m in prompt.messages]


@dataclass(frozen=True, slots=True)
class LengthStats:
    """Lengths in tokens: mean and observed percentiles (inverse of the empirical CDF). None when n is 0."""

    n: int
    mean: float | None
    p50: int | None
    p95: int | None
    max: int | None


@dataclass(frozen=True, slots=True)
class ScenarioStats:
    """One scenario, or the whole set (`total`)."""

    scenario: str | None  # None for requests that name none
    total: bool
    n: int
    share: float  # of the set's requests, ratio
    input_tokens: LengthStats  # estimated from the text
    max_output_tokens: LengthStats  # of the requests that have one
    language_share: dict[str, float]  # ratio per language tag
    histogram: tuple[int, ...]  # counts of input_tokens in each bin


def describe(workload: Workload, *, bins: int = 16) -> list[ScenarioStats]:
    """Statistics per scenario, in the order in which scenarios first appear, then of the whole set.

    All histograms share `bins` bins, equal in the logarithm, from the shortest to the longest prompt of the set.
    """
    groups: dict[str | None, list[Prompt]] = defaultdict(list)
    for prompt in workload.prompts:
        groups[prompt.scenario].append(prompt)
    inputs = [estimate_input_tokens(prompt) for prompt in workload.prompts]
    edges = np.geomspace(max(min(inputs, default=1), 1), max(max(inputs, default=1), 2), bins + 1)

    def stats(scenario: str | None, prompts: Sequence[Prompt], *, total: bool = False) -> ScenarioStats:
        inputs = [estimate_input_tokens(prompt) for prompt in prompts]
        bin_of = np.searchsorted(edges[1:-1], inputs, side="right")
        return ScenarioStats(
            scenario=scenario,
            total=total,
            n=len(prompts),
            share=len(prompts) / len(workload.prompts),
            input_tokens=_length_stats(inputs),
            max_output_tokens=_length_stats(p.max_output_tokens for p in prompts if p.max_output_tokens is not None),
            language_share={tag: sum(tag in p.tags for p in prompts) / len(prompts) for tag in LANGUAGE_TAGS},
            histogram=tuple(int(count) for count in np.bincount(bin_of, minlength=bins)),
        )

    return [*(stats(name, prompts) for name, prompts in groups.items()), stats(None, workload.prompts, total=True)]


def contents(prompts: Sequence[Prompt]) -> dict[str, int]:
    """How many requests have each kind of content."""
    kinds = [kinds_of_parts(prompt) for prompt in prompts]
    scored = Counter(name for prompt in prompts if (name := scorer_of(prompt)[0]))
    return {
        "messages": sum(p.messages is not None for p in prompts),
        "own output cap": sum(p.max_output_tokens is not None for p in prompts),
        "reference": sum(p.reference is not None for p in prompts),
        **{f"scored by {name}": n for name, n in sorted(scored.items())},
        "images or other media": sum(bool(of - {"text", "tools"}) for of in kinds),
        "tools": sum("tools" in of for of in kinds),
        "times": sum(p.at_s is not None for p in prompts),
        "own settings": sum(bool(p.extra_body) for p in prompts),
    }


def scorer_of(prompt: Prompt) -> tuple[str | None, dict[str, Any]]:
    """The name of its scorer, None where it is not scored, and the scorer's options."""
    if isinstance(prompt.scorer, dict):
        options = dict(prompt.scorer)
        return options.pop("name"), options
    return prompt.scorer, {}


def kinds_of_parts(prompt: Prompt) -> set[str]:
    """What a prompt has besides text: the types of its parts (image_url, ...), and tools."""
    kinds = {"tools"} if prompt.extra_body.keys() & {"tools", "functions"} else set()
    for message in prompt.messages or ():
        content = message.get("content")
        kinds |= {str(part.get("type")) for part in content} if isinstance(content, list) else set()
        kinds |= {"tools"} if message.keys() & {"tool_calls", "function_call", "tool_call_id"} else set()
    return kinds


def _length_stats(lengths: Iterable[int]) -> LengthStats:
    tokens = np.array(list(lengths), dtype=np.int64)
    if not len(tokens):
        return LengthStats(0, None, None, None, None)
    p50, p95 = np.quantile(tokens, [0.5, 0.95], method="inverted_cdf")
    return LengthStats(len(tokens), float(tokens.mean()), int(p50), int(p95), int(tokens.max()))
