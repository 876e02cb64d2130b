"""What an hour costs, rented or owned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from benchsuite.strict_model import StrictModel


class OwnedSpec(StrictModel):
    """GPUs that were bought: what one costs an hour, by economics.hourly.Ownership, whose names these are.

    power_kw: of one GPU at work; None takes what is measured at each level. electricity_per_kwh, in `currency`: None
    takes price.usd_per_kwh. pue: None takes price.pue. idle_kw: None in mode full takes what was measured.
    """

    purchase_price: float = Field(ge=0)
    years: float = Field(gt=0)
    power_kw: float | None = Field(default=None, ge=0)
    electricity_per_kwh: float | None = Field(default=None, ge=0)
    currency: str = "USD"
    fx_per_usd: float = Field(default=1.0, gt=0)
    utilisation: float = Field(default=1.0, gt=0, le=1)
    pue: float | None = Field(default=None, ge=1)
    maintenance_ratio: float = Field(default=0.03, ge=0, le=1)
    idle_kw: float | None = Field(default=None, ge=0)
    salvage: float | None = Field(default=None, ge=0)
    hosting_per_hour: float | None = Field(default=None, ge=0)
    mode: Literal["eq5", "note", "full"] | None = None


class PriceSpec(StrictModel):
    """What an hour costs: usd_per_hour for one GPU, a bundled preset, or `owned`; times gpus.

    usd_per_kwh, pue (power usage effectiveness), gco2_per_kwh: what measured energy costs and emits. A rented hour has
    its electricity in it: nothing is added to it.
    """

    usd_per_hour: float | None = Field(default=None, ge=0)
    preset: str | None = None
    owned: OwnedSpec | None = None
    gpus: int = Field(default=1, ge=1)
    usd_per_kwh: float | None = Field(default=None, ge=0)
    pue: float = Field(default=1.0, ge=1)
    gco2_per_kwh: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_of(self) -> PriceSpec:
        if self.usd_per_hour is not None and self.preset is not None:
            raise ValueError("give usd_per_hour or preset, not both")
        if self.owned is not None and (self.usd_per_hour is not None or self.preset is not None):
            raise ValueError("give usd_per_hour, preset or owned, one of them")
        if self.owned is not None and self.owned.electricity_per_kwh is None and self.usd_per_kwh is None:
            raise ValueError("owned GPUs need the price of electricity: usd_per_kwh, or owned.electricity_per_kwh")
        if self.owned is not None and self.owned.electricity_per_kwh is not None and self.usd_per_kwh is not None:
            raise ValueError("give usd_per_kwh or owned.electricity_per_kwh, not both")
        return self
