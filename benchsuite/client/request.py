"""One request: a prompt becomes the bytes of an HTTP request, and its finished exchange a row.

Pure: the times are in the exchange, no clock is read here. What differs between servers is data in `servers`; a
preflight (load/preflight.py) finds out what one really does.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from benchsuite.client.http import Endpoint, Exchange, WireError
from benchsuite.client.stream import (
    StreamFacts,
    clean_text,
    error_message,
    is_object,
    plain_text,
    read_whole,
    stream_steps,
    usage_counts,
)
from benchsuite.limits import most
from benchsuite.records import RequestRecord, Status, TokenSource
from benchsuite.redact import masked, settled, shortened
from benchsuite.servers.base import CAPS, Native, Server, count, seconds
from benchsuite.workload.dataset import Prompt, has_system_prompt, message_text

_MAX_ID_CHARS, _MAX_ERROR_CHARS, _MAX_TEXT_CHARS = most("kept_chars"), most("error_chars"), most("text_chars")
_STEP_READS, _STEP_CHARS = 32768, 16384
_MAX_GAP_US = 2**31 - 1  # what the column holds: 36 minutes


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A prompt as the bytes of its request, and what its row takes from it."""

    wire: bytes = field(repr=False)  # its head carries secrets
    prompt_id: str
    scenario: str | None
    asked_output_tokens: int | None


CacheBust = Literal["field", "prompt", "off"]


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """How a prompt becomes a request body for one server and one point."""

    profile: Server
    model: str
    endpoint: Literal["chat", "completions", "native"]
    stream: bool
    fixed_length: bool
    max_output_tokens: int | None
    cache_bust: CacheBust
    salt: str  # makes prompts new to the server's prefix cache; where it goes is cache_bust
    # fields by chat's names, over those above; then extra_body, then the prompt's own: a table goes into the table of
    # that name, any other value takes the place of what was there
    sampling: dict[str, Any] = field(default_factory=dict)
    extra_body: dict[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None  # before the messages that begin with none
    dropped: tuple[str, ...] = ()  # fields that the server refused in the preflight
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  # the cap on output tokens

    def asked_output_tokens(self, prompt: Prompt) -> int | None:
        """The max_tokens sent with `prompt`: its own, capped by the sweep's and extra_body's; None if none is given."""
        asked = [prompt.max_output_tokens, self.max_output_tokens, *(self.extra_body.get(name) for name in CAPS)]
        if self.endpoint == "native":
            table, name = self._native.cap
            asked.append(inner.get(name) if isinstance(inner := self.extra_body.get(table), dict) else None)
        caps = [cap for cap in asked if isinstance(cap, int) and cap > 0]
        return min(caps) if caps else None

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The JSON body of `prompt`."""
        limit = self.asked_output_tokens(prompt)
        salt = self.salt if self.cache_bust == "prompt" else None
        system = self.system_prompt
        line = prompt.extra_body
        if self.endpoint == "native":
            native, (table, cap) = self._native, self._native.cap
            values = {"$MODEL": self.model, "$STREAM": self.stream}
            values |= {"$MESSAGES": _messages(prompt, system, salt), "$TEXT": _text(prompt, system, salt)}
            body = _filled(native.body, values)
            named = {key: value for key, value in line.items() if key in native.takes}
            sampling = {key: value for key, value in self.sampling.items() if key in native.takes}
            rest = {key: value for key, value in line.items() if key not in named}
            last = native.sampling(named), {} if limit is None else {table: {cap: limit}}
            extras = [native.sampling(sampling | named), self.extra_body, rest, *last]
        else:
            extras = [self.sampling, self.extra_body, line]
            chat = self.endpoint == "chat"
            body = {"model": self.model, "stream": self.stream}
            body |= {"messages": _messages(prompt, system, salt)} if chat else {"prompt": _text(prompt, system, salt)}
            if limit is not None:
                body[self.limit_field] = limit
                body |= _filled(self.profile.fixed_length, {"$N": limit}) if self.fixed_length else {}
            if self.stream and self.profile.usage_option:
                body["stream_options"] = {"include_usage": True}
        if self.cache_bust == "field":
            if self.profile.cache_salt_field:
                body[self.profile.cache_salt_field] = self.salt
            body |= self.profile.cache_off_fields
        for key in self.dropped:
            body.pop(key, None)
        for extra in extras:  # what a line says of its request has the last word
            for key, value in extra.items():
                ours = body.get(key)
                if key not in CAPS:
                    body[key] = ours | value if isinstance(ours, dict) and isinstance(value, dict) else value
        return body

    @property
    def _native(self) -> Native:
        assert self.profile.native is not None, self.profile.name
        return self.profile.native

    @property
    def path(self) -> str:
        """The endpoint's route: native below the server's root, only for a profile that has one; else the API's."""
        if self.endpoint == "native":
            return self._native.stream_path if self.stream else self._native.whole_path
        return "/chat/completions" if self.endpoint == "chat" else "/completions"


def _filled(template: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The template with the values of its placeholders."""
    return {
        key: _filled(value, values) if isinstance(value, Mapping) else values.get(str(value), value)
        for key, value in template.items()
    }


def _messages(prompt: Prompt, system: str | None, salt: str | None) -> list[dict[str, Any]]:
    messages = [dict(m) for m in prompt.messages or ({"role": "user", "content": prompt.prompt or ""},)]
    if system and not has_system_prompt(prompt):
        messages.insert(0, {"role": "system", "content": system})
    if salt:
        content, mark = messages[0].get("content"), {"type": "text", "text": f"[{salt}]"}
        messages[0]["content"] = [mark, *content] if isinstance(content, list) else f"[{salt}] {content or ''}"
    return messages


def _text(prompt: Prompt, system: str | None, salt: str | None) -> str:
    text = prompt.prompt
    if text is None:
        messages = _messages(prompt, system, None)
        text = "\n\n".join(f"{m['role']}: {message_text(m)}" for m in messages) + "\n\nassistant:"
    elif system:
        text = f"{system}\n\n{text}"
    return f"[{salt}] {text}" if salt else text


def encode(prompt: Prompt, plan: BodyPlan, endpoint: Endpoint) -> EncodedRequest:
    """The request of `prompt` as bytes on the wire."""
    wire = http_request(endpoint, plan.body(prompt), stream=plan.stream)
    return EncodedRequest(wire, prompt.prompt_id, prompt.scenario, plan.asked_output_tokens(prompt))


def http_request(endpoint: Endpoint, body: dict[str, Any], *, stream: bool) -> bytes:
    """A complete HTTP/1.1 POST of `body` as JSON."""
    content = json_body(body)
    return http_head(endpoint, len(content), stream=stream) + content


def json_body(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def http_head(endpoint: Endpoint, body_bytes: int, *, stream: bool) -> bytes:
    """What stands before the body of a POST; it carries the secrets."""
    headers = {
        "Host": endpoint.host_header,
        "User-Agent": "benchsuite",
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if stream else "application/json",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
        "Content-Length": body_bytes,
    }
    given = {name.lower() for name, _ in endpoint.headers}
    lines = [(name, value) for name, value in headers.items() if name.lower() not in given]
    head = [f"POST {endpoint.path}{endpoint.query} HTTP/1.1", *(f"{n}: {v}" for n, v in (*lines, *endpoint.headers))]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n"


class KeptTexts(dict[str, str]):
    """What was generated, reasoning included, by request_id: to be counted after the point. Bounded."""

    bytes_left = most("texts_bytes")

    def keep(self, request_id: str, text: str) -> None:
        n_bytes = len(text) * (1 if text.isascii() else 4)  # at most, in memory
        if len(text) <= _MAX_TEXT_CHARS and n_bytes <= self.bytes_left:
            self[request_id] = text
            self.bytes_left -= n_bytes


@dataclass(frozen=True, slots=True)
class PointContext:
    """What all rows of one point, worker and endpoint share. endpoint: its base URL. texts: None where none is kept."""

    run_id: str
    point_id: str
    concurrency: int | None
    repeat: int
    worker: int
    origin_ns: int
    streaming: bool
    keep_text: bool = False
    endpoint: str | None = None
    attempt: int = 0
    texts: KeptTexts | None = None


def record_steps(
    exchange: Exchange, encoded: EncodedRequest, context: PointContext, out: list[RequestRecord]
) -> Iterator[None]:
    """Parse a finished exchange and append its row to `out`, yielding now and then during a long parse."""
    facts, keep_text = StreamFacts(), context.keep_text or context.texts is not None
    error = exchange.error
    try:
        exchange.feed()
    except WireError as malformed:
        error = error or malformed
        # what the failed read gave before it failed
        exchange.body_ends.extend([len(exchange.body)] * (len(exchange.ends) - len(exchange.body_ends)))
    between_chunks = error is None or exchange.between_chunks()
    exchange.data = bytearray()  # the body has what is needed of it
    yield
    body, ends = yield from exchange.body_steps()
    error, limits = error or exchange.error, exchange.limits
    yield
    # A server may answer a streaming request with one JSON object: then there are no token times.
    # One may also stream to a request for one object.
    asked = context.streaming or exchange.ndjson or b"event-stream" in exchange.content_type.lower()
    streamed = asked and (exchange.ndjson or not is_object(body, limits))
    yield
    if 200 <= exchange.status < 300 and body:
        if streamed:
            stamps, ndjson, kind = exchange.stamps, exchange.ndjson, exchange.content_type.lower()
            if kind and not ndjson and b"event-stream" not in kind:
                exchange.notes.add("content_type_of_another")
            yield from stream_steps(facts, body, ends, stamps, keep_text=keep_text, ndjson=ndjson, limits=limits)
        else:
            facts = read_whole(body, keep_text=keep_text, limits=limits)
            yield
    status, message = _outcome(exchange, facts, body, error, streamed, context.endpoint, between_chunks)
    yield
    lag_ns = 0
    for i in range(0, len(exchange.stamps), _STEP_READS):
        part = slice(i, i + _STEP_READS)
        lag_ns = max(lag_ns, *map(int.__sub__, exchange.user_stamps[part], exchange.stamps[part]))
        yield
    gaps = yield from _gaps_us(facts.token_ns)
    text = (yield from _masked_text("".join(facts.text)[:_MAX_TEXT_CHARS])) if context.keep_text else None
    out.append(_row(exchange, encoded, context, facts, status, message, streamed, lag_ns, gaps, text))
    if context.texts is not None:
        counted = "".join(facts.thoughts + facts.text)
        context.texts.keep(out[-1].request_id, clean_text(counted[: _MAX_TEXT_CHARS + 1]))
    exchange.release()


def _outcome(
    exchange: Exchange,
    facts: StreamFacts,
    body: bytearray,
    error: WireError | None,
    streamed: bool,
    base_url: str | None,
    between_chunks: bool,
) -> tuple[Status, str | None]:
    words = facts.server_error or facts.server_words
    if error is not None and error.status in ("timeout", "connect_error", "cancelled"):
        return error.status, f"{error.message}; the server: {words}" if words else error.message
    if exchange.status >= 300 or exchange.status == 204:
        words = error_message(body) or (error.message if error else None) or "with an empty body"
        if exchange.status < 400 and exchange.location:
            url = redirected_to(base_url or "", exchange.location)
            # a base URL is kept without the slash at its end
            remedy = f"--path {urlsplit(url).path}" if url.endswith("/") else "--base-url"
            words = f"redirects to {url}: use that as {remedy}"
        return "http_error", f"HTTP {exchange.status}: {words}"
    if facts.server_error is not None:
        return "stream_error", facts.server_error
    if facts.malformed is not None:
        return "stream_error", facts.malformed
    if facts.failed_end is not None:
        return "stream_error", f"the server ended the response with finish_reason {facts.failed_end!r}"
    # without its end a stream may be whole that broke off between chunks; a counted body only with its end mark
    whole = between_chunks and (exchange.content_length is None or facts.done)
    if facts.finish_reason is not None and (error is None or (error.status == "truncated" and whole)):
        if error is not None:
            facts.notes.add("last_chunk_missing")
        return "ok", None
    if facts.finish_reason is None and words is not None:
        return "stream_error", words
    if error is not None:
        return error.status, error.message
    if not body:
        return "truncated", f"HTTP {exchange.status} with an empty body"
    if facts.done and (not streamed or (facts.token_ns and usage_counts(facts.usage).output_tokens)):
        facts.notes.add("finish_reason_missing")
        return "ok", None
    if not (facts.token_ns or facts.response_id or facts.done):
        text = shortened(clean_text(plain_text(body)), 80)
        kind = shortened(exchange.content_type.decode("latin-1").partition(";")[0], 80) or "no content type"
        return "stream_error", f"HTTP {exchange.status} without a completion, {kind}: {text}"
    how = "with [DONE] but " if facts.done else ""
    unread = f"; not understood: {facts.unread}" if facts.unread else ""
    return "truncated", f"the response ended {how}without a finish_reason{unread}"


def redirected_to(asked_url: str, location: str) -> str:
    """The address that a redirect names, which is not followed: to be shown."""
    return shortened(clean_text(urljoin(asked_url, location).partition("?")[0]), 200)


def _row(
    exchange: Exchange,
    encoded: EncodedRequest,
    context: PointContext,
    facts: StreamFacts,
    status: Status,
    message: str | None,
    streamed: bool,
    lag_ns: int,
    gaps_us: array[int],
    text: str | None,
) -> RequestRecord:
    origin_ns = context.origin_ns

    def at_s(at_ns: int | None) -> float | None:
        return (at_ns - origin_ns) / 1e9 if at_ns else None

    token_ns = facts.token_ns
    n_chunks = len(token_ns)
    input_tokens, stated, cached_tokens, reasoning_tokens, completed = usage_counts(facts.usage)
    queue_s, headers, ok = facts.queue_s, exchange.kept_headers, status == "ok"
    if headers:  # TGI's, where the body has no counts
        input_tokens = _header_count(headers, "x-prompt-tokens") if input_tokens is None else input_tokens
        stated = _header_count(headers, "x-generated-tokens") if stated is None else stated
        queue_s = seconds(_header_count(headers, "x-queue-time"), 1e3) if queue_s is None else queue_s
    if completed:
        facts.notes.add("usage_without_reasoning")
    if stated is not None and n_chunks > stated:  # a chunk has one token at least
        stated = None
        facts.notes.add("usage_below_chunks")
    output_tokens = stated
    source: TokenSource | None = None if stated is None else "usage"
    if stated is None and ok and (streamed or not facts.done):  # of what is no stream only whether there was a token
        output_tokens, source = n_chunks, "chunks"
    if ok and streamed and (output_tokens or 0) > 1 and not n_chunks:  # one is the end's
        facts.notes.add("tokens_without_chunks")
    if facts.n_reasoning and not reasoning_tokens and output_tokens:
        reasoning_tokens = round(output_tokens * facts.n_reasoning / n_chunks)
    last_ns: int | None = token_ns[-1] if n_chunks else None
    if not streamed and status == "ok":
        last_ns = exchange.closed_ns
    kernel = exchange.kernel_stamped and len(exchange.stamps) > 0
    lag_us = lag_ns // 1000 if kernel else None
    return RequestRecord(
        run_id=context.run_id,
        point_id=context.point_id,
        concurrency=context.concurrency,
        repeat=context.repeat,
        attempt=context.attempt,
        request_id=f"{context.point_id}-{exchange.index:05d}",
        prompt_id=encoded.prompt_id,
        scenario=encoded.scenario,
        worker=context.worker,
        scheduled_s=(exchange.scheduled_ns - origin_ns) / 1e9,
        sent_s=at_s(exchange.sent_ns),
        headers_s=at_s(exchange.headers_ns),
        first_token_s=at_s(token_ns[0]) if n_chunks else None,
        first_answer_s=at_s(facts.first_answer_ns),
        last_token_s=at_s(last_ns),
        closed_s=at_s(exchange.closed_ns),
        chunk_gap_us=gaps_us,
        input_tokens=input_tokens,
        cached_tokens=facts.cached_tokens if cached_tokens is None else cached_tokens,
        output_tokens=output_tokens,
        reasoning_tokens=reasoning_tokens,
        asked_output_tokens=encoded.asked_output_tokens,
        n_chunks=n_chunks,
        n_empty_chunks=facts.n_empty,
        n_reads=len(exchange.stamps),
        merged_reads=facts.merged_reads,
        read_lag_max_us=lag_us,
        connection_reused=exchange.reused,
        stale_retries=exchange.retries,
        token_source=source,
        stamp_source="kernel" if kernel else "user",
        finish_reason=_kept(facts.finish_reason),
        status=status,
        http_status=exchange.status or None,
        error=_kept(message, _MAX_ERROR_CHARS),
        response_id=_kept(facts.response_id),
        text=text,
        endpoint=context.endpoint,
        server_queue_s=queue_s,
        server_prefill_s=facts.prefill_s,
        server_decode_s=facts.decode_s,
        notes=" ".join(sorted(facts.notes | exchange.notes)) or None if ok else None,
    )


def _kept(text: str | None, longest: int = _MAX_ID_CHARS) -> str | None:
    return None if text is None else shortened(clean_text(text), longest)


def _masked_text(text: str) -> Generator[None, None, str]:
    """What was generated, without keys."""
    text, parts, rest = clean_text(text), list[str](), ""
    for i in range(0, len(text), _STEP_CHARS):
        rest += text[i : i + _STEP_CHARS]
        n = settled(rest)
        parts.append(masked(rest[:n]))
        rest = rest[n:]
        yield
    return "".join([*parts, masked(rest, cut_after=len(text) == _MAX_TEXT_CHARS)])


def _gaps_us(token_ns: array[int]) -> Generator[None, None, array[int]]:
    """Gaps in whole microseconds whose running sum never strays from the stamps by more than half of one."""
    gaps = array("i")
    for i in range(0, len(token_ns) - 1, _STEP_READS):
        at_us = [(ns - token_ns[0] + 500) // 1000 for ns in token_ns[i : i + _STEP_READS + 1]]
        gaps.extend([min(b - a, _MAX_GAP_US) for a, b in pairwise(at_us)])
        yield
    return gaps


def _header_count(headers: dict[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return count(int(value)) if value.isdecimal() and len(value) < 12 else None
