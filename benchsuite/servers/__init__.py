"""The servers that benchsuite knows, one a file. Pure data: importing it starts and asks nothing."""

from __future__ import annotations

from benchsuite.servers.base import Server
from benchsuite.servers.llamacpp import LLAMACPP
from benchsuite.servers.lmdeploy import LMDEPLOY
from benchsuite.servers.ollama import OLLAMA
from benchsuite.servers.openai import OPENAI
from benchsuite.servers.sglang import SGLANG
from benchsuite.servers.simulator import SIMULATOR
from benchsuite.servers.tgi import TGI
from benchsuite.servers.transformers import TRANSFORMERS
from benchsuite.servers.trtllm import TRTLLM
from benchsuite.servers.vllm import VLLM

SERVERS: dict[str, Server] = {
    server.name: server
    for server in (VLLM, SGLANG, TGI, OLLAMA, LLAMACPP, TRANSFORMERS, LMDEPLOY, TRTLLM, OPENAI, SIMULATOR)
}
PROFILES = tuple(name for name, server in SERVERS.items() if server.speaks is None)  # those that --profile names
LAUNCHED = tuple(name for name, server in SERVERS.items() if server.local is not None)
