"""Any OpenAI-compatible server that is not known better: hosted APIs, gateways, LM Studio."""

from __future__ import annotations

from benchsuite.servers.base import Server

OPENAI = Server(
    name="openai",
    title="an OpenAI-compatible server",
    ports=(1234,),  # LM Studio
    ready_path="/v1/models",
    lists_its_model=False,
    metrics_path=None,
)
