"""Memory: weights, KV cache, slots. The article's 70B figures, set right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.economics.memory import GPUS, Gpu, MemoryDemand, fit, memory_fits

LLAMA_70B = {"params_b": 70, "layers": 80, "kv_heads": 8, "head_dim": 128}
GPU = {gpu.name: gpu for gpu in GPUS}


def demand(shape=LLAMA_70B, context_tokens=4096.0, concurrency=1, **more):
    return MemoryDemand(**shape, context_tokens=context_tokens, concurrency=concurrency, **more)


@pytest.mark.parametrize(
    ("precision", "gb"), [("fp32", 280), ("fp16", 140), ("bf16", 140), ("int8", 70), ("fp8", 70), ("int4", 35)]
)
def test_weights_of_70b(precision, gb):
    """280, 140, 70, 35 GB: twice what the article prints."""
    assert fit(demand(), GPU["H200"], precision).weights_gb == gb


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
    found = fit(demand(), GPU[gpu], precision)
    assert (found.fits, found.max_slots >= 1) == (holds, holds)


def test_slots_by_hand():
    """327,680 bytes a token, 1.342 GB at 4,096; 4 x 80 GB leave 72 - 35 - 2 = 35 GB each for a quarter of it."""
    asked = demand(concurrency=32)
    assert asked.kv_bytes_per_token == 327_680
    found = fit(asked, GPU["A100 80G"], "fp16", 4)
    assert found.kv_gb_per_slot == pytest.approx(1.342177, abs=1e-6)
    assert (found.max_slots, found.fits) == (104, True)


def test_kv_heads_are_copied_beyond_their_number():
    """Eight GPUs do not halve the KV cache of two heads twice more."""
    few = demand({"params_b": 7, "layers": 32, "kv_heads": 2, "head_dim": 128}, context_tokens=1000)
    slots = [fit(few, Gpu("x", 100), "fp16", gpus).max_slots for gpus in (2, 8)]
    assert slots == [4943, 5264]  # (90 - 7 - 2) / (.032768 / 2), (90 - 1.75 - 2) / (.032768 / 2)


def test_the_smallest_number_of_gpus():
    """70B in fp16 at 32 x 4,096 tokens: four 80 GB cards or two H200; L4s do not do at eight."""
    asked = demand(concurrency=32, precisions=("fp16",))
    found = {one.gpu.name: (one.fits, one.gpu_count) for one in memory_fits(asked)}
    assert (found["A100 80G"], found["H200"], found["L4"]) == ((True, 4), (True, 2), (False, 8))
    assert len(memory_fits(demand())) == 3 * len(GPUS)
    assert {one.gpu.memory_gb for one in memory_fits(demand(gpu_memory_gb=96))} == {96}


@given(st.floats(0.5, 500), st.floats(16, 512), st.sampled_from([1, 2, 4, 8]), st.floats(1, 1e5), st.integers(1, 1000))
def test_more_memory_and_shorter_context_never_hurt(params_b, memory_gb, gpu_count, context, concurrency):
    """Slots fall in context and rise in memory; `fits` is slots against concurrency."""

    def slots(memory: float, tokens: float) -> int:
        asked = demand(LLAMA_70B | {"params_b": params_b}, context_tokens=tokens, concurrency=concurrency)
        found = fit(asked, Gpu("x", memory), "int8", gpu_count)
        assert found.fits == (found.max_slots >= concurrency)
        return found.max_slots

    assert slots(memory_gb, context) <= slots(memory_gb * 1.5, context)
    assert slots(memory_gb, context * 2) <= slots(memory_gb, context)
