"""Does a model fit a GPU, and with how many requests: weights and KV cache against the memory. A gigabyte is 1e9 bytes.

Knows nothing of speed: what fits may still be too slow, which only a measurement tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchsuite.errors import InputError

BYTES_PER_PARAMETER = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "fp8": 1.0, "int4": 0.5}
GPU_COUNTS = (1, 2, 4, 8)  # tensor-parallel sizes that attention heads and servers commonly divide into


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU and its memory as its vendor prints it, read as 1e9 bytes a gigabyte.

    The careful reading: a "24 GB" L4 leaves 22.5 GiB = 24.2e9 bytes to programs, an "80 GB" A100 has 80 GiB = 85.9e9.
    """

    name: str
    memory_gb: float
    source: str
    as_of: str


_SOURCE = "vendor's data sheet, as commonly quoted; not verified"
GPUS = tuple(
    Gpu(name, memory_gb, _SOURCE, "2026-11")
    for name, memory_gb in (
        ("L4", 24),
        ("RTX 4090", 24),
        ("A100 40G", 40),
        ("L40S", 48),
        ("A100 80G", 80),
        ("A800 80G", 80),
        ("H100 80G", 80),
        ("H200", 141),
    )
)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on. params_b: all parameters in 1e9, those of idle experts too. kv_heads: not query heads."""

    params_b: float
    layers: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """What the server may use. memory_share: of each GPU. activation_gb: per GPU, assumed until it is measured."""

    memory_share: float = 0.9
    activation_gb: float = 2.0


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

    @property
    def weights_fit(self) -> bool:
        """True if at least one request has room."""
        return self.max_slots >= 1


def bytes_of(precision: str, where: str = "precision") -> float:
    """Bytes a number takes at `precision`. Raises InputError naming `where`."""
    if precision not in BYTES_PER_PARAMETER:
        raise InputError(
            "unknown precision", where=where, given=repr(precision), expected="one of " + ", ".join(BYTES_PER_PARAMETER)
        )
    return BYTES_PER_PARAMETER[precision]


def weights_gb(params_b: float, precision: str) -> float:
    """Parameters times bytes: 70B is 280, 140, 70, 35 GB in fp32, fp16, int8, int4. Scales of quantisation left out."""
    _check("params_b", params_b, above_zero=True)
    return params_b * bytes_of(precision)


def kv_bytes_per_token(shape: ModelShape, kv_precision: str = "fp16") -> float:
    """Keys and values of one token in all layers: 2 layers kv_heads head_dim bytes."""
    for key in ("layers", "kv_heads", "head_dim"):
        _check(key, getattr(shape, key), above_zero=True)
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * bytes_of(kv_precision, "kv_precision")


def fit(
    shape: ModelShape,
    gpu: Gpu,
    *,
    precision: str,
    context_tokens: float,
    concurrency: int,
    gpu_count: int = 1,
    kv_precision: str = "fp16",
    reserve: Reserve | None = None,
) -> Fit:
    """max slots = (memory share - weights - activations) / (KV per token x context), on each of `gpu_count` GPUs.

    context_tokens: mean length of prompt and answer of a request in flight. Weights divide among the GPUs; KV heads do
    until each has one, beyond which they are copied. Raises InputError naming what makes no sense.
    """
    reserve = reserve or Reserve()
    if not (math.isfinite(context_tokens) and context_tokens >= 1):
        raise InputError("a size makes no sense", where="context_tokens", given=context_tokens, expected="at least 1")
    _check("concurrency", concurrency, above_zero=True)
    _check("gpu_count", gpu_count, above_zero=True)
    _check("memory_gb", gpu.memory_gb, above_zero=True)
    _check("activation_gb", reserve.activation_gb)
    if not 0 < reserve.memory_share <= 1:
        raise InputError(
            "a share of memory makes no sense",
            where="memory_share",
            given=reserve.memory_share,
            expected="above 0 and at most 1",
        )
    weights = weights_gb(shape.params_b, precision)
    slot_gb = kv_bytes_per_token(shape, kv_precision) * context_tokens / 1e9
    share_of_kv = math.ceil(shape.kv_heads / gpu_count) / shape.kv_heads
    free_gb = gpu.memory_gb * reserve.memory_share - weights / gpu_count - reserve.activation_gb
    slots = max(0, math.floor(free_gb / (slot_gb * share_of_kv)))
    return Fit(gpu, precision, gpu_count, context_tokens, weights, slot_gb, slots, slots >= concurrency)


def fits(
    shape: ModelShape,
    *,
    gpus: Sequence[Gpu] = GPUS,
    precisions: Sequence[str] = ("fp16", "int8", "int4"),
    context_tokens: float,
    concurrency: int,
    kv_precision: str = "fp16",
    reserve: Reserve | None = None,
) -> list[Fit]:
    """For each precision and GPU the smallest of 1, 2, 4, 8 GPUs that holds `concurrency`; with none, 8 GPUs' Fit."""
    found = []
    for precision in precisions:
        for gpu in gpus:
            tried = [
                fit(
                    shape,
                    gpu,
                    precision=precision,
                    context_tokens=context_tokens,
                    concurrency=concurrency,
                    gpu_count=gpu_count,
                    kv_precision=kv_precision,
                    reserve=reserve,
                )
                for gpu_count in GPU_COUNTS
            ]
            found.append(next((one for one in tried if one.fits), tried[-1]))
    return found


def _check(key: str, value: float, *, above_zero: bool = False) -> None:
    if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        expected = "a number above 0" if above_zero else "a number of at least 0"
        raise InputError("a size makes no sense", where=key, given=value, expected=expected)
