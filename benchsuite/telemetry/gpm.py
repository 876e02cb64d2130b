"""GPM, on Hopper and later: what share of the SMs, tensor cores and memory bandwidth was active between two samples."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pynvml

_METRICS = (
    pynvml.NVML_GPM_METRIC_SM_UTIL,
    pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
)
# the counters behind need about 100 ms to move; a sampler at 10 Hz is a little early at times
_LEAST_S = 0.05

Ratios = tuple[float | None, float | None, float | None]
UNKNOWN: Ratios = (None, None, None)


class Activity:
    """Two GPM samples of one device, that change places. slice_id: of a MIG device, its GPU instance."""

    def __init__(self, handle: Any, slice_id: int | None = None) -> None:
        self._handle, self._slice_id = handle, slice_id
        self._older = pynvml.nvmlGpmSampleAlloc()
        try:
            self._newer = pynvml.nvmlGpmSampleAlloc()
        except pynvml.NVMLError:
            pynvml.nvmlGpmSampleFree(self._older)
            raise
        self._taken_s: float | None = None
        self._question = pynvml.c_nvmlGpmMetricsGet_t()

    def read(self) -> Ratios:
        """Ratios of SM, tensor and DRAM activity since the last read; UNKNOWN at first and right after another.

        Raises pynvml.NVMLError.
        """
        now_s = time.monotonic()
        if self._taken_s is not None and now_s - self._taken_s < _LEAST_S:
            return UNKNOWN
        if self._slice_id is None:
            pynvml.nvmlGpmSampleGet(self._handle, self._newer)
        else:
            pynvml.nvmlGpmMigSampleGet(self._handle, self._slice_id, self._newer)
        first, self._taken_s = self._taken_s is None, now_s
        self._older, self._newer = self._newer, self._older
        return UNKNOWN if first else self._ratios(self._newer, self._older)

    def _ratios(self, older: Any, newer: Any) -> Ratios:
        question = self._question
        question.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = len(_METRICS)
        question.sample1, question.sample2 = older, newer
        for i, metric in enumerate(_METRICS):
            question.metrics[i].metricId = metric
        pynvml.nvmlGpmMetricsGet(question)
        sm, tensor, dram = (_ratio(question.metrics[i]) for i in range(len(_METRICS)))
        return sm, tensor, dram

    def close(self) -> None:
        """Give both samples back."""
        for sample in (self._older, self._newer):
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlGpmSampleFree(sample)


def _ratio(metric: Any) -> float | None:
    if metric.nvmlReturn != pynvml.NVML_SUCCESS or not 0.0 <= metric.value <= 100.5:  # also not NaN
        return None
    return min(1.0, float(metric.value) / 100.0)
