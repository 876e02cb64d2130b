"""SGLang (docs.sglang.io: server arguments, production metrics; its HTTP server's source, 0.5.20)."""

from __future__ import annotations

from benchsuite.servers.base import Container, Limits, Local, Recognise, Server, histogram

_SLOTS = "internal_states * effective_max_running_requests_per_dp"  # one state a data-parallel rank

SGLANG = Server(
    name="sglang",
    title="SGLang",
    ports=(30000,),
    tried=False,
    recognise=Recognise(owned_by="sglang", route=("/metrics", "sglang:")),
    info_path="/server_info",  # all of its arguments, API keys among them
    info_keys=("version", "max_running_requests", "context_length", "tp_size", "dp_size", "schedule_policy", "dtype"),
    fixed_length={"ignore_eos": True, "min_tokens": "$N"},
    cache_salt_field="cache_salt",
    cache_reset_path="/flush_cache",
    metrics={
        "running": "sglang:num_running_reqs",
        "waiting": "sglang:num_queue_reqs",
        "kv_cache_ratio": "sglang:token_usage",
        "prefix_cache_hits": "sglang:cached_tokens_total",
        "prefix_cache_queries": "sglang:prompt_tokens_total",
        "preemptions": "sglang:num_retracted_requests_total",
        "prompt_tokens": "sglang:prompt_tokens_total",
        "generated_tokens": "sglang:generation_tokens_total",
        "requests_done": "sglang:num_requests_total",
        **histogram("queue", "sglang:queue_time_seconds"),
        **histogram("prefill", "sglang:per_stage_req_latency_seconds", labels='{stage="prefill_forward"}'),
        **histogram("itl", "sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
        **histogram("ttft", "sglang:time_to_first_token_seconds"),
        **histogram("e2e", "sglang:e2e_request_latency_seconds"),
    },
    metrics_remedy="start it with --enable-metrics",
    limits=Limits(
        concurrent_requests=(f"/server_info {_SLOTS}", f"/get_server_info {_SLOTS}", "--max-running-requests"),
        context_tokens=("/v1/models data {model} max_model_len",),
        slots="--max-running-requests",
        raise_context="lower --max-output-tokens or raise --context-length",
    ),
    preallocates=True,
    local=Local(
        program="sglang",
        words="serve --model-path {model} --host {host} --port {port}",
        module="sglang.launch_server",
        module_words="--model-path {model} --host {host} --port {port}",
        package="sglang",
        added={"--enable-metrics": ()},
        name_flag="--served-model-name",
        quantization_flags=("--quantization",),
    ),
    docker=Container(
        image="lmsysorg/sglang:v0.5.21",
        command="python3 -m sglang.launch_server --model-path {model} --host 0.0.0.0 --port 30000 --enable-metrics",
    ),
    parallel_flags=(
        "--tensor-parallel-size --tp-size --tp",
        "--pipeline-parallel-size --pp-size --pp",
        "--data-parallel-size --dp-size --dp",
    ),
    shared_gpus="--enable-dp-attention",
    examples=("sglang Qwen/Qwen3-0.6B --docker -- --max-running-requests 64",),
)
