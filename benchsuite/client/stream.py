"""Stamped bytes to stamped deltas: what a streamed (or whole) completion says, and when each piece came. Pure.

Rules (docs/METHODS.md, Stream semantics): a token-bearing event has non-empty content, text, reasoning or tool calls in
any choice; role-only, null, empty, usage-only events and comments carry none. An event's time is the stamp of the read
that carried its last byte. Usage is the last non-zero one seen in any event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchsuite.client.facts import StreamFacts
from benchsuite.client.native import note_native, note_timings
from benchsuite.client.ndjson import json_lines
from benchsuite.client.reading import clean_text, count, error_message, loads
from benchsuite.client.sse import sse_events

_EVENTS_PER_STEP = 128


def read_stream(
    body: bytes, body_ends: Sequence[int], stamps_ns: Sequence[int], *, keep_text: bool = False, ndjson: bool = False
) -> StreamFacts:
    """The facts of a streamed body. body_ends[i]: body bytes received up to read i, stamped stamps_ns[i]."""
    facts = StreamFacts()
    for _ in stream_steps(facts, body, body_ends, stamps_ns, keep_text=keep_text, ndjson=ndjson):
        pass
    return facts


def stream_steps(
    facts: StreamFacts,
    body: bytes,
    body_ends: Sequence[int],
    stamps_ns: Sequence[int],
    *,
    keep_text: bool = False,
    ndjson: bool = False,
) -> Iterator[None]:
    """Fill `facts` from an SSE (or NDJSON) body, yielding now and then: a long parse never holds up an event loop."""
    read, last_token_read, merged_read, n = 0, -1, -1, 0
    n_reads = len(body_ends)
    token_ns, note = facts.token_ns, _Noter(facts, keep_text).note
    for payload, end in json_lines(body) if ndjson else sse_events(body):
        n += 1
        if n % _EVENTS_PER_STEP == 0:
            yield
        while read < n_reads - 1 and body_ends[read] < end:
            read += 1
        kind = note(payload)
        if kind < 1:
            facts.n_empty += kind == 0
            continue
        stamp_ns = stamps_ns[read]
        token_ns.append(stamp_ns)
        if kind == 2 and facts.first_answer_ns is None:
            facts.first_answer_ns = stamp_ns
        if read == last_token_read and read != merged_read:
            merged_read = read
            facts.merged_reads += 1
        last_token_read = read


def read_whole(body: bytes, *, keep_text: bool = False) -> StreamFacts:
    """The facts of a non-streaming JSON body: no token times; `done` when the JSON is a completion."""
    facts = StreamFacts()
    kind = _Noter(facts, keep_text).note(body)
    facts.done = facts.malformed is None and facts.server_error is None and kind >= 0
    return facts


class _Noter:
    """Takes one event's payload into the facts. Returns 2 for an answer token, 1 for a reasoning token, 0 for an
    event without tokens, -1 for what is no completion event (`[DONE]`, an error, malformed)."""

    __slots__ = ("_facts", "_keep_text")

    def __init__(self, facts: StreamFacts, keep_text: bool) -> None:
        self._facts, self._keep_text = facts, keep_text

    def note(self, payload: bytes) -> int:
        facts = self._facts
        if payload == b"[DONE]":
            facts.done = True
            return -1
        try:
            event = loads(payload)
        except ValueError:
            return self._not_json(payload)
        try:  # nearly every event is this: one choice with a piece of text, and nothing else to learn
            (choice,) = event["choices"]
            if (
                choice["delta"]["content"]
                and choice.get("finish_reason") is None
                and facts.response_id is not None
                and not self._keep_text
                and "usage" not in event
                and "error" not in event
            ):
                return 2
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        if not isinstance(event, dict):
            if event is not None:
                facts.malformed = facts.malformed or f"an event is not a JSON object: {payload[:80]!r}"
                return -1
            return 0
        usage = event.get("usage")
        if usage and isinstance(usage, dict):
            self._usage(usage)
        if "timings" in event:
            note_timings(facts, event["timings"])
        if event.get("error"):
            facts.server_error = facts.server_error or error_message(payload)
            return -1
        if facts.response_id is None and isinstance(event.get("id"), str):
            facts.response_id = clean_text(event["id"]) or None
        if "choices" not in event:
            return note_native(facts, event, keep_text=self._keep_text)
        kind = 0
        choices = event["choices"]
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    kind = max(kind, self._choice(choice))
        return kind

    def _usage(self, usage: dict[str, Any]) -> None:
        # Some servers put zeros on every chunk and the truth on the last: keep the last that counts something.
        if count(usage.get("completion_tokens")) or (self._facts.usage is None and count(usage.get("prompt_tokens"))):
            self._facts.usage = usage

    def _choice(self, choice: dict[str, Any]) -> int:
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str):
            self._facts.finish_reason = clean_text(reason)
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message")
        if not isinstance(delta, dict):
            delta = choice
        content = delta.get("content") or delta.get("text")
        if content:
            if self._keep_text and isinstance(content, str):
                self._facts.text.append(content)
            return 2
        if delta.get("tool_calls"):
            return 2
        if delta.get("reasoning_content") or delta.get("reasoning"):
            return 1
        return 0

    def _not_json(self, payload: bytes) -> int:
        facts = self._facts
        if not payload.strip():
            return 0
        if payload.lstrip().startswith(b'{"error"'):
            facts.server_error = facts.server_error or error_message(payload)
        else:
            facts.malformed = facts.malformed or f"an event is not JSON: {payload[:80]!r}"
        return -1
