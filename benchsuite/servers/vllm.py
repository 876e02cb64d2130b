"""vLLM (docs.vllm.ai; tried: 0.32 on a CPU)."""

from __future__ import annotations

from benchsuite.servers.base import Container, Limits, Local, Recognise, Server, vllm_metrics

VLLM = Server(
    name="vllm",
    title="vLLM",
    ports=(8000,),
    recognise=Recognise(owned_by="vllm", route=("/metrics", "vllm:")),
    info_path="/version",
    fixed_length={"ignore_eos": True, "min_tokens": "$N"},
    cache_salt_field="cache_salt",
    cache_reset_path="/reset_prefix_cache",  # only with VLLM_SERVER_DEV_MODE=1
    metrics={
        **vllm_metrics("vllm:"),
        "kv_cache_ratio": "vllm:kv_cache_usage_perc or vllm:gpu_cache_usage_perc",
        "prefix_cache_hits": "vllm:prefix_cache_hits_total or vllm:gpu_prefix_cache_hits_total",
        "prefix_cache_queries": "vllm:prefix_cache_queries_total or vllm:gpu_prefix_cache_queries_total",
        "preemptions": "vllm:num_preemptions_total",
    },
    limits=Limits(
        concurrent_requests=("--max-num-seqs",),
        context_tokens=("/v1/models data {model} max_model_len",),
        slots="--max-num-seqs",
        default_slots=256,  # the smallest on GPUs; large ones get 1024
        raise_context="lower --max-output-tokens or raise --max-model-len",
    ),
    preallocates=True,
    local=Local(
        program="vllm",
        words="serve {model} --host {host} --port {port}",
        module="vllm.entrypoints.openai.api_server",
        module_words="--model {model} --host {host} --port {port}",
        package="vllm",
        name_flag="--served-model-name",
        quantization_flags=("--quantization", "-q"),
        key_variables="VLLM_API_KEY or HF_TOKEN",
    ),
    docker=Container(
        image="vllm/vllm-openai:v0.32.0",
        command="--model {model}",
        environment=("HF_TOKEN", "VLLM_NO_USAGE_STATS=1"),
        volumes={"huggingface": "/root/.cache/huggingface", "vllm": "/root/.cache/vllm"},  # weights, compiled graphs
    ),
    parallel_flags=("--tensor-parallel-size -tp", "--pipeline-parallel-size -pp", "--data-parallel-size -dp"),
    examples=("vllm Qwen/Qwen3-0.6B", "vllm Qwen/Qwen3-0.6B --docker --port 8001 -- --max-num-seqs 64"),
)
