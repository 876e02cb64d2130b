"""llama.cpp's server (tools/server in its repository; tried: xllamacpp 2026.10, which benchsuite embeds)."""

from __future__ import annotations

from typing import Any

from benchsuite.servers.base import Limits, Local, Recognise, Server, ServerTimes, count, seconds

_ALL_PROMPT_TOKENS = "llamacpp:prompt_tokens_total + llamacpp:prompt_tokens_cached_total"


def _timings(timings: Any) -> ServerTimes | None:
    """Prompt and generation times, and the tokens that its cache spared."""
    if not isinstance(timings, dict):
        return None
    prefill_s, decode_s = seconds(timings.get("prompt_ms"), 1e3), seconds(timings.get("predicted_ms"), 1e3)
    return ServerTimes(None, prefill_s, decode_s, count(timings.get("cache_n")))


LLAMACPP = Server(
    name="llamacpp",
    title="llama.cpp",
    summary="llama.cpp's own server with a tiny model: real continuous batching on any laptop.",
    ports=(8080,),
    recognise=Recognise(owned_by="llamacpp", header="llama.cpp"),
    info_path="/props",
    event_field=("timings", _timings),
    fixed_length={"ignore_eos": True},
    cache_off_fields={"cache_prompt": False},
    metrics={
        "running": "llamacpp:requests_processing",
        "waiting": "llamacpp:requests_deferred",
        "kv_cache_ratio": "llamacpp:kv_cache_usage_ratio",
        "prefix_cache_hits": "llamacpp:prompt_tokens_cached_total",
        "prefix_cache_queries": _ALL_PROMPT_TOKENS,
        "prompt_tokens": f"{_ALL_PROMPT_TOKENS} or llamacpp:prompt_tokens_total",
        "generated_tokens": "llamacpp:tokens_predicted_total",
        # sums over requests without a count of them; prompt_seconds_total ends before the first token is sampled, the
        # duration in an answer after: with prompts of 25 tokens on a CPU it was 7 to 30 % less
        "prefill_sum_s": "llamacpp:prompt_seconds_total",
        "decode_sum_s": "llamacpp:tokens_predicted_seconds_total",
    },
    metrics_remedy="start it with --metrics",
    limits=Limits(
        concurrent_requests=("/props total_slots",),
        context_tokens=("/props default_generation_settings n_ctx",),
        slots="slots",
        raise_slots="--parallel {n}, and context for all of them",
        too_long="ends such answers early",
        raise_context="start it with a larger --ctx-size",
    ),
    preallocates=True,
    local=Local(
        module="benchsuite.serving.llamacpp",
        words="--model {model} --port {port}",
        package="xllamacpp",
        settings={"slots": int, "ctx": int, "threads": int, "model": str, "name": str},
        name_flag="--name",
        note="--slots N: responses at once, 32; --ctx N: tokens of each, 8192; --threads N: 1; --model FILE.gguf, or a "
        "folder with a model.gguf: the tiny model; --name NAME in requests: tiny-llama.",
        named_by_model=False,
        default_name="tiny-llama",
        key_variables="LLAMA_API_KEY",
        needs_model=False,
        embedded=True,
        ready_timeout_s=60.0,
    ),
    examples=("llamacpp --port 8000", "llamacpp --slots 4 --ctx 2048 --threads 2 --log llamacpp.log"),
)
