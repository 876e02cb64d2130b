"""Does a model fit a GPU, and with how many requests: weights and KV cache against the memory. A gigabyte is 1e9 bytes.

Knows nothing of speed: what fits may still be too slow, which only a measurement tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from benchsuite.strict_model import StrictModel, key

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "int4"]
BYTES: dict[Precision, float] = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "fp8": 1.0, "int4": 0.5}
GPU_COUNTS = (1, 2, 4, 8)  # tensor-parallel sizes that attention heads and servers commonly divide into


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU and its memory as its vendor prints it, read as 1e9 bytes a gigabyte.

    The careful reading: a "24 GB" L4 leaves 22.5 GiB = 24.2e9 bytes to programs, an "80 GB" A100 has 80 GiB = 85.9e9.
    """

    name: str
    memory_gb: float
    source: str = "vendor's data sheet, as commonly quoted; not verified"
    as_of: str = "2026-11"


GPUS = (
    Gpu("L4", 24), Gpu("RTX 4090", 24), Gpu("A100 40G", 40), Gpu("L40S", 48), Gpu("A100 80G", 80), Gpu("A800 80G", 80),
    Gpu("H100 80G", 80), Gpu("H200", 141),
)  # fmt: skip


class MemoryDemand(StrictModel):
    """A memory demand: the shape of a model, its requests in flight, and the share of a GPU that a server may use."""

    params_b: float = key(..., "all parameters, in 1e9, inactive experts included", gt=0)
    layers: int = key(..., "layers", gt=0)
    kv_heads: int = key(..., "key/value heads (not query heads)", gt=0)
    head_dim: int = key(..., "size of a head", gt=0)
    context_tokens: float = key(..., "mean tokens of a request in flight, prompt and answer", "--context", ge=1)
    concurrency: int = key(..., "requests at once", gt=0)
    precisions: tuple[Precision, ...] = key(("fp16", "int8", "int4"), "of the weights", "--precision")
    kv_precision: Precision = key("fp16", "of the KV cache")
    memory_share: float = key(0.9, "share that the server may use", gt=0, le=1)
    activation_gb: float = key(2.0, "for activations, per GPU", ge=0)
    gpu_memory_gb: float | None = key(None, "one GPU of this memory instead of the table", gt=0)

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values of one token in all layers: 2 layers kv_heads head_dim bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BYTES[self.kv_precision]


@dataclass(frozen=True, slots=True)
class Fit:
    """A model on `gpu_count` GPUs of a kind. max_slots: requests of the mean context at once; 0 if the weights alone
    leave no room. fits: max_slots covers the concurrency asked for.
    """

    gpu: Gpu
    precision: str
    gpu_count: int
    context_tokens: float
    weights_gb: float
    kv_gb_per_slot: float
    max_slots: int
    fits: bool


def fit(demand: MemoryDemand, gpu: Gpu, precision: Precision, gpu_count: int = 1) -> Fit:
    """max slots = (memory share - weights - activations) / (KV per token x context), on each of `gpu_count` GPUs.

    Weights are parameters times bytes, without the scales of quantization, and divide among the GPUs; KV heads do until
    each has one, beyond which they are copied.
    """
    weights_gb = demand.params_b * BYTES[precision]
    slot_gb = demand.kv_bytes_per_token * demand.context_tokens / 1e9
    share_of_kv = math.ceil(demand.kv_heads / gpu_count) / demand.kv_heads
    free_gb = gpu.memory_gb * demand.memory_share - weights_gb / gpu_count - demand.activation_gb
    slots = max(0, math.floor(free_gb / (slot_gb * share_of_kv)))
    fits = slots >= demand.concurrency
    return Fit(gpu, precision, gpu_count, demand.context_tokens, weights_gb, slot_gb, slots, fits)


def memory_fits(demand: MemoryDemand) -> list[Fit]:
    """For each precision and GPU the smallest of 1, 2, 4, 8 GPUs that holds the requests; with none, 8 GPUs' Fit."""
    given = demand.gpu_memory_gb
    gpus = GPUS if given is None else (Gpu(f"{given:g} GB", given, "as given", ""),)
    found = []
    for precision in demand.precisions:
        for gpu in gpus:
            tried = [fit(demand, gpu, precision, count) for count in GPU_COUNTS]
            found.append(next((one for one in tried if one.fits), tried[-1]))
    return found
