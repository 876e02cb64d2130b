"""Text Generation Inference (3.3.6-dev0, db931fcf: its routers built and run, v3 before a stand-in of a GPU worker)."""

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
    histogram,
)

# without details TGI says neither how many tokens there were nor why they ended; its end-of-text token is counted in
# usage but is no chunk (but on the completions route, as its own text), and its stream ends without [DONE]
_BODY = {"inputs": "$TEXT", "parameters": {"details": True, "do_sample": False}}
_SAMPLED = ("temperature", "top_p", "top_k")


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    parameters, temperature = dict(given), given.get("temperature")
    if not given.keys().isdisjoint(_SAMPLED):
        parameters["do_sample"] = temperature != 0
    if temperature == 0:  # which it refuses: greedy is do_sample alone
        del parameters["temperature"]
    return {"parameters": parameters}


def _read(event: dict[str, Any]) -> NativeEvent:
    """An event of /generate_stream, or the whole response of /generate. A special token (end of text) is no answer."""
    token, text, details = event.get("token"), event.get("generated_text"), event.get("details")
    ended = isinstance(details, dict) or isinstance(text, str)
    if isinstance(token, dict):
        text = "" if token.get("special") is True else token.get("text")
    answer = text if isinstance(text, str) and text else None
    details = details if isinstance(details, dict) else {}
    facts = (details.get(key) for key in ("finish_reason", "input_length", "generated_tokens"))
    return NativeEvent(2 if answer else 0, answer, ended, False, *facts)


TGI = Server(
    name="tgi",
    title="TGI",
    ports=(8080, 3000),  # its image's example, its own default
    recognise=Recognise(route=("/info", "max_concurrent_requests")),
    info_path="/info",
    native=Native(
        stream_path="/generate_stream",
        whole_path="/generate",
        body=_BODY,
        cap=("parameters", "max_new_tokens"),
        takes=(*_SAMPLED, "seed", "stop", "frequency_penalty"),
        sampling=_sampling,
        event_keys=("token", "generated_text"),
        read=_read,
    ),
    ignores=("top_k", "chat_template_kwargs", "reasoning_effort"),
    schema_fields={"response_format": {"type": "json", "value": "$SCHEMA"}},
    lists_its_model=False,
    metrics={
        "running": "tgi_batch_current_size",
        "waiting": "tgi_queue_size",
        "prompt_tokens": "tgi_request_input_length_sum",
        "generated_tokens": "tgi_request_generated_tokens_sum",
        "requests_done": "tgi_request_success",
        **histogram("queue", "tgi_request_queue_duration"),
        # of a batch, not of a request: the counts tell whether they are the same
        **histogram("prefill", "tgi_batch_inference_duration", labels='{method="prefill"}'),
        # a decode step gives every running request one token
        **histogram("itl", "tgi_batch_inference_duration", labels='{method="decode"}'),
        **histogram("e2e", "tgi_request_duration"),
    },
    limits=Limits(
        concurrent_requests=("/info max_concurrent_requests",),
        context_tokens=("/info max_total_tokens",),
        input_tokens=("/info max_input_tokens", "/info max_input_length"),
        slots="--max-concurrent-requests",
        refuses=True,
        raise_context="lower --max-output-tokens or raise --max-total-tokens",
    ),
    preallocates=True,
    local=Local(
        program="text-generation-launcher",
        words="--model-id {model} --hostname {host} --port {port}",
        install="it is installed from source or run from its image: --docker",
        quantization_flags=("--quantize",),
        key_variables="API_KEY or HF_TOKEN",
    ),
    docker=Container(
        image="ghcr.io/huggingface/text-generation-inference:3.3.5",
        port=80,
        command="--model-id {model} --port 80",
        volumes={"tgi": "/data"},
        shared_memory="1g",  # NCCL, where peers cannot reach each other's memory
    ),
    parallel_flags=("--num-shard",),
    examples=("tgi Qwen/Qwen3-0.6B --docker -- --max-concurrent-requests 256",),
)
