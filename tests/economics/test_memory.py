"""Memory: weights, KV cache, slots. The article's 70B figures, set right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.economics.memory import (
    GPUS,
    Gpu,
    ModelShape,
    Reserve,
    fit,
    fits,
    kv_bytes_per_token,
    weights_gb,
)
from benchsuite.errors import InputError

LLAMA_70B = ModelShape(70, layers=80, kv_heads=8, head_dim=128)
GPU = {gpu.name: gpu for gpu in GPUS}


@pytest.mark.parametrize(
    ("precision", "gb"), [("fp32", 280), ("fp16", 140), ("bf16", 140), ("int8", 70), ("fp8", 70), ("int4", 35)]
)
def test_weights_of_70b(precision, gb):
    """280, 140, 70, 35 GB: twice what the article prints."""
    assert weights_gb(70, precision) == gb


@pytest.mark.parametrize(
    ("precision", "gpu", "holds"),
    [
        ("fp16", "A100 80G", False),  # "FP16 fits single A100" is false
        ("int4", "L4", False),  # "int4 fits single L4" is false
        ("fp16", "H200", False),
        ("int8", "A100 80G", False),  # 72 of 80 GB, less 70 of weights and 2 of activations: nothing left
        ("int8", "H200", True),
        ("int4", "A100 80G", True),
    ],
)
def test_a_single_gpu(precision, gpu, holds):
    """One request of 4,096 tokens on one GPU."""
    one = fit(LLAMA_70B, GPU[gpu], precision=precision, context_tokens=4096, concurrency=1)
    assert (one.fits, one.weights_fit) == (holds, holds)


def test_slots_by_hand():
    """327,680 bytes a token, 1.342 GB at 4,096; 4 x 80 GB leave 72 - 35 - 2 = 35 GB each for a quarter of it."""
    assert kv_bytes_per_token(LLAMA_70B) == 327_680
    one = fit(LLAMA_70B, GPU["A100 80G"], precision="fp16", context_tokens=4096, concurrency=32, gpu_count=4)
    assert one.kv_gb_per_slot == pytest.approx(1.342177, abs=1e-6)
    assert (one.max_slots, one.fits) == (104, True)


def test_kv_heads_are_copied_beyond_their_number():
    """Sixteen GPUs do not halve the KV cache of eight heads once more."""
    few = ModelShape(7, layers=32, kv_heads=2, head_dim=128)
    two = fit(few, Gpu("x", 100, "", ""), precision="fp16", context_tokens=1000, concurrency=1, gpu_count=2)
    eight = fit(few, Gpu("x", 100, "", ""), precision="fp16", context_tokens=1000, concurrency=1, gpu_count=8)
    assert two.max_slots == 4943  # (90 - 7 - 2) / (.032768 / 2)
    assert eight.max_slots == 5264  # (90 - 1.75 - 2) / (.032768 / 2)


def test_the_smallest_number_of_gpus():
    """70B in fp16 at 32 x 4,096 tokens: four 80 GB cards or two H200; L4s do not do at eight."""
    found = {
        one.gpu.name: (one.fits, one.gpu_count)
        for one in fits(LLAMA_70B, precisions=("fp16",), context_tokens=4096, concurrency=32)
    }
    assert found["A100 80G"] == (True, 4)
    assert found["H200"] == (True, 2)
    assert found["L4"] == (False, 8)
    assert len(fits(LLAMA_70B, context_tokens=4096, concurrency=32)) == 3 * len(GPUS)


@given(st.floats(0.5, 500), st.floats(16, 512), st.sampled_from([1, 2, 4, 8]), st.floats(1, 1e5), st.integers(1, 1000))
def test_more_memory_and_shorter_context_never_hurt(params_b, memory_gb, gpu_count, context, concurrency):
    """Slots fall in context and rise in memory; `fits` is slots against concurrency."""
    shape = ModelShape(params_b, 32, 8, 128)

    def slots(memory: float, tokens: float) -> int:
        one = fit(
            shape,
            Gpu("x", memory, "", ""),
            precision="int8",
            context_tokens=tokens,
            concurrency=concurrency,
            gpu_count=gpu_count,
        )
        assert one.fits == (one.max_slots >= concurrency)
        return one.max_slots

    assert slots(memory_gb, context) <= slots(memory_gb * 1.5, context)
    assert slots(memory_gb, context * 2) <= slots(memory_gb, context)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"precision": "fp17"}, "precision"),
        ({"kv_precision": "int3"}, "kv_precision"),
        ({"context_tokens": 0}, "context_tokens"),
        ({"context_tokens": 1e-320}, "context_tokens"),
        ({"concurrency": -1}, "concurrency"),
        ({"shape": ModelShape(-7, 1, 1, 1)}, "params_b"),
        ({"shape": ModelShape(7, 0, 1, 1)}, "layers"),
        ({"shape": ModelShape(7, 1, 0, 1)}, "kv_heads"),
        ({"reserve": Reserve(1.5)}, "memory_share"),
        ({"reserve": Reserve(0.9, -1)}, "activation_gb"),
        ({"gpu": Gpu("x", float("nan"), "", "")}, "memory_gb"),
    ],
)
def test_nonsense_names_the_key(change, key):
    """One refusal with the name of what is wrong."""
    good = {"shape": LLAMA_70B, "gpu": GPU["L4"], "precision": "fp16", "context_tokens": 1, "concurrency": 1}
    both = good | change
    with pytest.raises(InputError) as caught:
        fit(both.pop("shape"), both.pop("gpu"), **both)
    assert caught.value.where == key
