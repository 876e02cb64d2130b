"""The simulator that benchsuite brings: vLLM's routes, fields and metric names."""

from __future__ import annotations

from benchsuite.servers.base import Local, Recognise, Server

SIMULATOR = Server(
    name="simulator",
    title="the simulator",
    summary="A server whose latencies are known on paper: for calibration and faults.",
    speaks="vllm",
    recognise=Recognise(owned_by="benchsuite"),
    local=Local(
        module="benchsuite",
        words="serve simulator --model {model} --port {port} --until-stdin-closes",
        default_name="simulator",
        needs_model=False,
        embedded=True,
        ready_timeout_s=60.0,
    ),
)
