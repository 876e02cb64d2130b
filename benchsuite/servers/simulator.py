"""The simulator that benchsuite brings: vLLM's routes, fields and metric names."""

from __future__ import annotations

from benchsuite.servers.base import Local, Recognise, Server

SIMULATOR = Server(
    name="simulator",
    title="the simulator",
    summary="A server with a law that knows when it sent what: for calibration and faults.",
    speaks="vllm",
    recognise=Recognise(owned_by="benchsuite"),
    local=Local(needs_model=False, embedded=True, name_flag="--model", ready_timeout_s=60.0),
    absent={
        "ports": "serve lets the system choose one",
        "limits": "vLLM's",
        "metrics": "vLLM's",
        "docker": "it comes with benchsuite",
        "parallel_flags": "it has no GPUs",
    },
)
