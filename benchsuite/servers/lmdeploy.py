"""LMDeploy's api_server (lmdeploy.readthedocs.io, and its source, 0.16.0)."""

from __future__ import annotations

from benchsuite.servers.base import Container, Limits, Local, Recognise, Server, histogram, vllm_metrics

LMDEPLOY = Server(
    name="lmdeploy",
    title="LMDeploy",
    ports=(23333,),
    tried=False,
    recognise=Recognise(owned_by="lmdeploy", route=("/metrics", "lmdeploy:")),
    ignores=("presence_penalty", "frequency_penalty"),
    fixed_length={"ignore_eos": True},
    metrics={
        **vllm_metrics("lmdeploy:"),
        # in the engine, and before it for a free request handle
        "waiting": "lmdeploy:num_requests_waiting + lmdeploy:num_api_requests_waiting",
        "kv_cache_ratio": "lmdeploy:gpu_cache_usage_perc",
        "prefix_cache_hits": "lmdeploy:cached_tokens_total",
        "prefix_cache_queries": "lmdeploy:prompt_tokens_total",
        **histogram("itl", "lmdeploy:iter_token_latency"),
    },
    metrics_remedy="start it without --disable-metrics",
    limits=Limits(
        concurrent_requests=("--max-batch-size",),
        context_tokens=("--session-len",),
        slots="--max-batch-size",
        default_slots=128,  # 384 on an A100, 1024 on an H100
        too_long="ends such answers early",
        raise_context="lower --max-output-tokens or raise --session-len",
    ),
    preallocates=True,
    local=Local(
        program="lmdeploy",
        words="serve api_server {model} --server-name {host} --server-port {port}",
        module="lmdeploy",
        package="lmdeploy",
        name_flag="--model-name",
        quantization_flags=("--model-format",),
    ),
    docker=Container(
        image="openmmlab/lmdeploy:v0.16.0-cu12.8",
        command="lmdeploy serve api_server {model} --server-port 23333",
    ),
    parallel_flags=("--tp",),
    examples=("lmdeploy Qwen/Qwen3-0.6B --docker -- --max-batch-size 64",),
)
