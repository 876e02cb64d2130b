"""Stamped bytes to stamped deltas: what a streamed (or whole) completion says, and when each piece came. Pure.

Rules (docs/METHODS.md, Stream semantics): a token-bearing event has non-empty content (text or a list of parts), text,
refusal, reasoning, tool or function calls in any choice; role-only, null, empty, usage-only events and comments carry
none. An event's time is the stamp of the read that carried its last byte. Usage is the last non-zero one seen anywhere.
"""

from __future__ import annotations

import contextlib
import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchsuite.errors import read_json
from benchsuite.limits import RESPONSE_LIMITS, ResponseLimits, most
from benchsuite.records import end_kind
from benchsuite.redact import shortened
from benchsuite.servers import SERVERS
from benchsuite.servers.base import NativeEvent, ServerTimes, count

_fast_loads: Callable[[bytes], Any] = json.loads
with contextlib.suppress(ImportError):  # the extra `fast`
    from orjson import loads as _fast_loads

_BOM = b"\xef\xbb\xbf"  # a stream may begin with one, says the SSE standard
_NATIVE = [
    (key, server.native.read) for server in SERVERS.values() if server.native for key in server.native.event_keys
]
_FIELDS = dict(server.event_field for server in SERVERS.values() if server.event_field is not None)
# what few events have beside their choices
_USAGES = ("usageMetadata", "usage_metadata", "x_groq")
_RARE = frozenset({"error", "errors", *_USAGES, *_FIELDS})
# fields of a message with a piece of the answer (2) or of reasoning (1), the likeliest first
_PIECES = {
    **dict.fromkeys(("content", "text"), 2),
    **dict.fromkeys(("reasoning_content", "reasoning"), 1),
    **dict.fromkeys(("refusal", "function_call", "audio", "images", "tool_call", "parts"), 2),
    **dict.fromkeys(("reasoning_details", "thinking", "thought", "reasoning_text", "thinking_blocks"), 1),
}
_TEXTS = ("text", "thinking", "reasoning", "transcript", "summary", "content", "parts")
_ERROR_WORDS = (
    "error", "errors", "fault", "faultstring", "base_resp", "status_msg", "detail", "message", "msg", "error_msg",
    "error_message", "errorMessage", "error_description", "Message", "title",
)  # fmt: skip
_KEPT_ALIVE = re.compile(rb'[\s:."\[\]]*(ping|pong|heart[_-]?beat|keep[_-]?alive|processing)?[\s:."\[\]]*', re.I)
_NO_COMPLETION = re.compile(rb"error|ping|beat|alive")  # in the name of an event
_NAME_BYTES = 70  # of the line with it
_MAX_DEPTH, _MAX_PARTS = most("parts_depth"), most("choices")
_KEPT_CHARS = most("kept_chars") + most("key_chars")  # with a key that may begin within them
_STEP_BYTES = 32768  # of a body, between which the event loop runs
_OBJECT = re.compile(rb"[ \t\r\n\xef\xbb\xbf]*\{")
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_ENDS = re.compile(rb"(?:\r\n?|\n){1,2}")
_COSTLY = b",:{[\\"  # what a JSON parser takes longest for, and makes most objects of
_MAX_UNREAD = most("unread_pieces")  # after which none is tried: they hold the loop
_SHOWN_CHARS = 80  # of what could not be read


@dataclass(slots=True)
class StreamFacts:
    """What one response holds. Times are ns on the stamps' clock; None if it never came."""

    token_ns: array[int] = field(default_factory=lambda: array("q"))  # one stamp a token-bearing event
    first_answer_ns: int | None = None
    n_empty: int = 0
    merged_reads: int = 0
    usage: dict[str, Any] | None = None
    n_reasoning: int = 0  # of the token-bearing events
    finish_reason: str | None = None
    failed_end: str | None = None  # a finish_reason that tells of a failure
    response_id: str | None = None
    done: bool = False  # the format's own end was seen (`[DONE]`, Ollama's `done`)
    server_error: str | None = None  # the message of an error event
    server_words: str | None = None  # a message in place of a completion, which explains why there is none
    malformed: str | None = None  # why an event could not be read
    unread: str = ""  # the beginning of what is no event
    n_unread: int = 0  # pieces of it
    notes: set[str] = field(default_factory=set)  # codes of warnings: odd, and no failure
    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    # what the server says of its own work, outside `usage`
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    cached_tokens: int | None = None


def pieces(
    body: bytes | bytearray, *, ndjson: bool = False, longest: int = RESPONSE_LIMITS.event_bytes
) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of the pieces of a stream, each of whole events.

    An event of very many lines is cut between two of them; of a line far beyond `longest` the rest is left out.
    """
    start, n = 0, len(body)
    lines_bytes = most("event_lines_bytes")
    crlf = not ndjson and b"\r" in body
    marks = dict.fromkeys(
        (b"\n", b"\r") if crlf else (b"\n",), -1
    )  # where each is next; a regex takes 70 times as long
    while start < n:
        near, far = start + _STEP_BYTES, start + lines_bytes
        if ndjson:
            end = body.find(b"\n", near) + 1
        elif crlf:
            blank = _BLANK_LINE.search(body, near, far)
            end = blank.end() if blank else 0
        else:
            end = body.find(b"\n\n", near, far) + 2
        if end < 2 and not ndjson:  # a long event, or one of many lines
            for mark, at in marks.items():
                if at < far:
                    marks[mark] = body.find(mark, far) % (n + 1)  # n: nowhere
            found = _LINE_ENDS.match(body, min(marks.values()))
            end = found.end() if found else 0
        end = end or n
        kept = far + _NAME_BYTES + longest
        yield start, bytes(body[start:end] if end <= kept else body[start:kept] + body[max(kept, end - 4) : end])
        start = end


def sse_events(body: bytes, facts: StreamFacts | None = None, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """(payload, offset behind the event) of each SSE event with data, comments and other fields left out.

    An `error:` line and the data of an `event: error` come as the JSON of an error; lines of JSON without the name of a
    field come as data. facts: takes what could not be read. offset: of `body`, one of the `pieces` of a stream.
    """
    facts = facts or StreamFacts()
    end = offset
    if not offset and body.startswith(_BOM):
        end, body = len(_BOM), body[len(_BOM) :]
    if b"\r" in body:
        yield from _events_by_line(body, end, facts)
        return
    *whole, rest = body.split(b"\n\n")
    plain_name = b""  # the lines before the data of the last event that had some
    for event in whole:
        end += len(event) + 2
        if event.startswith(b"data: ") and b"\n" not in event:
            yield event[6:], end
            continue
        if not event or (event.startswith(b":") and b"\n" not in event):
            continue
        name, named, payload = event.partition(b"\ndata: ")
        if named and name == plain_name and b"\n" not in payload:
            yield payload, end
        elif (single := _plain(event.split(b"\n"))) is not None:
            plain_name = name if named else b""
            yield single, end
        else:
            yield from _event(event + b"\n", end - len(event) - 2, end, facts)
    if rest:
        yield from _event(rest, end, end + len(rest), facts, torn=True)


def _events_by_line(body: bytes, end: int, facts: StreamFacts) -> Iterator[tuple[bytes, int]]:
    """The same for line ends CR LF or CR, which SSE allows."""
    lines: list[bytes] = []
    start, before = end, end
    for raw in body.splitlines(keepends=True):  # bytes split at \n, \r and \r\n only
        end += len(raw)
        line = raw.rstrip(b"\r\n")
        if line:
            lines.append(line)
            continue
        if (payload := _plain(lines)) is not None:
            yield payload, end
        elif lines:
            yield from _event(body[start - before : end - before], start, end, facts)
        lines, start = [], end
    if lines:
        yield from _event(body[start - before :], start, end, facts, torn=True)


def _plain(lines: list[bytes]) -> bytes | None:
    """The payload of an event's lines, if one of them is data and none is odd; else None."""
    payload = None
    for line in lines:
        if line.startswith(b"data:"):
            if payload is not None:
                return None
            payload = line[5:].removeprefix(b" ")
        elif line.startswith(b"event:"):
            if _NO_COMPLETION.search(line, 0, _NAME_BYTES):
                return None
        elif not line.startswith((b"id:", b":", b"retry:")):
            return None
    return payload


def _event(event: bytes, start: int, end: int, facts: StreamFacts, torn: bool = False) -> Iterator[tuple[bytes, int]]:
    """The payloads of the lines between two blank ones. torn: no blank line follows."""
    if facts.n_unread >= _MAX_UNREAD and b"error" not in event and b"data:" not in event:
        return
    data: list[tuple[bytes, int]] = []
    bare: list[tuple[bytes, int]] = []
    name = b""
    for raw in event.splitlines(keepends=True):
        start, line = start + len(raw), raw.rstrip(b"\r\n")
        if line.startswith(b"data:"):
            data.append((line[5:].removeprefix(b" "), start))
        elif line.startswith(b"event:"):
            name = line[6:_NAME_BYTES].strip().lower()
        elif line.startswith(b"error:"):
            if facts.server_error is None:  # nobody asks for a second one
                yield _as_error(line[6:].removeprefix(b" ")), start
        elif line.strip() and not line.startswith((b":", b"id:", b"retry:")):
            bare.append((line, start))
    for payload, at in _whole(data, end, facts):
        if name == b"error":
            yield _as_error(payload), at
        elif name and _KEPT_ALIVE.fullmatch(name) and not is_json(payload):
            continue
        elif torn and not is_end_mark(payload) and not is_json(payload):
            facts.unread = facts.unread or _shown(payload)
        else:
            yield payload, at
    for payload, at in _whole(bare, end, facts) if bare else ():
        if facts.n_unread < _MAX_UNREAD and payload.lstrip()[:1] in (b"{", b"[") and is_json(payload):
            yield payload, at
        else:
            facts.n_unread += 1
            facts.unread = facts.unread or _shown(payload)


def _whole(lines: list[tuple[bytes, int]], end: int, facts: StreamFacts) -> Iterator[tuple[bytes, int]]:
    """Lines as one payload; as several where a blank line is missing between events that are whole each."""
    if len(lines) < 2:
        yield from ((line, end) for line, _ in lines)
        return
    joined = b"\n".join(line for line, _ in lines)
    if is_json(joined):
        yield joined, end
        return
    part: list[bytes] = []
    for line, at in lines:
        if (line[:1] == b"{" and line.rstrip()[-1:] == b"}") or is_end_mark(line):  # parsed by who takes it
            facts.notes.add("events_not_separated")
            if part:
                yield b"\n".join(part), at - len(line)
                part = []
            yield line, at
        else:
            part.append(line)
    if part:
        yield b"\n".join(part), end


def _as_error(payload: bytes) -> bytes:
    """The JSON of an error that says `payload`."""
    try:
        tree = loads(payload)
    except ValueError:
        return json.dumps({"error": payload[: most("error_text_bytes")].decode("utf-8", "replace")}).encode()
    return payload if isinstance(tree, dict) and tree.get("error") else b'{"error":%s}' % payload


def is_end_mark(payload: bytes) -> bool:
    """True for `[DONE]`, also in quotes, with blanks, in lower case or without its brackets."""
    return len(payload) < 32 and payload.strip(b" \t\r\n\"'[]").upper() == b"DONE"


def json_lines(body: bytes, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """(line, offset behind its newline) of each line that is not blank. offset: of `body`, as above.

    A last line without newline counts if it is whole; a torn one is no event, and no error either.
    """
    end = offset
    *whole, rest = body.split(b"\n")
    for line in whole:
        end += len(line) + 1
        if line.strip():
            yield line, end
    if rest.strip() and is_json(rest):
        yield rest, end + len(rest)


class TooLarge(ValueError):
    """JSON that would hold the event loop, or take too much memory."""


def loads(data: bytes, limits: ResponseLimits = RESPONSE_LIMITS) -> Any:
    """The JSON in `data`. Raises ValueError. What counts as JSON does not depend on whether orjson is installed."""
    if len(data) > limits.event_values:
        if len(data) > limits.event_bytes:
            raise TooLarge(f"JSON of more than {limits.event_bytes} bytes (response.event_mib)")
        if len(data) - len(data.translate(None, _COSTLY)) > limits.event_values:
            raise TooLarge(f"JSON of more than {limits.event_values} values (response.event_values)")
    try:
        return _fast_loads(data)
    except ValueError:  # orjson is the stricter of the two: it takes no half of a surrogate pair
        pass
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return read_json(data)


def is_object(body: bytes | bytearray, limits: ResponseLimits) -> bool:
    """True if a body is one JSON object, also one that is too large to be read, and no lines of several."""
    if _OBJECT.match(body) is None:
        return False
    if len(body) > limits.event_bytes:
        return body.find(b"\n", 0, limits.event_bytes) < 0
    try:
        loads(bytes(body), limits)
    except ValueError as error:
        return isinstance(error, TooLarge) and body.find(b"\n", 0, -1) < 0
    return True


def is_json(data: bytes, limits: ResponseLimits = RESPONSE_LIMITS) -> bool:
    """True if `data` is one whole JSON value."""
    try:
        loads(data, limits)
    except ValueError:
        return False
    return True


def clean_text(text: str) -> str:
    """`text` as what UTF-8 can carry: surrogate halves that meet are joined, lone ones become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def error_message(body: bytes | bytearray, limit: int = 300) -> str:
    """What an error body says, in one line of at most `limit` characters; every server words it differently."""
    body = bytes(body[: most("error_bytes")])
    try:
        tree = loads(body)
    except ValueError:
        body = body[: most("error_text_bytes")]
        events = (payload for payload, _ in sse_events(body) if payload.startswith(b"{") and is_json(payload))
        tree = loads(event) if (event := next(events, None)) else plain_text(body)
    return _error_words(tree, body, limit)


def _error_words(tree: Any, body: bytes = b"", limit: int = 300) -> str:
    for key in _ERROR_WORDS:
        while True:
            if isinstance(tree, list) and tree and isinstance(tree[0], dict) and "loc" not in tree[0]:
                tree = tree[0]
            value = tree.get(key) if isinstance(tree, dict) else None
            if not (value and isinstance(value, str | dict | list)) and tree != {key: value}:
                break
            tree = value
    if isinstance(tree, str) and tree.startswith('{"error"') and is_json(tree.encode("utf-8", "replace")):
        return error_message(tree.encode("utf-8", "replace"), limit)  # what another server said, as a text
    text, longest = tree, most("error_text_bytes")
    if not isinstance(tree, str):
        text = body.decode("utf-8", "replace")
        if len(body) <= longest:
            with contextlib.suppress(RecursionError):
                text = json.dumps(tree, ensure_ascii=False)
    return shortened(clean_text(" ".join(text[:longest].split())), limit)


def _shown(payload: bytes) -> str:
    """The beginning of what could not be read."""
    return repr(shortened(payload[: most("error_text_bytes")].decode("utf-8", "backslashreplace"), _SHOWN_CHARS))


def plain_text(body: bytes | bytearray) -> str:
    """The text of a body, of a long one its beginning; of a page of HTML without its tags."""
    text = bytes(body[: most("error_text_bytes")]).decode("utf-8", "replace")
    if text.lstrip()[:1] != "<":
        return text
    return " ".join(re.sub(r"<(style|script)\b.*?</\1>|<[^<>]*>", " ", text[:2048], flags=re.I | re.S).split()) or text


class Usage(NamedTuple):
    """Token counts of a response as its server gives them; None where it does not."""

    input_tokens: int | None
    output_tokens: int | None  # reasoning included
    cached_tokens: int | None
    reasoning_tokens: int | None
    completed: bool = False  # the output is from the total, or with the reasoning: it was counted without it


_PROMPT = (
    "prompt_tokens", "input_tokens", "promptTokenCount", "prompt_token_count", "inputTokens", "promptTokens",
    "prompt_eval_count",
)  # fmt: skip
_COMPLETION = (
    "completion_tokens", "output_tokens", "candidatesTokenCount", "candidates_token_count", "outputTokens",
    "completionTokens", "generated_tokens", "eval_count",
)  # fmt: skip
_TOTAL = ("total_tokens", "totalTokenCount", "total_token_count", "totalTokens")
_CACHED = (
    "cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cachedContentTokenCount",
    "cached_content_token_count", "cacheReadInputTokens", "num_cached_tokens",
)  # fmt: skip
_REASONING = ("reasoning_tokens", "thinking_tokens", "thoughtsTokenCount", "thoughts_token_count")
_DETAILS = ("prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "output_tokens_details")


def usage_counts(usage: dict[str, Any] | None) -> Usage:
    """The counts of a usage object under whatever names a server gives them."""
    if not usage:
        return Usage(None, None, None, None)
    details = [value for key in _DETAILS if isinstance(value := usage.get(key), dict)]

    def first(names: Sequence[str], *places: dict[str, Any]) -> int | None:
        counts = (count(place.get(name)) for place in places for name in names if name in place)
        return next((value for value in counts if value is not None), None)

    prompt, total = first(_PROMPT, usage), first(_TOTAL, usage)
    stated = output = first(_COMPLETION, usage)
    reasoning = first(_REASONING, *details, usage)
    if total is not None and prompt is not None and total - prompt > (output or 0):
        output = total - prompt
    elif output is not None and reasoning is not None and reasoning > output:
        output += reasoning
    return Usage(prompt, output, first(_CACHED, *details, usage), reasoning, stated is not None and output != stated)


def stream_steps(
    facts: StreamFacts,
    body: bytes | bytearray,
    body_ends: Sequence[int],
    stamps_ns: Sequence[int],
    *,
    keep_text: bool = False,
    ndjson: bool = False,
    limits: ResponseLimits = RESPONSE_LIMITS,
) -> Iterator[None]:
    """Fill `facts` from an SSE (or NDJSON) body, yielding now and then: a long parse never holds up an event loop."""
    read, last_token_read, merged_read, n, answered = 0, -1, -1, 0, False
    last_read, most_events = len(body_ends) - 1, most("events")
    add_token, read_event = facts.token_ns.append, EventReader(facts, keep_text, limits).read
    for offset, piece in pieces(body, ndjson=ndjson, longest=limits.event_bytes):
        for payload, end in json_lines(piece, offset) if ndjson else sse_events(piece, facts, offset):
            n += 1
            while read < last_read and body_ends[read] < end:
                read += 1
            kind = read_event(payload)
            if kind < 1:
                facts.n_empty += kind == 0
                continue
            stamp_ns = stamps_ns[read]
            add_token(stamp_ns)
            if kind == 1:
                facts.n_reasoning += 1
            elif not answered:
                answered, facts.first_answer_ns = True, stamp_ns
            if read == last_token_read and read != merged_read:
                merged_read = read
                facts.merged_reads += 1
            last_token_read = read
        if n > most_events:
            facts.malformed = f"a stream of more than {most_events} events"
            return
        yield


def read_whole(
    body: bytes | bytearray, *, keep_text: bool = False, limits: ResponseLimits = RESPONSE_LIMITS
) -> StreamFacts:
    """The facts of a non-streaming JSON body: no token times; `done` when the JSON is a completion with a token."""
    facts = StreamFacts()
    whole = bytes(body[: limits.event_bytes + 1])  # a longer one is not read
    facts.done = EventReader(facts, keep_text, limits).read(whole) > 0
    return facts


def _bears(part: Any, depth: int = 0) -> bool:
    """True if anything but names of places is in a part of a message, such as a piece of a tool call."""
    if depth > _MAX_DEPTH or not isinstance(part, list | dict):
        return bool(part)
    inner = [part[key] for key in part if key not in ("type", "id", "index")] if isinstance(part, dict) else part
    return any(_bears(piece, depth + 1) for piece in inner[: _few(depth)])


def _few(depth: int) -> int:
    """How many parts within a part are looked through: all together must not hold the event loop."""
    return max(_MAX_PARTS >> 2 * depth, 1)


class EventReader:
    """Takes the events of one response into its facts."""

    __slots__ = ("_facts", "_keep_text", "_limits", "_quick")

    def __init__(self, facts: StreamFacts, keep_text: bool, limits: ResponseLimits = RESPONSE_LIMITS) -> None:
        self._facts, self._keep_text, self._limits = facts, keep_text, limits
        self._quick = False  # an event needs to be read no further than to its piece of text

    def read(self, payload: bytes) -> int:
        """Take one event. 2: it has an answer token, 1: a reasoning token, 0: none, -1: it is no completion event
        (`[DONE]`, an error, malformed).
        """
        facts = self._facts
        if payload == b"[DONE]":
            facts.done = True
            return -1
        try:
            event = loads(payload, self._limits)
        except TooLarge as error:
            facts.malformed = facts.malformed or str(error)
            return -1
        except ValueError:
            return self._not_json(payload)
        try:  # nearly every event is this: one choice with a piece of text, and nothing else to learn
            (choice,) = event["choices"]
            if self._quick and choice.get("finish_reason") is None and "error" not in event:
                delta = choice.get("delta", choice)
                if "usage" in event:
                    self._usage(event["usage"])
                if content := delta.get("content"):
                    if content.__class__ is str:
                        return 2
                elif delta is choice:
                    if choice["text"].__class__ is str and choice["text"]:
                        return 2
                elif (delta.get("reasoning_content") or delta.get("reasoning")) and not delta.get("tool_calls"):
                    return 1
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        if event.__class__ is list and len(event) == 1:
            event = event[0]
        if not isinstance(event, dict):
            return 0 if event is None else self._unread(payload, "an event is not a JSON object")
        if "usage" in event:
            self._usage(event["usage"])
        if not _RARE.isdisjoint(event) and self._rare(event, payload):
            return -1
        if facts.response_id is None and isinstance(event.get("id"), str):
            facts.response_id = clean_text(event["id"][:_KEPT_CHARS]) or None
            self._quick = facts.response_id is not None and not self._keep_text
        choices = event.get("choices")
        if not choices:
            return self._without_choices(event, payload)
        kind = 0
        if isinstance(choices, list):
            for choice in choices[:_MAX_PARTS]:
                if isinstance(choice, dict):
                    kind = max(kind, self._choice(choice))
        return kind

    def _usage(self, usage: Any) -> None:
        # Some servers put zeros on every chunk and the truth on the last: keep the last that counts something.
        if usage and isinstance(usage, dict):
            facts = self._facts
            if count(usage.get("completion_tokens")):
                facts.usage = usage
                return
            counts = usage_counts(usage)
            if counts.output_tokens or (facts.usage is None and counts.input_tokens):
                facts.usage = usage

    def _rare(self, event: dict[str, Any], payload: bytes) -> bool:
        """Take what few events have; True for an error."""
        facts = self._facts
        for key, read in _FIELDS.items():
            if key in event:
                self._server_times(read(event[key]))
        for key in _USAGES:
            table = event.get(key)
            if isinstance(table, dict):
                self._usage(table.get("usage", table))
        if event.get("error") or event.get("errors"):
            facts.server_error = facts.server_error or error_message(payload)
            return True
        return False

    def _without_choices(self, event: dict[str, Any], payload: bytes) -> int:
        """An event of a native route, or none of a completion: it may say why there is none."""
        facts = self._facts
        for key, read in _NATIVE:
            if key in event:
                return self._native(read(event))
        if "error" in (event.get("object"), event.get("type")):
            facts.server_error = facts.server_error or error_message(payload)
            return -1
        status = event.get("base_resp")
        failed = isinstance(status, dict) and status.get("status_code")
        if failed or any(isinstance(event.get(word), str | list) and event[word] for word in _ERROR_WORDS):
            facts.server_words = facts.server_words or error_message(payload)
        elif "choices" not in event and "usage" not in event and event:
            facts.unread = facts.unread or _shown(payload)
        for place in (event.get("message"), event.get("response")):
            if isinstance(place, dict):
                self._usage(place.get("usage"))
        return 0

    def _native(self, event: NativeEvent) -> int:
        facts = self._facts
        kind, text, ended, done, reason, input_tokens, output_tokens, times = event
        if ended:
            self._ended(reason)
            if facts.finish_reason is None:  # a server that ends without a reason has ended all the same
                facts.finish_reason = "done"
            if count(input_tokens) is not None or count(output_tokens) is not None:
                facts.usage = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
            facts.done |= done
            self._server_times(times)
        if text and self._keep_text:
            facts.text.append(text)
        return kind

    def _server_times(self, times: ServerTimes | None) -> None:
        if times is not None:
            facts = self._facts
            facts.queue_s, facts.prefill_s, facts.decode_s, facts.cached_tokens = times

    def _ended(self, reason: Any, native: Any = None) -> None:
        """Take the reason for a response's end, and the one of the server behind a gateway."""
        facts = self._facts
        if isinstance(reason, dict):  # SGLang's own
            reason = reason.get("type")
        for word in (reason, native):
            if not isinstance(word, str) or not word or word == "null":
                continue
            kind, text = end_kind(word[:_KEPT_CHARS]), clean_text(word[:_KEPT_CHARS])
            if kind == "failure":
                facts.failed_end = facts.failed_end or text
            if word is reason:
                facts.finish_reason = text
                if kind == "unknown":
                    facts.notes.add("finish_reason_unknown")

    def _choice(self, choice: dict[str, Any]) -> int:
        delta = choice.get("delta")
        if whole := delta is None:
            delta = choice.get("message")
        if not isinstance(delta, dict):
            whole, delta = False, choice
        reason = choice.get("finish_reason") or choice.get("finishReason") or delta.get("finish_reason")
        if reason:
            self._ended(reason, choice.get("native_finish_reason"))
        if "usage" in choice or "usage" in delta:
            self._usage(choice.get("usage") or delta.get("usage"))
        if whole and reason and self._facts.token_ns:  # all of the answer once more, behind its pieces
            return 0
        if (content := delta.get("content")) and content.__class__ is str:
            if self._keep_text:
                self._facts.text.append(content)
            return 2
        if _bears(delta.get("tool_calls")):
            return 2
        for key, kind in _PIECES.items():
            if (piece := delta.get(key)) and (token := self._part(piece, kind)):
                return token
        if error := choice.get("error") or delta.get("error"):
            self._facts.server_error = self._facts.server_error or _error_words(error)
            return 0
        return self._part(choice.get("text"))

    def _part(self, part: Any, kind: int = 2, depth: int = 0) -> int:
        """The kind of token in a part of a message, or a list of parts; those of thoughts are reasoning."""
        if depth > _MAX_DEPTH:
            return 0
        if isinstance(part, list):
            return max((self._part(item, kind, depth + 1) for item in part[: _few(depth)]), default=0)
        if isinstance(part, str):
            if part and self._keep_text:
                (self._facts.text if kind == 2 else self._facts.thoughts).append(part)
            return kind if part else 0
        if not isinstance(part, dict):
            return kind if part else 0
        name = part.get("type")
        if part.get("thought") is True or (isinstance(name, str) and name.startswith(("think", "reason", "thought"))):
            kind = 1
        for key in _TEXTS:
            if key in part:
                return self._part(part[key], kind, depth + 1) if part[key] else 0
        return kind if _bears(part) else 0

    def _not_json(self, payload: bytes) -> int:
        facts = self._facts
        if not (text := payload.strip()) or (len(text) < 64 and _KEPT_ALIVE.fullmatch(text)):
            return 0
        if payload.lstrip().startswith(b'{"error"'):
            facts.server_error = facts.server_error or error_message(payload)
            return -1
        return self._unread(payload, "an event is not JSON")

    def _unread(self, payload: bytes, why: str) -> int:
        facts = self._facts
        if is_end_mark(payload):
            facts.done = True
        elif facts.finish_reason or facts.done:
            facts.notes.add("not_json_after_end")
        else:
            facts.malformed = facts.malformed or f"{why}: {_shown(payload)}"
        return -1
