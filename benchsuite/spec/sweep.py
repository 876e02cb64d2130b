"""The whole specification of a sweep."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from benchsuite.errors import SloError
from benchsuite.slo import PAPER_SLO, Slo, parse_slo
from benchsuite.spec.load import LoadSpec, TimeoutSpec, WorkloadSpec
from benchsuite.spec.price import PriceSpec
from benchsuite.spec.server import ServerSpec, url_without_user
from benchsuite.strict_model import StrictModel


class TelemetrySpec(StrictModel):
    """What is recorded beside the requests. gpu: auto takes NVML where the driver is, else DCGM if dcgm_url is given.

    gpu_ids: UUIDs (or NVML indices) of the GPUs that serve; empty finds out, or takes all. dcgm_interval_s: how often
    the exporter collects. metrics_url: the server's metrics, if not at its usual path. idle_s: how long the idle power
    is measured before the first point; None chooses. constant_kw: the power of all GPUs, where nothing measures.
    """

    gpu: Literal["auto", "nvml", "dcgm", "off"] = "auto"
    gpu_hz: float = Field(default=1.0, gt=0, le=10)
    gpu_ids: tuple[str, ...] = ()
    dcgm_url: str | None = None
    dcgm_interval_s: float = Field(default=30.0, gt=0)
    server_metrics: bool = True
    server_hz: float = Field(default=1.0, gt=0, le=10)
    metrics_url: str | None = None
    idle_s: float | None = Field(default=None, ge=0)
    constant_kw: float | None = Field(default=None, gt=0)

    @field_validator("dcgm_url", "metrics_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else url_without_user(value)


class SweepSpec(StrictModel):
    """Everything that decides what a sweep does; saved word for word in the manifest."""

    server: ServerSpec
    workload: WorkloadSpec = WorkloadSpec()
    load: LoadSpec = LoadSpec()
    timeouts: TimeoutSpec = TimeoutSpec()
    price: PriceSpec = PriceSpec()
    telemetry: TelemetrySpec = TelemetrySpec()
    slo: str = PAPER_SLO

    @field_validator("slo")
    @classmethod
    def _slo(cls, value: str) -> str:
        try:
            parse_slo(value)
        except SloError as error:
            raise ValueError(f"{error.what} ({error.given}); expected {error.expected}") from None
        return value

    @property
    def limits(self) -> Slo:
        """The parsed SLO."""
        return parse_slo(self.slo)
