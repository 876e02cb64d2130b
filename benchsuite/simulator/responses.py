"""Requests out of bytes, and responses as a plan of writes, each one send(). Pure.

Two holes of fixed width are left in every event: the response id, filled when the request arrives, and the send time
(CLOCK_MONOTONIC ns, 19 digits) in `system_fingerprint`, filled just before each send(). So a paced server patches 19
bytes per write and formats nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from benchsuite.errors import read_json
from benchsuite.simulator.config import Fault, LatencyModel, ResponseShape, SimulatorConfig, with_request_options

if TYPE_CHECKING:
    from benchsuite.simulator.answers import Answers

MAX_HEAD_BYTES = 64 << 10
MAX_BODY_BYTES = 64 << 20
TIME_HOLE = b"0" * 19
ID_HOLE = b"sim-00000000-" + TIME_HOLE
_TIME_KEY = re.compile(b'"system_fingerprint":"')
_CUTTING = ("reset", "cut", "truncated", "error_event")
FinishReason = Literal["length", "stop"]


class HttpError(Exception):
    """A request that is answered with an HTTP error; it never leaves the server."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class SimResponse:
    """What is to be answered, all decided: the input of `plan`. Hashable, so that equal responses share one plan."""

    chat: bool
    stream: bool
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    finish_reason: FinishReason
    include_usage: bool  # the client asked for a usage event
    shape: ResponseShape
    fault: Fault | None = None
    created_s: int = 0  # epoch seconds
    answer: str | None = None  # its text; None: token_text, over and over
    chars_per_token: int = 4  # of the answer


@dataclass(frozen=True, slots=True)
class SimRequest:
    """What a completion request asks for: its input tokens, its latencies, its response if nothing is cached."""

    prompt: list[str]
    latency: LatencyModel
    response: SimResponse
    cache_salt: str = ""


@dataclass(frozen=True)
class ScheduledWrite:
    """One send(), `repeat` times over."""

    data: bytes
    steps: int = 0  # chunks of the latency model it waits for; 0 follows at once
    tokens: int = 0  # output tokens it carries
    repeat: int = 1
    at_s: float | None = None  # due so long after the request, whatever the latency model says
    stall_s: float = 0.0  # silence before it

    @cached_property
    def time_at(self) -> tuple[int, ...]:
        """Offsets of the time holes in data."""
        return tuple(match.end() for match in _TIME_KEY.finditer(self.data))


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """All writes of one response, and how it ends."""

    writes: tuple[ScheduledWrite, ...]
    end: Literal["keep", "close", "reset"]  # the connection afterwards
    finished: Literal["length", "stop", "error"]  # the reason that the server's metrics count
    steps: int  # chunks of the latency model that the whole response takes, even when a fault cuts it short


def take_request(buffer: bytearray) -> HttpRequest | None:
    """The first whole request of the buffer, removed from it; None while it is not whole.

    Raises HttpError for what is no HTTP/1 request, is too large, or has a chunked body.
    """
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        if len(buffer) > MAX_HEAD_BYTES:
            raise HttpError(431, "headers too large")
        return None
    first, *lines = buffer[:head_end].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise HttpError(400, "not an HTTP/1 request")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise HttpError(411, "send the body with a content-length")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise HttpError(413, f"content-length {length} is not taken")
    end = head_end + 4 + int(length)
    if len(buffer) < end:
        return None
    body = bytes(buffer[head_end + 4 : end])
    del buffer[:end]
    path, _, query = words[1].partition("?")
    return HttpRequest(words[0], path, query, headers, body)


def read_request(
    request: HttpRequest, config: SimulatorConfig, drawn: Fault | None, created_s: int, answers: Answers | None = None
) -> SimRequest:
    """What a POST to a completions route asks for; drawn: the server's fault. Raises HttpError as vLLM answers."""
    try:
        body = read_json(request.body)
    except ValueError as error:
        raise HttpError(400, f"1 validation error: json_invalid: {error}") from None
    if not isinstance(body, dict):
        raise HttpError(400, "the body must be an object")
    rejected = [name for name in config.reject_fields if name in body]
    if rejected:
        raise HttpError(422, f"Unexpected fields in the request: {', '.join(rejected)}", rejected[0])
    model = body.get("model", config.model)
    if model != config.model and not config.any_model:
        raise HttpError(404, f"The model `{model}` does not exist. Valid aliases: {config.model}.", "model")
    stream, stream_options = bool(body.get("stream", False)), body.get("stream_options")
    if stream_options is not None and not stream:
        raise HttpError(400, "Stream options can only be defined when `stream=True`.", "stream_options")
    if body.get("n", 1) != 1:
        raise HttpError(400, "the simulator gives one choice", "n")
    include_usage = isinstance(stream_options, dict) and bool(stream_options.get("include_usage"))
    chat = request.path.endswith("/chat/completions")
    prompt = prompt_tokens(body, chat)
    in_body = body.get("sim", {})
    if not isinstance(in_body, dict):
        raise HttpError(400, "sim must be an object", "sim")
    try:
        options = _header_options(request.headers) | in_body
        latency, shape, fault = with_request_options(config, options, drawn)
    except ValidationError as error:
        raise HttpError(400, str(error), "sim") from None
    answer, natural = None, config.natural_output_tokens
    if config.answers is not None and answers is not None and (answer := answers.to(body)) is not None:
        natural = -(-len(answer) // config.answers.chars_per_token) + (shape.reasoning_tokens if chat else 0)
    output_tokens, finish_reason = _output_tokens(body, config, len(prompt), natural)
    length = (len(prompt), 0, output_tokens, finish_reason)
    response = SimResponse(chat, stream, str(model), *length, include_usage, shape, fault, created_s)
    if answer is not None and config.answers is not None:
        response = replace(response, answer=answer, chars_per_token=config.answers.chars_per_token)
    return SimRequest(prompt, latency, response, str(body.get("cache_salt", "")))


def prompt_tokens(body: dict[str, Any], chat: bool) -> list[str]:
    """The input tokens: the whitespace-separated words of all message contents, or of the prompt.

    A prompt that is a list of integers has one token per integer. Roles and templates cost nothing.
    """
    prompt = body.get("prompt", "")
    if not chat and isinstance(prompt, list):
        if not all(isinstance(token, int) for token in prompt):
            raise HttpError(400, "the simulator takes one prompt per request", "prompt")
        return [str(token) for token in prompt]
    if not chat:
        return str(prompt).split()
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise HttpError(400, "Field required: messages", "messages")
    words: list[str] = []
    for content in (message.get("content") for message in messages):
        parts = content if isinstance(content, list) else [{"text": "" if content is None else content}]
        words += [word for part in parts if isinstance(part, dict) for word in str(part.get("text", "")).split()]
    return words


def _output_tokens(
    body: dict[str, Any], config: SimulatorConfig, input_tokens: int, natural: int | None
) -> tuple[int, FinishReason]:
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    limit = config.default_max_tokens if limit is None else limit
    if not isinstance(limit, int) or limit < 1:
        raise HttpError(400, f"max_tokens must be at least 1, got {limit}.", "max_tokens")
    if input_tokens + limit > config.max_model_len:
        message = f"This model's maximum context length is {config.max_model_len} tokens. "
        message += f"However, you requested {limit} output tokens and your prompt contains {input_tokens} input tokens."
        raise HttpError(400, message, "input_tokens")
    if natural is None or natural > limit or body.get("ignore_eos"):
        return limit, "length"
    return natural, "stop"


def _header_options(headers: dict[str, str]) -> dict[str, Any]:
    """The options in headers x-sim-NAME: `x-sim-itl-s: 0.02` is {"itl_s": 0.02}. Values are JSON, else text."""
    options: dict[str, Any] = {}
    for header, value in headers.items():
        if header.startswith("x-sim-"):
            name = header.removeprefix("x-sim-").replace("-", "_")
            options[name] = value
            with suppress(ValueError):
                options[name] = json.loads(value)
    return options


def error_response(status: int, message: str, param: str | None = None, keep_alive: bool = True) -> bytes:
    """An HTTP error with a body of vLLM's form."""
    kind = HTTPStatus(status).phrase.replace(" ", "") + "Error"
    body = {"error": {"message": message, "type": kind, "param": param, "code": status}}
    return json_response(body, status, keep_alive)


def json_response(value: object, status: int = 200, keep_alive: bool = True) -> bytes:
    """A whole HTTP response with a JSON body; 429 says when to come back."""
    extra = ("retry-after: 1\r\n" if status == 429 else "") + ("" if keep_alive else "connection: close\r\n")
    return http_response(_dumps(value), "application/json", status, extra)


def http_response(body: bytes, content_type: str, status: int = 200, extra: str = "") -> bytes:
    """A whole HTTP response; extra: more header lines."""
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nserver: simulator\r\ncontent-length: {len(body)}\r\n"
    return f"{head}content-type: {content_type}\r\n{extra}\r\n".encode() + body


def instead_of_headers(response: SimResponse) -> bytes | None:
    """The whole bytes of a response whose fault comes instead of its headers (b"" for early_close); else None."""
    kind = response.fault.kind if response.fault else ""
    if kind.startswith("http_"):
        return error_response(int(kind[5:]), "simulated", keep_alive=response.shape.keep_alive)
    return {"garbage_status": b"HTTP/1.1 garbage\r\n\r\n", "early_close": b""}.get(kind)


def response_id(sequence: int, received_ns: int) -> str:
    """The id of a response: as wide as its hole."""
    return f"sim-{sequence % 10**8:08d}-{received_ns:019d}"


@lru_cache(maxsize=4096)
def plan(response: SimResponse) -> ResponsePlan:
    return _stream_plan(response) if response.stream else _whole_plan(response)


def _whole_plan(response: SimResponse) -> ResponsePlan:
    shape, fault = response.shape, response.fault
    steps, reasoning = _steps(response)
    text = _text_of(response, reasoning, response.output_tokens)
    thoughts = {shape.reasoning_field: shape.token_text * reasoning} if reasoning else {}
    answer = {"message": {"role": "assistant", "content": text} | thoughts} if response.chat else {"text": text}
    choice = {"index": 0, **answer, "logprobs": None, "finish_reason": response.finish_reason}
    usage = {} if shape.usage == "none" else {"usage": _usage(response, response.output_tokens)}
    data = json_response(_body(response, choice, **usage), keep_alive=shape.keep_alive)
    end: Literal["keep", "close", "reset"] = "keep" if shape.keep_alive else "close"
    finished: Literal["length", "stop", "error"] = response.finish_reason
    if fault and fault.kind in _CUTTING:
        # A whole response has no events: these faults all cut its body in half.
        body_at = data.index(b"\r\n\r\n") + 4
        data, finished = data[: (body_at + len(data)) // 2], "error"
        end = "reset" if fault.kind == "reset" else "close"
    stall_s = fault.delay_s if fault and fault.kind in ("stall", "slow_headers") else 0.0
    write = ScheduledWrite(data, steps, response.output_tokens, stall_s=stall_s)
    return ResponsePlan((write,), end, finished, steps)


def _stream_plan(response: SimResponse) -> ResponsePlan:
    shape, fault = response.shape, response.fault
    kind = fault.kind if fault else None
    chunked = shape.framing == "chunked"

    def framed(payload: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(payload), payload) if chunked else payload

    lines = ["HTTP/1.1 200 OK", "server: simulator", "content-type: text/event-stream; charset=utf-8"]
    lines += ["transfer-encoding: chunked"] if chunked else []
    lines += [] if chunked and shape.keep_alive else ["connection: close"]
    head = "\r\n".join([*lines, "", ""]).encode()
    head_at_s = fault.delay_s if fault and kind == "slow_headers" else 0.0
    writes = [ScheduledWrite(head, at_s=head_at_s)]
    if response.chat and shape.role == "early":
        role = framed(_role_event(response))
        writes.append(ScheduledWrite(role, at_s=max(shape.role_first_s, head_at_s)))
    chunks, size, tail = list(_chunks(response)), shape.events_per_write, b""
    if response.include_usage and shape.usage in ("separate", "every"):
        tail = _event(_body(response, None, usage=_usage(response, response.output_tokens)), shape)
    tail += _event("[DONE]", shape) if shape.done else b""
    if fault is not None or size > 1:
        chunks = [single for chunk in chunks for single in [replace(chunk, repeat=1)] * chunk.repeat]
    if fault is not None:
        chunks, tail = _with_fault(chunks, tail, fault, shape)
    for at in range(0, len(chunks), size):
        group = chunks[at : at + size]
        if at == 0 or group != chunks[at - size : at]:  # equal ones share their bytes
            data = framed(b"".join(chunk.data for chunk in group))
            steps, tokens = sum(chunk.steps for chunk in group), sum(chunk.tokens for chunk in group)
            stall_s = sum(chunk.stall_s for chunk in group)
            write = ScheduledWrite(data, steps, tokens, group[0].repeat, stall_s=stall_s)
        writes.append(write)
    ending = framed(tail) if tail else b""
    ending += b"0\r\n\r\n" if chunked and kind not in ("reset", "cut") else b""
    if ending:
        writes.append(ScheduledWrite(ending))
    kept = shape.keep_alive and chunked and kind != "cut"
    end: Literal["keep", "close", "reset"] = "reset" if kind == "reset" else "keep" if kept else "close"
    finished = "error" if kind in _CUTTING else response.finish_reason
    return ResponsePlan(tuple(writes), end, finished, _steps(response)[0])


def _with_fault(
    chunks: list[ScheduledWrite], tail: bytes, fault: Fault, shape: ResponseShape
) -> tuple[list[ScheduledWrite], bytes]:
    """The events and the tail as the fault leaves them; all others than those inside a stream leave them alone."""
    before, after = chunks[: fault.at_chunk], chunks[fault.at_chunk :]
    match fault.kind:
        case "reset" | "cut" | "truncated":
            return before, b""
        case "error_event":
            error = {"error": {"message": "simulated", "type": "InternalServerError", "code": 500}}
            return before, _event(error, shape) + (_event("[DONE]", shape) if shape.done else b"")
        case "stall" if after:
            return [*before, replace(after[0], stall_s=fault.delay_s), *after[1:]], tail
        case "malformed":
            return [*before, ScheduledWrite(_event('{"id":"broken","choices":[{', shape)), *after], tail
        case "huge_line":
            padded = {"id": ID_HOLE.decode(), "choices": [], "padding": "x" * fault.size_bytes}
            return [*before, ScheduledWrite(_event(padded, shape)), *after], tail
    return chunks, tail


def _steps(response: SimResponse) -> tuple[int, int]:
    """How many chunks the response takes, and how many of its tokens are reasoning: no chunk holds both."""
    size = response.shape.tokens_per_chunk
    reasoning = min(response.shape.reasoning_tokens, response.output_tokens) if response.chat else 0
    return -(-reasoning // size) + -(-(response.output_tokens - reasoning) // size), reasoning


def _chunks(response: SimResponse) -> Iterator[ScheduledWrite]:
    """The token-bearing events before they are framed, equal neighbours as one."""
    shape, done, step = response.shape, 0, 0
    steps, reasoning = _steps(response)
    size, every = shape.tokens_per_chunk, shape.comment_every
    repeats = every is None and shape.usage != "every" and response.answer is None
    while step < steps:
        left = (reasoning if done < reasoning else response.output_tokens) - done
        tokens, first, last = min(size, left), step == 0, step == steps - 1
        repeat = max(1, min(left // size, steps - 1 - step)) if repeats and not first else 1
        data = _role_event(response) if response.chat and first and shape.role == "joined" else b""
        data += b": ping" + _line_end(shape) * 2 if every is not None and (step + 1) % every == 0 else b""
        data += _token_event(response, tokens, done < reasoning, last, done + tokens)
        yield ScheduledWrite(data, steps=1, tokens=tokens, repeat=repeat)
        done, step = done + tokens * repeat, step + repeat


def _dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _line_end(shape: ResponseShape) -> bytes:
    return b"\r\n" if shape.crlf else b"\n"


def _event(value: object, shape: ResponseShape) -> bytes:
    """One server-sent event: text as it is, anything else as JSON."""
    return b"data: " + (value.encode() if isinstance(value, str) else _dumps(value)) + _line_end(shape) * 2


def _body(response: SimResponse, choice: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A JSON body or chunk, with its holes; choice None: no choice."""
    kind = ("chat.completion" + (".chunk" if response.stream else "")) if response.chat else "text_completion"
    head = {"id": ID_HOLE.decode(), "object": kind, "created": response.created_s, "model": response.model}
    return head | {"choices": [choice] if choice else []} | more | {"system_fingerprint": TIME_HOLE.decode()}


def _role_event(response: SimResponse) -> bytes:
    delta = {"role": "assistant", "content": ""}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return _event(_body(response, choice), response.shape)


def _token_event(response: SimResponse, tokens: int, reasoning: bool, last: bool, tokens_so_far: int) -> bytes:
    """An event with `tokens` tokens, of reasoning or answer; tokens_so_far includes them."""
    shape, text = response.shape, _text_of(response, tokens_so_far - tokens, tokens_so_far)
    answer = {"delta": {shape.reasoning_field if reasoning else "content": text}} if response.chat else {"text": text}
    choice = {"index": 0, **answer, "logprobs": None, "finish_reason": response.finish_reason if last else None}
    counted = shape.usage == "every" or (last and shape.usage == "finish")
    usage = {"usage": _usage(response, tokens_so_far)} if counted else {}
    return _event(_body(response, choice, **usage), shape)


def _text_of(response: SimResponse, begin: int, end: int) -> str:
    """The text of the response's tokens from `begin` to before `end`: the answer follows the reasoning."""
    if response.answer is None or end <= (before := _steps(response)[1]):
        return response.shape.token_text * (end - begin)
    size = response.chars_per_token
    pieces = response.answer[(begin - before) * size : (end - before) * size]
    beyond = min(end - begin, end - before - -(-len(response.answer) // size))  # of a length that is fixed
    return pieces + response.shape.token_text * max(beyond, 0)


def _usage(response: SimResponse, output_tokens: int) -> dict[str, Any]:
    if response.fault is not None and response.fault.kind == "wrong_usage":
        output_tokens += 7
    total, cached, reasoning = response.input_tokens + output_tokens, response.cached_tokens, _steps(response)[1]
    return {
        "prompt_tokens": response.input_tokens,
        "total_tokens": total,
        "completion_tokens": output_tokens,
        **({"prompt_tokens_details": {"cached_tokens": cached}} if cached else {}),
        **({"completion_tokens_details": {"reasoning_tokens": reasoning}} if reasoning else {}),
    }
