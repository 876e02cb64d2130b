"""The simulator's writes: a reply becomes a plan, each write one send(). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from benchsuite.serving.simulator_config import Fault, Shape
from benchsuite.serving.simulator_events import (
    ID_HOLE,
    STAMP_HOLE,
    Reply,
    dumps,
    event,
    heading,
    line_end,
    role_event,
    stamp_holes,
    tail_events,
    token_event,
    usage_fields,
)
from benchsuite.serving.simulator_http import error_response

HTTP_ERRORS = {
    "http_429": (429, "Too Many Requests"),
    "http_500": (500, "Internal Server Error"),
    "http_503": (503, "Service Unavailable"),
}
_CUTTING = ("reset", "cut", "truncated", "error_event")


@dataclass(frozen=True, slots=True)
class Write:
    """One send(), `repeat` times over.

    stamp_at: offsets of the stamp holes in data. steps: chunks of the law it waits for; 0 follows at once.
    tokens: output tokens it carries. at_s: due so long after the request, whatever the law says. stall_s: silence
    before it.
    """

    data: bytes
    stamp_at: tuple[int, ...] = ()
    steps: int = 0
    tokens: int = 0
    repeat: int = 1
    at_s: float | None = None
    stall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """All writes of one reply, and how it ends.

    end: the connection afterwards. finished: the reason that the server's metrics count. steps: chunks of the law
    that the whole answer takes, even when a fault cuts it short.
    """

    writes: tuple[Write, ...]
    end: Literal["keep", "close", "reset"]
    finished: Literal["length", "stop", "error"]
    steps: int


@dataclass(slots=True)
class _Chunk:
    """Events that belong together before they are framed."""

    data: bytes
    steps: int
    tokens: int
    repeat: int = 1
    stall_s: float = 0.0


@lru_cache(maxsize=4096)
def plan(reply: Reply) -> Plan:
    """The writes of a reply."""
    steps = _steps(reply)[0]
    return _stream_plan(reply, steps) if reply.stream else _whole_plan(reply, steps)


def _whole_plan(reply: Reply, steps: int) -> Plan:
    shape, fault = reply.shape, reply.fault
    reasoning = _steps(reply)[1]
    text = shape.token_text * (reply.output_tokens - reasoning)
    choice: dict[str, Any] = {"index": 0}
    if reply.chat:
        message = {"role": "assistant", "content": text}
        if reasoning:
            message[shape.reasoning_field] = shape.token_text * reasoning
        choice["message"] = message
    else:
        choice["text"] = text
    choice |= {"logprobs": None, "finish_reason": reply.finish_reason}
    usage = {} if shape.usage == "none" else {"usage": usage_fields(reply, reply.output_tokens)}
    body = dumps({**heading(reply), "choices": [choice], "system_fingerprint": STAMP_HOLE.decode(), **usage})
    close = "" if shape.keep_alive else "connection: close\r\n"
    head = f"HTTP/1.1 200 OK\r\nserver: simulator\r\ncontent-length: {len(body)}\r\n"
    head += f"content-type: application/json\r\n{close}\r\n"
    stall_s = fault.seconds if fault and fault.kind in ("stall", "slow_headers") else 0.0
    end: Literal["keep", "close", "reset"] = "keep" if shape.keep_alive else "close"
    data = head.encode() + body
    finished: Literal["length", "stop", "error"] = reply.finish_reason
    if fault and fault.kind in _CUTTING:
        # A whole answer has no events: these faults all cut its body in half.
        data, finished = data[: len(head) + len(body) // 2], "error"
        end = "reset" if fault.kind == "reset" else "close"
    write = Write(data, stamp_holes(data), steps, reply.output_tokens, stall_s=stall_s)
    return Plan((write,), end, finished, steps)


def _stream_plan(reply: Reply, steps: int) -> Plan:
    shape, fault = reply.shape, reply.fault
    kind = fault.kind if fault else None
    head = Write(_stream_head(shape), at_s=fault.seconds if fault and kind == "slow_headers" else 0.0)
    writes = [head]
    if reply.chat and shape.role == "early":
        role = _frame(role_event(reply), shape)
        writes.append(Write(role, stamp_holes(role), at_s=max(shape.role_first_s, head.at_s or 0.0)))
    chunks, tail = list(_chunks(reply)), tail_events(reply)
    if fault is not None:
        chunks, tail = _with_fault(chunks, tail, fault, shape)
    for chunk in _joined(chunks, shape.join_events):
        data = _frame(chunk.data, shape)
        writes.append(Write(data, stamp_holes(data), chunk.steps, chunk.tokens, chunk.repeat, stall_s=chunk.stall_s))
    ending = _frame(tail, shape) if tail else b""
    ending += b"0\r\n\r\n" if shape.framing == "chunked" and kind not in ("reset", "cut") else b""
    if ending:
        writes.append(Write(ending, stamp_holes(ending)))
    end: Literal["keep", "close", "reset"] = "keep" if shape.keep_alive and shape.framing == "chunked" else "close"
    if kind in ("reset", "cut"):
        end = "reset" if kind == "reset" else "close"
    finished = "error" if kind in _CUTTING else reply.finish_reason
    return Plan(tuple(writes), end, finished, steps)


def _with_fault(chunks: list[_Chunk], tail: bytes, fault: Fault, shape: Shape) -> tuple[list[_Chunk], bytes]:
    """The events and the tail as the fault leaves them; all others than those inside a stream leave them alone."""
    before, after = _split(chunks, fault.at_chunk)
    match fault.kind:
        case "reset" | "cut" | "truncated":
            return before, b""
        case "error_event":
            error = {"error": {"message": "simulated", "type": "InternalServerError", "code": 500}}
            return before, event(error, shape) + (event("[DONE]", shape) if shape.done else b"")
        case "stall" if after:
            return [*before, replace(after[0], repeat=1, stall_s=fault.seconds), *_split(after, 1)[1]], tail
        case "malformed":
            return [*before, _Chunk(event('{"id":"broken","choices":[{', shape), 0, 0), *after], tail
        case "huge_line":
            padded = {"id": ID_HOLE.decode(), "choices": [], "padding": "x" * fault.size_bytes}
            return [*before, _Chunk(event(padded, shape), 0, 0), *after], tail
    return chunks, tail


def _steps(reply: Reply) -> tuple[int, int]:
    """How many chunks the answer takes, and how many of its tokens are reasoning: no chunk holds both."""
    size = reply.shape.tokens_per_chunk
    reasoning = min(reply.shape.reasoning_tokens, reply.output_tokens) if reply.chat else 0
    return -(-reasoning // size) + -(-(reply.output_tokens - reasoning) // size), reasoning


def _chunks(reply: Reply) -> Iterator[_Chunk]:
    """The token-bearing events, equal neighbours as one."""
    shape, done, step = reply.shape, 0, 0
    steps, reasoning = _steps(reply)
    size, every = shape.tokens_per_chunk, shape.comment_every
    alike = every is None and shape.usage != "every"
    while step < steps:
        left = (reasoning if done < reasoning else reply.output_tokens) - done
        tokens, first, last = min(size, left), step == 0, step == steps - 1
        repeat = max(1, min(left // size, steps - 1 - step)) if alike and not first else 1
        data = role_event(reply) if reply.chat and first and shape.role == "joined" else b""
        data += b": ping" + line_end(shape) * 2 if every is not None and (step + 1) % every == 0 else b""
        data += token_event(reply, tokens, done < reasoning, last, done + tokens)
        yield _Chunk(data, 1, tokens, repeat)
        done, step = done + tokens * repeat, step + repeat


def _split(chunks: list[_Chunk], at: int) -> tuple[list[_Chunk], list[_Chunk]]:
    """The first `at` chunks and the others; a run that lies across is cut in two."""
    before: list[_Chunk] = []
    for index, chunk in enumerate(chunks):
        if at < chunk.repeat:
            head = [replace(chunk, repeat=at)] if at else []
            return before + head, [replace(chunk, repeat=chunk.repeat - at), *chunks[index + 1 :]]
        before.append(chunk)
        at -= chunk.repeat
    return before, []


def _joined(chunks: list[_Chunk], size: int) -> list[_Chunk]:
    """The same events, `size` in a write: due when the last of them is."""
    if size == 1:
        return chunks
    joined: list[_Chunk] = []
    while chunks:
        run = chunks[0]
        if run.repeat >= size:
            times = run.repeat // size
            joined.append(_Chunk(run.data * size, run.steps * size, run.tokens * size, times, run.stall_s))
            chunks = _split(chunks, times * size)[1]
            continue
        group, chunks = _split(chunks, size)
        joined.append(
            _Chunk(
                b"".join(c.data * c.repeat for c in group),
                sum(c.steps * c.repeat for c in group),
                sum(c.tokens * c.repeat for c in group),
                stall_s=sum(c.stall_s for c in group),
            )
        )
    return joined


def _stream_head(shape: Shape) -> bytes:
    lines = ["HTTP/1.1 200 OK", "server: simulator", "content-type: text/event-stream; charset=utf-8"]
    if shape.framing == "chunked":
        lines.append("transfer-encoding: chunked")
    if shape.framing == "close" or not shape.keep_alive:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode()


def _frame(payload: bytes, shape: Shape) -> bytes:
    return payload if shape.framing == "close" else b"%x\r\n%b\r\n" % (len(payload), payload)


def refused(reply: Reply) -> bytes | None:
    """The whole bytes of a reply whose fault comes instead of headers (b"" for early_close); None for all others."""
    kind = reply.fault.kind if reply.fault else None
    if kind in HTTP_ERRORS:
        return error_response(*HTTP_ERRORS[kind], "simulated", keep_alive=reply.shape.keep_alive)
    return {"garbage_status": b"HTTP/1.1 garbage\r\n\r\n", "early_close": b""}.get(kind or "")
