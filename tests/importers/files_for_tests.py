"""Result files of other tools. vLLM's is real: twelve requests of a run of `vllm bench serve` 0.32.0 against the tiny
model, texts and aggregates over the whole run taken out. GuideLLM's and AIPerf's are made by hand, with the keys of
GuideLLM 0.8.1 (report schema 2) and of AIPerf 0.13 (docs/tutorials/working-with-profile-exports.md)."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "data" / "importers"
VLLM = FOLDER / "vllm_bench_0.32.json"
GUIDELLM = FOLDER / "guidellm_0.8.json"
AIPERF = FOLDER / "aiperf_0.13_profile_export.jsonl"


def vllm_with(**changes: Any) -> str:
    """vLLM's file with keys replaced; None takes one out."""
    tree = json.loads(VLLM.read_text("utf-8")) | changes
    return json.dumps({key: value for key, value in tree.items() if value is not None})


def vllm_tree() -> dict[str, Any]:
    """vLLM's file as plain data."""
    tree: dict[str, Any] = json.loads(VLLM.read_text("utf-8"))
    return tree
