"""What is asked for: a sweep's specification. One frozen value; nobody edits it, overrides make a new one.

From TOML plus flags, checked as a whole: every mistake is named at once, with a suggestion for a mistyped key.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from benchsuite.errors import SloError
from benchsuite.servers import PROFILES
from benchsuite.slo import PAPER_SLO, Slo, parse_slo
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


if TYPE_CHECKING:
    ProfileName = str
else:
    ProfileName = Literal["auto", *PROFILES]
_SECRET = re.compile(
    r"(?i)(x[-_])?(api[-_]?key|authorization|(access|auth|bearer|secret)[-_]?(key|token)|password|secret)"
)
_HOST = re.compile(r"[\w.-]+:\d{1,5}(/v1)?/?", re.ASCII)


class FallbackSpec(StrictModel):
    """A paid API that takes what the own servers refuse.

    on: which refusals go there: HTTP 429 (and an overload told in a stream), 503, or a queue of the own server longer
    than max_waiting. Left out: 429 and 503, and the queue if max_waiting is given. usd_per_1m_*: its list prices, None
    if not known. extra_body: None sends the own server's.
    """

    base_url: str
    model: str
    api_key_env: str = "FALLBACK_API_KEY"
    api_key_file: str | None = None
    usd_per_1m_input: float | None = Field(default=None, ge=0)
    usd_per_1m_output: float | None = Field(default=None, ge=0)
    on: tuple[Literal["429", "503", "queue"], ...] = ("429", "503")
    max_waiting: int | None = Field(default=None, ge=0)
    extra_body: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _queue_where_limited(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("max_waiting") is not None and "on" not in value:
            return value | {"on": ("429", "503", "queue")}
        return value

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        return _checked_url(value)

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        return _checked_variable(value)

    @field_validator("on", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return tuple(str(word) for word in value) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _whole(self) -> FallbackSpec:
        if not self.on:
            raise ValueError("on names nothing; expected some of 429, 503, queue")
        if ("queue" in self.on) != (self.max_waiting is not None):
            raise ValueError("the reason queue (--fallback-on) and max_waiting (--fallback-max-waiting) go together")
        if (self.usd_per_1m_input is None) != (self.usd_per_1m_output is None):
            raise ValueError("give both usd_per_1m_input and usd_per_1m_output, or neither")
        return self


class ServerSpec(StrictModel):
    """The server under test, or several of the same: base_url is the first, more_base_urls are the others.

    base_url may be given as a list of all of them. fallback: an API for what they refuse.
    """

    base_url: str
    more_base_urls: tuple[str, ...] = ()
    model: str | None = None
    profile: ProfileName = "auto"
    endpoint: Literal["chat", "completions", "native"] = "chat"
    stream: bool = True
    api_key_env: str = "OPENAI_API_KEY"
    api_key_file: str | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)
    insecure: bool = False
    fallback: FallbackSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        urls = value.get("base_url") if isinstance(value, dict) else None
        if not isinstance(urls, list | tuple):
            return value
        if not urls:
            raise ValueError("base_url is an empty list; expected at least one URL")
        if value.get("more_base_urls"):
            raise ValueError("give all URLs in base_url, or the others in more_base_urls, not both")
        return value | {"base_url": urls[0], "more_base_urls": tuple(urls[1:])}

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        return _checked_url(value)

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        return _checked_variable(value)

    @field_validator("more_base_urls")
    @classmethod
    def _urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_url(url) for url in value)

    @model_validator(mode="after")
    def _no_secrets(self) -> ServerSpec:
        bodies = [self.extra_body, (self.fallback.extra_body if self.fallback else None) or {}]
        name = next((found for body in bodies if (found := _secret_in(body))), None)
        if name:
            raise ValueError(
                f"extra_body has {name!r}, which names a secret, and extra_body is written into the run folder; "
                "put the key into the environment (api_key_env) or a file (api_key_file)"
            )
        return self

    @model_validator(mode="after")
    def _each_once(self) -> ServerSpec:
        urls = [*self.base_urls, *([self.fallback.base_url] if self.fallback else [])]
        twice = [url for i, url in enumerate(urls) if url in urls[:i]]
        if twice:
            raise ValueError(f"{twice[0]} appears twice among the base URLs (base_url, more_base_urls, fallback)")
        return self

    @property
    def base_urls(self) -> tuple[str, ...]:
        """All own servers."""
        return (self.base_url, *self.more_base_urls)


def _secret_in(tree: Any, depth: int = 0) -> str | None:
    """The first key of plain data that names a secret."""
    if isinstance(tree, list) and depth < 20:
        return next((found for item in tree if (found := _secret_in(item, depth + 1))), None)
    if not isinstance(tree, dict) or depth >= 20:
        return None
    named = next((str(key) for key in tree if _SECRET.fullmatch(str(key))), None)
    return named or next((found for item in tree.values() if (found := _secret_in(item, depth + 1))), None)


def _checked_variable(value: str) -> str:
    """The name of an environment variable, or "" for none. A key put here would get into the run folder."""
    if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", value):
        raise ValueError("expected the name of the environment variable that holds the key, not the key itself")
    return value


def url_without_user(value: str) -> str:
    """A URL as it is. Raises ValueError if it carries a user or a password: URLs are written into the run folder."""
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}") from None
    if parts.username or parts.password:
        raise ValueError("this URL must carry no user or password: it is written into the run folder")
    return value


def _checked_url(value: str) -> str:
    form = "expected http://HOST[:PORT] or https://HOST[:PORT], with or without /v1"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{form}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(form + (f"; did you mean http://{value}?" if _HOST.fullmatch(value) else ""))
    if not value.isascii() or not value.isprintable() or " " in value or parts.query or parts.fragment:
        raise ValueError(form + "; without spaces, ? or #")
    if parts.username or parts.password:
        raise ValueError("a base URL carries no user or password; put an API key in the environment")
    return value.rstrip("/").removesuffix("/v1")


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
