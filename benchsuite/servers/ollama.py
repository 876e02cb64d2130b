"""Ollama (0.34.0, fb307609, built and run: its own server, scheduler and llama.cpp runner on a CPU)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchsuite.servers.base import (
    Container,
    Limits,
    Local,
    Native,
    NativeEvent,
    Recognise,
    Server,
    ServerTimes,
    seconds,
)

_NS = 1e9
_SETTINGS = (
    "num-parallel", "context-length", "max-queue", "max-loaded-models", "keep-alive", "flash-attention",
    "kv-cache-type", "load-timeout", "sched-spread", "gpu-overhead", "models", "debug",
)  # fmt: skip
_OPTIONS = ("temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty")
# without truncate it cuts a prompt that does not fit to about half of the context, and says so only in its log
_BODY = {"model": "$MODEL", "messages": "$MESSAGES", "stream": "$STREAM", "truncate": False}


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    effort, options = given.get("reasoning_effort"), {name: given[name] for name in _OPTIONS if name in given}
    think = {} if effort is None else {"think": False if effort == "none" else effort}
    return think | ({"options": options} if options else {})


def _read(event: dict[str, Any]) -> NativeEvent:
    """A line of /api/chat or /api/generate; the last one has `done` true, the counts, and durations in ns."""
    message = event.get("message")
    if not isinstance(message, dict):
        message = {"content": event.get("response"), "thinking": event.get("thinking")}
    content = message.get("content")
    kind = 2 if content or message.get("tool_calls") else 1 if message.get("thinking") else 0
    text = content if isinstance(content, str) else None
    if event["done"] is not True:
        return NativeEvent(kind, text)
    usage = event.get("prompt_eval_count"), event.get("eval_count")
    return NativeEvent(kind, text, True, True, event.get("done_reason"), *usage, _times(event))


def _times(event: dict[str, Any]) -> ServerTimes:
    """total counts from the request's arrival, so what is neither loading, prompt nor generation is waiting."""
    total_s = seconds(event.get("total_duration"), _NS)
    prefill_s, decode_s = (seconds(event.get(f"{part}_duration"), _NS) for part in ("prompt_eval", "eval"))
    if total_s is None or prefill_s is None or decode_s is None:
        return ServerTimes(None, prefill_s, decode_s)
    load_s = seconds(event.get("load_duration"), _NS) or 0.0  # the cold start; left out when 0
    # rounded to the nanoseconds that it is made of
    return ServerTimes(max(0.0, round(total_s - load_s - prefill_s - decode_s, 9)), prefill_s, decode_s)


OLLAMA = Server(
    name="ollama",
    title="Ollama",
    ports=(11434,),
    recognise=Recognise(route=("/api/version", "version")),
    ready_path="/api/version",
    info_path="/api/version",
    native=Native(
        stream_path="/api/chat",
        whole_path="/api/chat",
        body=_BODY,
        cap=("options", "num_predict"),
        takes=(*_OPTIONS, "reasoning_effort"),
        sampling=_sampling,
        event_keys=("done",),
        read=_read,
    ),
    ignores=("top_k", "chat_template_kwargs"),
    metrics_path=None,
    limits=Limits(
        concurrent_requests=("--num-parallel",),  # which no route tells
        context_tokens=("/api/ps models {model} context_length",),
        slots="OLLAMA_NUM_PARALLEL",
        default_slots=1,
        # OLLAMA_MAX_QUEUE counts only while a model loads: a loaded one lets any number wait
        raise_slots="OLLAMA_NUM_PARALLEL={n}",
        cuts_prompts=True,
        too_long="drops the start of such a prompt",
        raise_context="raise OLLAMA_CONTEXT_LENGTH",
    ),
    local=Local(
        program="ollama",
        words="serve",
        install="see ollama.com/download; or --docker",
        env={"OLLAMA_HOST": "{host}:{port}", "OLLAMA_KEEP_ALIVE": "-1"},
        key_variables="see its manual",
        settings=dict.fromkeys(_SETTINGS, str),
        as_env="OLLAMA_",
        note="The model is pulled and loaded; settings such as --num-parallel N go after --.",
        model_routes={"list": "/api/tags", "pull": "/api/pull", "load": "/api/generate", "show": "/api/show"},
    ),
    docker=Container(
        image="ollama/ollama:0.34.0",
        environment=("OLLAMA_NUM_PARALLEL=32", "OLLAMA_KEEP_ALIVE=-1"),
        volumes={"ollama": "/root/.ollama"},
        health=("ollama", "list"),  # the image has neither curl nor python
        shared_memory="64m",  # Docker's default
    ),
    examples=("ollama qwen3:0.6b -- --num-parallel 32 --context-length 4096",),
)
