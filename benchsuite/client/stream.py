"""Stamped bytes to stamped deltas: what a streamed (or whole) completion says, and when each piece came. Pure.

Rules (docs/METHODS.md, Stream semantics): a token-bearing event has non-empty content, text, reasoning or tool calls in
any choice; role-only, null, empty, usage-only events and comments carry none. An event's time is the stamp of the read
that carried its last byte. Usage is the last non-zero one seen in any event.
"""

from __future__ import annotations

import contextlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchsuite.redact import masked
from benchsuite.servers import SERVERS
from benchsuite.servers.base import ServerTimes, count

_fast_loads: Callable[[bytes], Any] = json.loads
with contextlib.suppress(ImportError):  # the extra `fast`
    from orjson import loads as _fast_loads

_EVENTS_PER_STEP = 128
_BOM = b"\xef\xbb\xbf"  # a stream may begin with one, says the SSE standard
_NATIVE = [
    (key, server.native.read) for server in SERVERS.values() if server.native for key in server.native.event_keys
]
_FIELDS = [server.event_field for server in SERVERS.values() if server.event_field is not None]


@dataclass(slots=True)
class StreamFacts:
    """What one response holds. Times are ns on the stamps' clock; None if it never came."""

    token_ns: array[int] = field(default_factory=lambda: array("q"))  # one stamp a token-bearing event
    first_answer_ns: int | None = None
    n_empty: int = 0
    merged_reads: int = 0
    usage: dict[str, Any] | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    done: bool = False  # the format's own end was seen (`[DONE]`, Ollama's `done`)
    server_error: str | None = None  # the message of an error event
    malformed: str | None = None  # why an event could not be read
    text: list[str] = field(default_factory=list)
    # what the server says of its own work, outside `usage`
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    cached_tokens: int | None = None


def sse_events(body: bytes) -> Iterator[tuple[bytes, int]]:
    """(payload, offset behind the event) of each SSE event with data, comments and other fields left out."""
    end = len(_BOM) if body.startswith(_BOM) else 0
    body = body[end:]
    if b"\r" in body:
        yield from _events_by_line(body, end)
        return
    *whole, rest = body.split(b"\n\n")
    for event in whole:
        end += len(event) + 2
        if event.startswith(b"data: ") and b"\n" not in event:
            yield event[6:], end
        elif (payload := _payload(event.split(b"\n"))) is not None:
            yield payload, end
    if rest and (payload := _payload(rest.split(b"\n"))) is not None and (payload == b"[DONE]" or is_json(payload)):
        yield payload, end + len(rest)


def _events_by_line(body: bytes, end: int) -> Iterator[tuple[bytes, int]]:
    """The same for line ends CR LF or CR, which SSE allows."""
    lines: list[bytes] = []
    for raw in body.splitlines(keepends=True):  # bytes split at \n, \r and \r\n only
        end += len(raw)
        line = raw.rstrip(b"\r\n")
        if line:
            lines.append(line)
            continue
        if (payload := _payload(lines)) is not None:
            yield payload, end
        lines = []
    if (payload := _payload(lines)) is not None and (payload == b"[DONE]" or is_json(payload)):
        yield payload, end


def _payload(lines: list[bytes]) -> bytes | None:
    data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(data) if data else None


def json_lines(body: bytes) -> Iterator[tuple[bytes, int]]:
    """(line, offset behind its newline) of each line that is not blank.

    A last line without newline counts if it is whole; a torn one is no event, and no error either.
    """
    end = 0
    *whole, rest = body.split(b"\n")
    for line in whole:
        end += len(line) + 1
        if line.strip():
            yield line, end
    if rest.strip() and is_json(rest):
        yield rest, end + len(rest)


def loads(data: bytes) -> Any:
    """The JSON in `data`. Raises ValueError. What counts as JSON does not depend on whether orjson is installed."""
    try:
        return _fast_loads(data)
    except ValueError:  # orjson is the stricter of the two: it takes no half of a surrogate pair
        pass
    except RecursionError:
        raise ValueError("nested too deeply") from None
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_json(data: bytes) -> bool:
    """True if `data` is one whole JSON value."""
    try:
        loads(data)
    except ValueError:
        return False
    return True


def clean_text(text: str) -> str:
    """`text` as what UTF-8 can carry: surrogate halves that meet are joined, lone ones become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def error_message(body: bytes, limit: int = 300) -> str:
    """What an error body says, in one line of at most `limit` characters; every server words it differently."""
    try:
        tree = loads(body)
    except ValueError:
        tree = body.decode("utf-8", "replace")
    for key in ("error", "detail", "message"):
        while isinstance(tree, dict) and key in tree:
            tree = tree[key]
    try:
        text = tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)
    except RecursionError:
        text = body.decode("utf-8", "replace")
    return masked(clean_text(" ".join(text.split())))[:limit]  # masked before it is cut: half a key is one too


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
    token_ns, read_event = facts.token_ns, EventReader(facts, keep_text).read
    for payload, end in json_lines(body) if ndjson else sse_events(body):
        n += 1
        if n % _EVENTS_PER_STEP == 0:
            yield
        while read < n_reads - 1 and body_ends[read] < end:
            read += 1
        kind = read_event(payload)
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
    kind = EventReader(facts, keep_text).read(body)
    facts.done = facts.malformed is None and facts.server_error is None and kind >= 0
    return facts


class EventReader:
    """Takes the events of one response into its facts."""

    __slots__ = ("_facts", "_keep_text")

    def __init__(self, facts: StreamFacts, keep_text: bool) -> None:
        self._facts, self._keep_text = facts, keep_text

    def read(self, payload: bytes) -> int:
        """Take one event. 2: it has an answer token, 1: a reasoning token, 0: none, -1: it is no completion event
        (`[DONE]`, an error, malformed).
        """
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
        # Some servers put zeros on every chunk and the truth on the last: keep the last that counts something.
        if (usage and isinstance(usage, dict)) and (
            count(usage.get("completion_tokens")) or (facts.usage is None and count(usage.get("prompt_tokens")))
        ):
            facts.usage = usage
        for key, read in _FIELDS:
            if key in event:
                self._server_times(read(event[key]))
        if event.get("error"):
            facts.server_error = facts.server_error or error_message(payload)
            return -1
        if facts.response_id is None and isinstance(event.get("id"), str):
            facts.response_id = clean_text(event["id"]) or None
        if "choices" not in event:
            return self._native(event)
        kind = 0
        choices = event["choices"]
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    kind = max(kind, self._choice(choice))
        return kind

    def _native(self, event: dict[str, Any]) -> int:
        facts = self._facts
        for key, read in _NATIVE:
            if key not in event:
                continue
            kind, text, ended, done, reason, input_tokens, output_tokens, times = read(event)
            if ended:  # a server that ends without a reason has ended all the same
                facts.finish_reason = clean_text(reason) if isinstance(reason, str) and reason else "done"
                if count(input_tokens) is not None or count(output_tokens) is not None:
                    facts.usage = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
                facts.done |= done
                self._server_times(times)
            if text and self._keep_text:
                facts.text.append(text)
            return kind
        return 0

    def _server_times(self, times: ServerTimes | None) -> None:
        if times is not None:
            facts = self._facts
            facts.queue_s, facts.prefill_s, facts.decode_s, facts.cached_tokens = times

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
        return 1 if delta.get("reasoning_content") or delta.get("reasoning") else 0

    def _not_json(self, payload: bytes) -> int:
        facts = self._facts
        if not payload.strip():
            return 0
        if payload.lstrip().startswith(b'{"error"'):
            facts.server_error = facts.server_error or error_message(payload)
        else:
            facts.malformed = facts.malformed or f"an event is not JSON: {payload[:80]!r}"
        return -1
