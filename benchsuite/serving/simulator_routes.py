"""What the simulator answers: its state, its plain routes, and what a completion request turns into. No sockets."""

from __future__ import annotations

import random
import time
from typing import Any

from benchsuite.serving.simulator_config import Fault, RequestOptions, SimulatorConfig
from benchsuite.serving.simulator_events import Reply
from benchsuite.serving.simulator_http import HttpRequest, json_response, read_ask
from benchsuite.serving.simulator_law import Engine, PrefixCache
from benchsuite.serving.simulator_metrics import Counters, Sent
from benchsuite.serving.simulator_stream import Stream

_EMPTY_OK = b"HTTP/1.1 200 OK\r\nserver: simulator\r\ncontent-length: 0\r\n\r\n"


class State:
    """All that a simulator knows, but for its sockets. streams: the responses in flight, by sequence number."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.counters = Counters(config.model)
        self.engine = Engine(config.law) if config.law.mode == "engine" else None
        self.prefixes = PrefixCache()
        self.streams: dict[int, Stream] = {}
        self.created_s = int(time.time())
        self.sequence = 0

    def count_admissions(self) -> None:
        """Take the engine's admissions into the counters."""
        if self.engine is None:
            return
        for key, at_ns in self.engine.admitted:
            if key in self.streams:
                self.counters.admit(self.streams[key].sent, at_ns)
        self.engine.admitted.clear()

    def count_write(self, sent: Sent, stamp_ns: int, due_ns: int, tokens: int) -> None:
        """A token-bearing write was sent."""
        counters = self.counters
        if not sent.sent_ns:
            counters.begin(sent, stamp_ns)
        sent.sent_ns.append(stamp_ns)
        sent.due_ns.append(due_ns)
        sent.output_tokens += tokens
        counters.generation_tokens += tokens


def answer(request: HttpRequest, state: State) -> bytes:
    """The whole response of every route but the completions."""
    config = state.config
    match request.method, request.path:
        case "GET", "/health":
            return _EMPTY_OK
        case "GET", "/v1/models":
            card: dict[str, Any] = {"id": config.model, "object": "model", "created": state.created_s}
            card |= {"owned_by": "benchsuite", "max_model_len": config.max_model_len}
            return json_response(200, "OK", {"object": "list", "data": [card]})
        case "GET", "/metrics":
            return _metrics(state)
        case "GET", "/stats":
            return json_response(200, "OK", state.counters.stats("summary" not in request.query))
        case "POST", "/reset":
            state.counters.reset()
            state.prefixes.reset()
            return _EMPTY_OK
        case "POST", "/reset_prefix_cache":
            state.prefixes.reset()
            return _EMPTY_OK
        case _, "/v1/chat/completions" | "/v1/completions":
            return json_response(405, "Method Not Allowed", {"detail": "Method Not Allowed"})
    return json_response(404, "Not Found", {"detail": "Not Found"})


def _metrics(state: State) -> bytes:
    engine, limit = state.engine, state.config.law.kv_tokens
    waiting = 0 if engine is None else len(engine.waiting)
    usage = 0.0 if engine is None or limit is None else engine.kv_used_tokens / limit
    text = state.counters.exposition(len(state.streams) - waiting, waiting, usage).encode()
    head = f"HTTP/1.1 200 OK\r\nserver: simulator\r\ncontent-length: {len(text)}\r\n"
    return head.encode() + b"content-type: text/plain; version=0.0.4\r\n\r\n" + text


def decide(request: HttpRequest, state: State) -> tuple[int, Reply, RequestOptions]:
    """The sequence number, reply and options of a completion request. Raises HttpError for one that is refused."""
    config, sequence = state.config, state.sequence
    state.sequence += 1
    state.counters.requests += 1
    chat = request.path == "/v1/chat/completions"
    ask = read_ask(request, config, chat, drawn_fault(config, sequence))
    cached = 0
    if config.prefix_cache:
        cached = state.prefixes.cached_tokens(ask.prompt)
        state.counters.cache_queries_tokens += len(ask.prompt)
        state.counters.cache_hits_tokens += cached
    reply = Reply(
        chat=chat,
        stream=ask.stream,
        model=ask.model,
        input_tokens=len(ask.prompt),
        cached_tokens=cached,
        output_tokens=ask.output_tokens,
        finish_reason=ask.finish_reason,
        include_usage=ask.include_usage,
        shape=ask.options.shape,
        fault=ask.options.fault,
        created_s=state.created_s,
    )
    return sequence, reply, ask.options


def drawn_fault(config: SimulatorConfig, sequence: int) -> Fault | None:
    """The fault of the n-th request: the first rule whose own draw falls below its probability."""
    if not config.faults:
        return None
    draw = random.Random(config.seed * 1_000_003 + sequence)
    return next((fault for fault in config.faults if draw.random() < fault.probability), None)
