"""[find] of a sweep.toml: how `benchsuite find` looks for the cheapest level that meets the SLO."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, field_validator, model_validator

from benchsuite.level import LEAST_RATE, MOST_RATE, LevelKind
from benchsuite.strict_model import MOST_ITEMS, MOST_S, PERCENT, StrictModel, key


def _share(value: Any) -> Any:
    """'5%' as 0.05, and '0.05' of a flag."""
    if isinstance(value, str) and re.fullmatch(PERCENT, value):
        return float(value.removesuffix("%")) / 100
    return float(value) if isinstance(value, str) and re.fullmatch(r"0?\.\d{1,9}", value, re.ASCII) else value


if TYPE_CHECKING:
    Share = float
else:
    Share = Annotated[float | str, BeforeValidator(_share)]


class FindSpec(StrictModel, flags="--"):
    """How `benchsuite find` looks for the cheapest level that meets the SLO (docs/METHODS.md, Search)."""

    variable: LevelKind = key("concurrency", "what is varied")
    low: float | None = key(None, "lowest level that is allowed", unset="1; of rates 0.1", example=1)
    high: float | None = key(
        None, "highest level that is allowed", unset="1024, or twice the server's slots", example=256
    )
    start: float | None = key(
        None, "first level", unset="32, or the server's slots if fewer; of rates 0.7 of what these users do", example=16
    )
    tolerance: Share = key(0.05, "how near each other the ends of the bracket may lie, 0.05 or 5%")
    slack: Share = key(0.05, "how much dearer than the cheapest level that meets the SLO the answer may be")
    confidence: Share = key(0.95, "probability of that, at which the search ends")
    budget_min: float = key(20.0, "minutes of probes at most", gt=0, le=MOST_S / 60)
    budget_usd: float | None = key(None, "dollars of probes at most", unset="no limit", example=2.0, gt=0)

    @field_validator("tolerance", "slack", "confidence")
    @classmethod
    def _shares(cls, value: Any, info: ValidationInfo) -> Any:
        low, high = (0.5, 0.9999) if info.field_name == "confidence" else (0.005, 0.5)
        if not isinstance(value, float) or not low <= value <= high:
            raise ValueError(f"expected a share from {low:g} to {high:g}, such as {'95%' if low == 0.5 else '5%'}")
        return value

    @model_validator(mode="after")
    def _levels(self) -> FindSpec:
        given = {name: level for name in ("low", "start", "high") if (level := getattr(self, name)) is not None}
        users, least, most = self.variable == "concurrency", *self.range
        for name, level in given.items():
            if users and not (level == int(level) and 1 <= level <= MOST_ITEMS):
                raise ValueError(f"{name}: a concurrency level is a whole number of at least 1, not {level:g}")
            if not users and not LEAST_RATE <= level <= MOST_RATE:
                raise ValueError(f"{name}: a rate is a number from {LEAST_RATE} to {MOST_RATE:,} requests/s")
        if not least < most or not least <= (self.start or least) <= most:
            start = "" if self.start is None else f", start {self.start:g}"
            raise ValueError(f"expected low < high, and start between them (given low {least:g}, high {most:g}{start})")
        return self

    @property
    def range(self) -> tuple[float, float]:
        """The levels that are allowed, as far as they are known without the server."""
        low = (1.0 if self.variable == "concurrency" else 0.1) if self.low is None else self.low
        return low, max(1024.0, 2 * low) if self.high is None else self.high


# keys that a search has no use for, and what it has instead
NOT_OF_A_SEARCH = {
    "load.concurrency": "find.low, find.high and find.start (--low, --high, --start)",
    "load.rate": 'find.variable = "rate" (--variable rate), with find.low, find.high and find.start',
    "load.repeats": "find.confidence (--confidence): a level is measured as often as that takes",
    "load.warmup_requests": "nothing: what runs before N requests of a probe have ended is left out",
    "load.warmup_min_s": "nothing: what runs before N requests of a probe have ended is left out",
    "load.cooldown_min_s": "nothing: the server is not drained between probes",
    "load.max_request_rate": 'find.variable = "rate" (--variable rate)',
    "load.max_errors": "a limit in the SLO, such as error_rate<5%; without one a level with more than 1% is out",
    "telemetry.idle_power_s": "nothing: no idle power is measured",
    "server.fallback": "nothing: it knows one price, that of the GPUs",
    "arrivals.rate_profile": "constant rates alone",
    "arrivals.tail": "nothing: the server is not drained between probes",
    "arrivals.tail_max_s": "nothing: the server is not drained between probes",
    "arrivals.past_saturation": "nothing: a rate that saturates has missed the SLO",
    "arrivals.replay": "constant rates alone; `benchsuite sweep --replay` has it",
    "arrivals.speed": "constant rates alone; `benchsuite sweep --replay` has it",
    "arrivals.from_s": "constant rates alone; `benchsuite sweep --replay` has it",
    "arrivals.to_s": "constant rates alone; `benchsuite sweep --replay` has it",
}
