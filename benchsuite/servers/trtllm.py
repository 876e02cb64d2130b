"""TensorRT-LLM's trtllm-serve (nvidia.github.io/TensorRT-LLM, and its source, 1.3)."""

from __future__ import annotations

from benchsuite.servers.base import Container, Limits, Local, Recognise, Server, vllm_metrics

TRTLLM = Server(
    name="trtllm",
    title="TensorRT-LLM",
    ports=(8000,),
    tried=False,
    recognise=Recognise(owned_by="tensorrt_llm", route=("/prometheus/metrics", "trtllm_")),
    info_path="/version",
    fixed_length={"ignore_eos": True, "min_tokens": "$N"},
    cache_salt_field="cache_salt",
    metrics_path="/prometheus/metrics",  # its /metrics is JSON, and empties a queue when it is read
    metrics={
        **vllm_metrics("trtllm_"),
        "kv_cache_ratio": "trtllm_kv_cache_utilization",
        # in blocks
        "prefix_cache_hits": "trtllm_kv_cache_reused_blocks_total",
        "prefix_cache_queries": "trtllm_kv_cache_reused_blocks_total + trtllm_kv_cache_missed_blocks_total",
    },
    metrics_remedy="start it with --config FILE: return_perf_metrics: true, and enable_iter_perf_stats: true",
    limits=Limits(
        concurrent_requests=("--max_batch_size",),
        context_tokens=("--max_seq_len",),
        slots="--max_batch_size",
        raise_context="lower --max-output-tokens or raise --max_seq_len",
    ),
    preallocates=True,
    local=Local(
        program="trtllm-serve",
        words="{model} --host {host} --port {port}",
        install="see nvidia.github.io/TensorRT-LLM, Installation; or --docker",
        name_flag="--served_model_name",
    ),
    docker=Container(
        image="nvcr.io/nvidia/tensorrt-llm/release:1.2.1",
        command="trtllm-serve {model} --host 0.0.0.0 --port 8000",
    ),
    parallel_flags=("--tp_size", "--pp_size", "--cp_size"),
    examples=("trtllm Qwen/Qwen3-0.6B --docker -- --max_batch_size 64",),
)
