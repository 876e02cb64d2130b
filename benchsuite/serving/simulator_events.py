"""The simulator's events: what is said, as the bytes of server-sent events with holes in them. Pure.

Two holes of fixed width are left in every event: the response id, filled when the request arrives, and the send stamp
(CLOCK_MONOTONIC ns, 19 digits) in `system_fingerprint`, filled just before each send(). So a paced server patches 19
bytes per write and formats nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from benchsuite.serving.simulator_config import Fault, Shape

STAMP_HOLE = b"0" * 19
ID_HOLE = b"sim-00000000-" + STAMP_HOLE
_STAMP_KEY = b'"system_fingerprint":"'


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be answered, all decided: the input of `plan`. Hashable, so that equal replies share one plan.

    output_tokens: tokens of the answer. include_usage: the client asked for a usage event. created_s: epoch seconds.
    """

    chat: bool
    stream: bool
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    finish_reason: Literal["length", "stop"]
    include_usage: bool
    shape: Shape
    fault: Fault | None = None
    created_s: int = 0


def response_id(sequence: int, received_ns: int) -> str:
    """The id of a response: as wide as its hole."""
    return f"sim-{sequence % 10**8:08d}-{received_ns:019d}"


def dumps(value: object) -> bytes:
    """Compact JSON, text as it is."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def line_end(shape: Shape) -> bytes:
    """LF or CRLF."""
    return b"\r\n" if shape.crlf else b"\n"


def event(value: object, shape: Shape) -> bytes:
    """One server-sent event: text as it is, anything else as JSON."""
    text = value.encode() if isinstance(value, str) else dumps(value)
    return b"data: " + text + line_end(shape) * 2


def heading(reply: Reply) -> dict[str, Any]:
    """The fields that every body and chunk begins with."""
    kind = ("chat.completion" + (".chunk" if reply.stream else "")) if reply.chat else "text_completion"
    return {"id": ID_HOLE.decode(), "object": kind, "created": reply.created_s, "model": reply.model}


def role_event(reply: Reply) -> bytes:
    """The role-only first event of a chat: it carries no token."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    value = {**heading(reply), "choices": [choice], "system_fingerprint": STAMP_HOLE.decode()}
    return event(value, reply.shape)


def token_event(reply: Reply, tokens: int, reasoning: bool, last: bool, tokens_so_far: int) -> bytes:
    """An event with `tokens` tokens, of reasoning or answer; tokens_so_far includes them."""
    shape = reply.shape
    text = shape.token_text * tokens
    body = {"delta": {shape.reasoning_field if reasoning else "content": text}} if reply.chat else {"text": text}
    choice = {"index": 0, **body, "logprobs": None, "finish_reason": reply.finish_reason if last else None}
    value = {**heading(reply), "choices": [choice], "system_fingerprint": STAMP_HOLE.decode()}
    if shape.usage == "every" or (last and shape.usage == "finish"):
        value["usage"] = usage_fields(reply, tokens_so_far)
    return event(value, shape)


def usage_fields(reply: Reply, output_tokens: int) -> dict[str, Any]:
    """The usage object."""
    if reply.fault is not None and reply.fault.kind == "wrong_usage":
        output_tokens += 7
    usage: dict[str, Any] = {
        "prompt_tokens": reply.input_tokens,
        "total_tokens": reply.input_tokens + output_tokens,
        "completion_tokens": output_tokens,
    }
    if reply.cached_tokens:
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cached_tokens}
    if reply.chat and reply.shape.reasoning_tokens:
        usage["completion_tokens_details"] = {
            "reasoning_tokens": min(reply.shape.reasoning_tokens, reply.output_tokens)
        }
    return usage


def tail_events(reply: Reply) -> bytes:
    """What follows the last token: the usage event if asked for, and [DONE]."""
    shape, tail = reply.shape, b""
    if reply.include_usage and shape.usage in ("own", "every"):
        usage = usage_fields(reply, reply.output_tokens)
        value = {**heading(reply), "choices": [], "usage": usage, "system_fingerprint": STAMP_HOLE.decode()}
        tail = event(value, shape)
    return tail + (event("[DONE]", shape) if shape.done else b"")


def stamp_holes(data: bytes) -> tuple[int, ...]:
    """Where the stamp holes are."""
    at, holes = 0, []
    while (at := data.find(_STAMP_KEY, at)) >= 0:
        at += len(_STAMP_KEY)
        holes.append(at)
    return tuple(holes)
