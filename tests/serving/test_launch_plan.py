"""What `--serve` text means, and what is refused before anything starts."""

from __future__ import annotations

import pytest

from benchsuite.errors import InputError
from benchsuite.serving.launch_plan import LaunchPlan, parse_serve
from benchsuite.serving.process import without_secrets


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("llamacpp", LaunchPlan("llamacpp")),
        ("llamacpp --slots 4", LaunchPlan("llamacpp", ("--slots", "4"))),
        ("vllm org/m --max-num-seqs 64", LaunchPlan("vllm", ("--max-num-seqs", "64"), model="org/m")),
        ("vllm org/m -- --max-num-seqs 64", LaunchPlan("vllm", ("--max-num-seqs", "64"), model="org/m")),
        ("docker:vllm m --port 9000", LaunchPlan("vllm", docker=True, model="m", port=9000)),
        ("docker:tgi m --image=i@sha256:0", LaunchPlan("tgi", docker=True, model="m", image="i@sha256:0")),
        ("vllm m --python '/a b/bin/python' -- x", LaunchPlan("vllm", ("x",), model="m", python="/a b/bin/python")),
        ("vllm -- --model m --port-scan", LaunchPlan("vllm", ("--model", "m", "--port-scan"))),
        ("transformers -- --device cpu", LaunchPlan("transformers", ("--device", "cpu"))),
        ("sglang m --dp 2", LaunchPlan("sglang", ("--dp", "2"), model="m")),
        ("ollama qwen3:0.6b --num-parallel 8", LaunchPlan("ollama", ("--num-parallel", "8"), model="qwen3:0.6b")),
    ],
)
def test_a_plan_is_read_and_written_back(text: str, plan: LaunchPlan) -> None:
    """The model follows the engine, three flags are benchsuite's, the rest is the server's; the text reads back."""
    assert parse_serve(text) == plan
    assert parse_serve(plan.text) == plan


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no server to start is named"),
        ("vllm 'm", "No closing quotation"),
        ("vlmm m", "did you mean 'vllm'"),
        ("podman:vllm m", "local or docker"),
        ("vllm --max-num-seqs 64", "vllm needs a model"),
        ("ollama", "ollama needs a model"),
        ("vllm m --port x", "no such port"),
        ("vllm m --port", "--port needs a value"),
        ("vllm m -- --port 9000", "benchsuite sets the port"),
        ("docker:llamacpp", "not started with docker"),
        ("lmdeploy m -- --server-port 9000", "benchsuite sets the port"),
        ("openai m", "no such engine"),
        ("vllm m --image i", "a local server has no image"),
        ("llamacpp --slots none", "whole number"),
        ("llamacpp --slot 4", "did you mean '--slots'"),
        ("ollama m --num-paralel 4", "did you mean '--num-parallel'"),
        ("ollama m --num-parallel", "has no value"),
    ],
)
def test_what_cannot_be_started_is_refused(text: str, said: str) -> None:
    """Each mistake is an input error that names the way out."""
    with pytest.raises(InputError, match=said):
        parse_serve(text)


def test_ollamas_settings_are_environment_variables() -> None:
    """`ollama serve` has no arguments: its settings are upper-case variables."""
    assert parse_serve("ollama m --num-parallel 8 --kv-cache-type=q8_0").environment == {
        "OLLAMA_NUM_PARALLEL": "8",
        "OLLAMA_KV_CACHE_TYPE": "q8_0",
    }


@pytest.mark.parametrize(
    ("text", "gpus", "quantization", "name"),
    [
        ("vllm m", None, None, "m"),
        ("vllm m --tensor-parallel-size 2 -pp 3 --quantization=fp8", 6, "fp8", "m"),
        ("vllm m --served-model-name s", None, None, "s"),
        ("tgi -- --model-id m --num-shard 4 --quantize awq", 4, "awq", "m"),
        ("sglang m --tp 2 --dp-size=2", 4, None, "m"),
        ("sglang m --tp 4 --dp 4 --enable-dp-attention --quantization fp8", 4, "fp8", "m"),
        ("lmdeploy m --tp 2 --model-format awq --model-name s", 2, "awq", "s"),
        ("trtllm m --tp_size 2 --pp_size 2", 4, None, "m"),
        ("llamacpp m.gguf", None, None, None),
        ("llamacpp --name s", None, None, "s"),
        ("simulator", None, None, None),
    ],
)
def test_what_the_arguments_tell(text: str, gpus: int | None, quantization: str | None, name: str | None) -> None:
    """GPUs, quantization and the model's name in requests are read from the arguments, or unknown."""
    plan = parse_serve(text)
    assert (plan.gpus, plan.quantization, plan.served_name) == (gpus, quantization, name)


def test_keys_never_reach_the_manifest() -> None:
    """What follows --api-key and its kind is hidden, in both spellings, and nothing else."""
    words = ["vllm", "serve", "m", "--api-key", "k1", "--hf-token=k2", "--max-num-batched-tokens", "64"]
    assert without_secrets(words) == [
        "vllm", "serve", "m", "--api-key", "***", "--hf-token=***", "--max-num-batched-tokens", "64",
    ]  # fmt: skip
