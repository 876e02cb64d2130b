"""LMDeploy's api_server (lmdeploy.readthedocs.io, and its source, 0.16.0)."""

from __future__ import annotations

from benchsuite.servers.base import Container, Limits, Local, Recognise, Server, histogram, histograms, metric, total

LMDEPLOY = Server(
    name="lmdeploy",
    title="LMDeploy",
    ports=(23333,),
    tried=False,
    recognise=Recognise(owned_by="lmdeploy", route=("/metrics", "lmdeploy:")),
    fixed_length={"ignore_eos": True},
    metrics={
        "running": metric("lmdeploy:num_requests_running"),
        # in the engine, and before it for a free request handle
        "waiting": total("lmdeploy:num_requests_waiting", "lmdeploy:num_api_requests_waiting"),
        "kv_cache_ratio": metric("lmdeploy:gpu_cache_usage_perc", fold="mean"),
        "prefix_cache_hits": metric("lmdeploy:cached_tokens_total"),
        "prefix_cache_queries": metric("lmdeploy:prompt_tokens_total"),
        "prompt_tokens": metric("lmdeploy:prompt_tokens_total"),
        "generated_tokens": metric("lmdeploy:generation_tokens_total"),
        "requests_done": metric("lmdeploy:request_success_total"),
        **histograms("lmdeploy:"),
        **histogram("itl", "lmdeploy:iter_token_latency"),
    },
    metrics_remedy="start it without --disable-metrics",
    limits=Limits(
        concurrent_requests=("--max-batch-size",),
        context_tokens=("--session-len",),
        slots="max_batch_size",
        default_slots=128,  # 384 on an A100, 1024 on an H100
        raise_slots="--max-batch-size {n}",
        too_long="ends such answers early; lower --max-output-tokens or raise --session-len",
    ),
    preallocates=True,
    local=Local(
        program="lmdeploy",
        words="serve api_server {model} --server-name {host} --server-port {port}",
        module="lmdeploy",
        package="lmdeploy",
        install="pip install lmdeploy in an environment of its own and name it with --python; or --docker",
        name_flag="--model-name",
        quantization_flags=("--model-format",),
        key_variables="HF_TOKEN",
    ),
    docker=Container(
        image="openmmlab/lmdeploy:v0.16.0-cu12.8",
        port=23333,
        command="lmdeploy serve api_server {model} --server-port 23333",
    ),
    parallel_flags=(("--tp",),),
    examples=("lmdeploy Qwen/Qwen3-0.6B --docker -- --max-batch-size 64",),
)
