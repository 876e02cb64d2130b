"""transformers serve (tried: 5.19 and 5.23 on a CPU)."""

from __future__ import annotations

from benchsuite.servers.base import Local, Recognise, Server

TRANSFORMERS = Server(
    name="transformers",
    title="transformers serve",
    ports=(8000,),
    recognise=Recognise(unlisted_header="uvicorn", refusal="Unexpected fields in the request"),
    usage_option=False,  # it refuses unknown fields with 422, and always reports usage
    schema_fields=None,
    lists_its_model=False,
    metrics_path=None,
    local=Local(
        program="transformers",
        words="serve {model} --host {host} --port {port}",
        module="transformers.cli.transformers",
        package="transformers[serving]",
        added={"--continuous-batching": ("--no-continuous-batching",)},  # else it serves one request at a time
        note="It uses continuous batching by default.",
        needs_model=False,
    ),
    examples=("transformers Qwen/Qwen3-0.6B --python ~/venvs/hf -- --dtype bfloat16",),
)
