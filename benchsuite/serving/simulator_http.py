"""The simulator's HTTP: requests out of bytes, what their JSON asks for, and plain responses. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from benchsuite.errors import SpecError
from benchsuite.serving.simulator_config import Fault, RequestOptions, SimulatorConfig, header_options, request_options
from benchsuite.serving.simulator_events import dumps

MAX_HEAD_BYTES = 64 << 10
MAX_BODY_BYTES = 64 << 20


class HttpError(Exception):
    """A request that is answered with an HTTP error; it never leaves the server."""

    def __init__(self, status: int, reason: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.param = status, reason, message, param


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


def take_request(buffer: bytearray) -> HttpRequest | None:
    """The first whole request of the buffer, removed from it; None while it is not whole.

    Raises HttpError for what is no HTTP/1 request, is too large, or has a chunked body.
    """
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        if len(buffer) > MAX_HEAD_BYTES:
            raise HttpError(431, "Request Header Fields Too Large", "headers too large")
        return None
    first, *lines = buffer[:head_end].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise HttpError(400, "Bad Request", "not an HTTP/1 request")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise HttpError(411, "Length Required", "send the body with a content-length")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise HttpError(413, "Content Too Large", f"content-length {length} is not taken")
    end = head_end + 4 + int(length)
    if len(buffer) < end:
        return None
    body = bytes(buffer[head_end + 4 : end])
    del buffer[:end]
    path, _, query = words[1].partition("?")
    return HttpRequest(words[0], path, query, headers, body)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a completion request asks for. prompt: its tokens by `prompt_tokens`."""

    model: str
    stream: bool
    include_usage: bool
    prompt: list[str]
    output_tokens: int
    finish_reason: Literal["length", "stop"]
    options: RequestOptions


def prompt_tokens(body: dict[str, Any], chat: bool) -> list[str]:
    """The input tokens: the whitespace-separated words of all message contents, or of the prompt.

    A prompt that is a list of integers has one token per integer. Roles and templates cost nothing.
    """
    if not chat:
        prompt = body.get("prompt", "")
        if isinstance(prompt, list):
            if not all(isinstance(token, int) for token in prompt):
                raise HttpError(400, "Bad Request", "the simulator takes one prompt per request", "prompt")
            return [str(token) for token in prompt]
        return str(prompt).split()
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise HttpError(400, "Bad Request", "Field required: messages", "messages")
    return [word for message in messages for text in _texts(message.get("content")) for word in text.split()]


def _texts(content: object) -> Iterable[str]:
    if isinstance(content, list):
        return [str(part.get("text", "")) for part in content if isinstance(part, dict)]
    return [] if content is None else [str(content)]


def read_ask(request: HttpRequest, config: SimulatorConfig, chat: bool, fault: Fault | None) -> Ask:
    """What a POST to a completions route asks for. Raises HttpError with the answers of vLLM."""
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise HttpError(400, "Bad Request", f"1 validation error: json_invalid: {error}") from None
    if not isinstance(body, dict):
        raise HttpError(400, "Bad Request", "the body must be an object")
    rejected = [name for name in config.reject_fields if name in body]
    if rejected:
        raise HttpError(
            422, "Unprocessable Entity", f"Unexpected fields in the request: {', '.join(rejected)}", rejected[0]
        )
    model = body.get("model", config.model)
    if model != config.model and not config.any_model:
        raise HttpError(
            404, "Not Found", f"The model `{model}` does not exist. Valid aliases: {config.model}.", "model"
        )
    stream = bool(body.get("stream", False))
    wanted = body.get("stream_options")
    if wanted is not None and not stream:
        raise HttpError(400, "Bad Request", "Stream options can only be defined when `stream=True`.", "stream_options")
    if body.get("n", 1) != 1:
        raise HttpError(400, "Bad Request", "the simulator gives one choice", "n")
    prompt = prompt_tokens(body, chat)
    most, reason = _output_tokens(body, config, len(prompt))
    asked = header_options(request.headers)
    in_body = body.get("sim", {})
    if not isinstance(in_body, dict):
        raise HttpError(400, "Bad Request", "sim must be an object", "sim")
    try:
        options = request_options(config, {**asked, **in_body}, fault)
    except (SpecError, TypeError) as error:
        raise HttpError(400, "Bad Request", str(error), "sim") from None
    include_usage = isinstance(wanted, dict) and bool(wanted.get("include_usage"))
    return Ask(str(model), stream, include_usage, prompt, most, reason, options)


def _output_tokens(
    body: dict[str, Any], config: SimulatorConfig, input_tokens: int
) -> tuple[int, Literal["length", "stop"]]:
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    limit = config.default_max_tokens if limit is None else limit
    if not isinstance(limit, int) or limit < 1:
        raise HttpError(400, "Bad Request", f"max_tokens must be at least 1, got {limit}.", "max_tokens")
    if input_tokens + limit > config.max_model_len:
        message = f"This model's maximum context length is {config.max_model_len} tokens. "
        message += f"However, you requested {limit} output tokens and your prompt contains {input_tokens} input tokens."
        raise HttpError(400, "Bad Request", message, "input_tokens")
    natural = config.natural_output_tokens
    if natural is None or natural > limit or body.get("ignore_eos"):
        return limit, "length"
    return natural, "stop"


def error_response(status: int, reason: str, message: str, param: str | None = None, keep_alive: bool = True) -> bytes:
    """An HTTP error with a body of vLLM's form."""
    error = {"message": message, "type": reason.replace(" ", "") + "Error", "param": param, "code": status}
    return json_response(status, reason, {"error": error}, keep_alive)


def json_response(status: int, reason: str, value: object, keep_alive: bool = True) -> bytes:
    """A whole HTTP response with a JSON body; 429 says when to come back."""
    extra = ("retry-after: 1\r\n" if status == 429 else "") + ("" if keep_alive else "connection: close\r\n")
    body = dumps(value)
    head = f"HTTP/1.1 {status} {reason}\r\nserver: simulator\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"content-type: application/json\r\n" + extra.encode() + b"\r\n" + body
