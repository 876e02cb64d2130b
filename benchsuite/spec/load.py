"""The request set, how it is sent, and when a request is given up."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator

from benchsuite.strict_model import StrictModel

DriverName = Literal["wire", "httpx", "httpx-shared", "openai"]
DEFAULT_LEVELS = (8, 16, 32, 48, 64, 128)


class WorkloadSpec(StrictModel):
    """The request set. source: 'wineval' (generated) or a JSONL file."""

    source: str = "wineval"
    requests: int | None = Field(default=None, ge=1)
    max_output_tokens: int | None = Field(default=None, ge=1)
    fixed_length: bool = False
    cache_bust: Literal["auto", "field", "prompt", "off"] = "auto"
    save_text: bool = False


class LoadSpec(StrictModel):
    """How the set is sent. warmup_*, cooldown_*: None lets benchsuite choose (docs/METHODS.md, Protocol).

    max_errors: how many requests of a point may fail, a number or a share such as "5%" of the set, before the point is
    given up; None: any number. server_wait_s: how long a server that is gone may take to come back.
    """

    concurrency: tuple[int, ...] = DEFAULT_LEVELS
    repeats: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    warmup_requests: int | None = Field(default=None, ge=0)
    warmup_min_s: float | None = Field(default=None, ge=0)
    cooldown_min_s: float | None = Field(default=None, ge=0)
    cooldown_max_s: float = Field(default=300.0, ge=0)
    workers: int | Literal["auto"] = 1
    driver: DriverName = "wire"
    max_rps: float | None = Field(default=None, gt=0)
    kernel_stamps: bool = True
    max_errors: int | str | None = None
    server_wait_s: float = Field(default=60.0, ge=0)

    @field_validator("max_errors")
    @classmethod
    def _max_errors(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, str) and value.isascii() and value.isdigit():
            return int(value)
        if isinstance(value, str):
            share = _share(value)
            if share is None or not 0 <= share <= 1:
                raise ValueError("a number of requests, or a share of them such as 5%")
        elif value is not None and value < 0:
            raise ValueError("a number of requests is not negative")
        return value

    def error_limit(self, n_requests: int) -> int | None:
        """How many of `n_requests` may fail; None: any number."""
        if isinstance(self.max_errors, str):
            return math.floor((_share(self.max_errors) or 0.0) * n_requests + 1e-9)
        return self.max_errors

    @field_validator("workers")
    @classmethod
    def _workers(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("at least one worker, or auto")
        return value

    @property
    def n_workers(self) -> int:
        """The measuring processes: as asked, or one for every 64 virtual users of the highest level."""
        return self.workers if isinstance(self.workers, int) else 1 + (max(self.concurrency) - 1) // 64

    @field_validator("concurrency", mode="before")
    @classmethod
    def _levels(cls, value: Any) -> Any:
        levels = list(value) if isinstance(value, list | tuple) else [value]
        for level in levels:
            if isinstance(level, bool) or not isinstance(level, int) or level < 1:
                raise ValueError(f"a concurrency level is a whole number of at least 1, not {level!r}")
        if not levels:
            raise ValueError("at least one concurrency level")
        if len(set(levels)) != len(levels):
            raise ValueError("a concurrency level appears twice")
        return tuple(sorted(levels))


def _share(text: str) -> float | None:
    """The ratio that a percentage says: 0.05 for "5%". None if it is none."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else None
    except ValueError:
        return None


class TimeoutSpec(StrictModel):
    """When a request is given up: connecting, without a token, without any byte, in all (seconds).

    first_token_s: None takes idle_s.
    """

    connect_s: float = Field(default=10.0, gt=0)
    first_token_s: float | None = Field(default=None, gt=0)
    idle_s: float = Field(default=300.0, gt=0)
    request_s: float = Field(default=1800.0, gt=0)
