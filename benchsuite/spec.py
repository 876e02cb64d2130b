"""What is asked for: a sweep's specification. One frozen value; nobody edits it, overrides make a new one.

Every key stands here once, with its default, meaning, flag, example and check. The flags of `benchsuite sweep` and its
--help (cli/flags.json), the commented sweep.toml, --print-spec and the JSON schema (cli/spec_file.py) come from here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from benchsuite.base_url import BaseUrl, MetricsUrl, route_of
from benchsuite.errors import SloError, SpecError, user_path
from benchsuite.find_spec import NOT_OF_A_SEARCH, FindSpec
from benchsuite.level import LEAST_RATE, MOST_RATE, Level, in_ratios
from benchsuite.limits import KIB, MIB, most
from benchsuite.load.arrivals import table_profile
from benchsuite.metrics import METRICS, STATS
from benchsuite.request_spec import (
    GENERATED,
    ArrivalSpec,
    ExtraBody,
    Headers,
    Query,
    Route,
    SamplingSpec,
    WorkloadSpec,
    read_named_files,
)
from benchsuite.servers import PROFILES
from benchsuite.slo import PAPER_SLO, RATE_SLO, Slo, parse_goodput
from benchsuite.strict_model import (
    MOST_COUNT,
    MOST_ITEMS,
    MOST_S,
    PERCENT,
    FirstMistake,
    StrictModel,
    key,
    read_tables,
    read_text,
    table_in,
    validated,
)


def _variable(value: str) -> str:
    """The name of an environment variable, or "" for none. A key put here would get into the run folder."""
    if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", value):
        raise ValueError("expected the name of the environment variable that holds the key, not the key itself")
    return value


Variable = Annotated[str, AfterValidator(_variable)]
if TYPE_CHECKING:
    ProfileName = str
else:
    ProfileName = Literal["auto", *PROFILES]
DriverName = Literal["wire", "httpx", "httpx-shared", "openai"]
DEFAULT_LEVELS = (8, 16, 32, 48, 64, 128)
_MOST_WORKERS = 256


class FallbackSpec(StrictModel, flags="--fallback-"):
    """A paid API that takes what the server refuses."""

    base_url: BaseUrl = key(
        ...,
        "API for requests that the server refuses",
        "--fallback-url",
        example="https://api.example.com",
        outside=True,
    )
    model: str = key(..., "model, as the API names it", example="big-model")
    api_key_env: Variable = key("FALLBACK_API_KEY", "variable with its key", outside=True)
    api_key_file: str | None = key(None, "file with its key, instead", outside=True)
    usd_per_1m_input: float | None = key(None, "its list price of input tokens", example=0.5, ge=0)
    usd_per_1m_output: float | None = key(None, "its list price of output tokens", example=1.5, ge=0)
    on: Annotated[tuple[Literal["429", "503", "queue"], ...], FirstMistake()] = key(
        ("429", "503"),
        "which refusals go there (429 includes an overload reported within a stream)",
        unset="429,503; with max_waiting queue too",
        example=["429", "503", "queue"],
    )
    max_waiting: int | None = key(
        None, "longest queue of the server before new requests go there", example=8, ge=0, le=MOST_COUNT
    )
    headers: Headers = key(
        {},
        "header of its requests, as for the server",
        "--fallback-header",
        example={"x-title": "load test"},
        outside=True,
    )
    query: Query = key({}, "query parameter of their URL", example={"api-version": "2024-10-21"}, outside=True)
    extra_body: ExtraBody | None = key(
        None, "fields of their bodies: JSON, or @FILE that holds it", unset="the server's"
    )

    @model_validator(mode="before")
    @classmethod
    def _on(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        on = value.get("on", ("429", "503") if value.get("max_waiting") is None else ("429", "503", "queue"))
        return value | {"on": tuple(str(word) for word in on) if isinstance(on, list | tuple) else on}

    @model_validator(mode="after")
    def _whole(self) -> FallbackSpec:
        if not self.on:
            raise ValueError("on names nothing; expected some of 429, 503, queue")
        if ("queue" in self.on) != (self.max_waiting is not None):
            raise ValueError("the reason queue (--fallback-on) and max_waiting (--fallback-max-waiting) go together")
        if (self.usd_per_1m_input is None) != (self.usd_per_1m_output is None):
            raise ValueError("give both usd_per_1m_input and usd_per_1m_output, or neither")
        return self


class ServerSpec(StrictModel, flags="--"):
    """The server under test, or several of the same. base_url may be given as a list of all of them."""

    base_url: Annotated[BaseUrl, WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}})] = key(
        ...,
        "server, with or without its version (/v1), or a whole .../chat/completions; replicas: a list, or "
        "the flag more than once",
        unset="$OPENAI_BASE_URL",
        example="http://127.0.0.1:8000",
        outside=True,
    )
    more_base_urls: Annotated[tuple[BaseUrl, ...], FirstMistake()] = key(
        (), "further servers of the same model; or a list in base_url", "", outside=True
    )
    model: str | None = key(
        None, "model, as the server names it", unset="the only one that it lists", example="my-model"
    )
    profile: ProfileName = key("auto", "kind of server")
    endpoint: Literal["chat", "completions", "native"] = key("chat", "API of the server")
    stream: bool = key(True, "stream the tokens", "--stream/--no-stream")
    api_key_env: Variable = key(
        "OPENAI_API_KEY", "name of the variable with the API key; the key itself is never stored", outside=True
    )
    api_key_file: str | None = key(None, "file with the API key, instead", outside=True)
    headers: Headers = key(
        {},
        "header of every request: NAME=VALUE, or NAME=env:VARIABLE or NAME=file:PATH for a secret, which is never "
        "stored; repeatable",
        "--header",
        example={"api-key": "env:AZURE_KEY"},
        outside=True,
    )
    query: Query = key(
        {},
        "query parameter of every URL: NAME=VALUE, or as --header",
        example={"api-version": "2024-10-21"},
        outside=True,
    )
    path: Route | None = key(
        None,
        "route of a request below the base URL",
        unset="the endpoint's",
        example="/serve/chat/completions",
        outside=True,
    )
    extra_body: ExtraBody = key(
        {},
        "fields of every request's body: JSON, or @FILE that holds it; they override all other flags",
        example={"min_p": 0.1},
    )
    insecure: bool = key(False, "do not verify the server's TLS certificate", outside=True)
    fallback: FallbackSpec | None = key(None, "optional: a paid API for what the server refuses")

    @model_validator(mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        urls = value.get("base_url") if isinstance(value, dict) else None
        for url in urls if isinstance(urls, list | tuple) else [urls]:
            route, endpoint = route_of(url)
            if route and value.get("endpoint", endpoint) != endpoint:
                raise ValueError(f"base_url ends with {route}, and endpoint is {value['endpoint']}, not {endpoint}")
            value = value | {"endpoint": endpoint} if route else value
        if not isinstance(urls, list | tuple):
            return value
        if not urls:
            raise ValueError("base_url is an empty list; expected at least one URL")
        if value.get("more_base_urls"):
            raise ValueError("give all URLs in base_url, or the others in more_base_urls, not both")
        return value | {"base_url": urls[0], "more_base_urls": tuple(urls[1:])}

    @model_validator(mode="after")
    def _whole(self) -> ServerSpec:
        for url, query in [(url, self.query) for url in self.base_urls] + (
            [(self.fallback.base_url, self.fallback.query)] if self.fallback else []
        ):
            if twice := query.keys() & dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)).keys():
                raise ValueError(f"query {', '.join(sorted(twice))} is given in the base URL and in query (--query)")
        urls = [*self.base_urls, *([self.fallback.base_url] if self.fallback else [])]
        for i, url in enumerate(urls):
            if url in urls[:i]:
                raise ValueError(f"{url} appears twice among the base URLs (base_url, more_base_urls, fallback)")
        return self

    @property
    def base_urls(self) -> tuple[str, ...]:
        return (self.base_url, *self.more_base_urls)


class LoadSpec(StrictModel, flags="--"):
    """How the set is sent (docs/METHODS.md, Protocol)."""

    rate: tuple[float, ...] | None = key(
        None, "requests per second of an open loop, in place of concurrency, such as 1,2,4 or 1:16:5 (from 1 to 16, "
        "five in equal ratios)", unset="a closed loop",
    )  # fmt: skip
    concurrency: tuple[int, ...] = key(DEFAULT_LEVELS, "concurrency levels, such as 8,16,32 or 1:64:7")
    repeats: int = key(1, "times that each level is measured", ge=1, le=1000)
    random_seed: int = key(0, "seed of the set, its order and the levels' order", ge=0, lt=2**63)
    warmup_requests: int | None = key(
        None, "warm-up requests, discarded before each point", unset="max(2N, 64)", example=64, ge=0, le=MOST_COUNT
    )
    warmup_min_s: float | None = key(
        None, "minimum warm-up", unset="30 for sets of 1000 or more, else 0", example=30.0, ge=0, le=MOST_S
    )
    cooldown_min_s: float | None = key(
        None, "minimum pause before each point", unset="as warmup_min_s", example=30.0, ge=0, le=MOST_S
    )
    cooldown_max_s: float = key(300.0, "longest wait for the server's queue to empty", "", ge=0, le=MOST_S)
    workers: int | Literal["auto"] = key(1, "measuring processes, or auto")
    driver: DriverName = key("wire", "the measuring client; all but wire are for cross-checks")
    max_request_rate: float | None = key(
        None, "maximum requests per second", unset="no limit", example=10.0, ge=0.001, le=MOST_ITEMS
    )
    kernel_timestamps: bool = key(True, "receive times from the kernel, where it has them", "")
    max_errors: int | str | None = key(
        None, "failed requests, a number or 5% of the set, above which a level is aborted", unset="any", example="5%"
    )
    server_recovery_timeout_s: float = key(
        float(most("recovery_s")), "how long to wait for a server that is down", ge=0, le=MOST_S
    )

    @field_validator("max_errors")
    @classmethod
    def _max_errors(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        text_of_none = isinstance(value, str) and not re.fullmatch(PERCENT, value)
        if text_of_none or (isinstance(value, int) and not 0 <= value <= MOST_COUNT):
            raise ValueError("a number of requests, or a share of them such as 5%")
        return value

    def error_limit(self, n_requests: int) -> int | None:
        """How many of `n_requests` may fail; None: any number."""
        if isinstance(self.max_errors, str):
            return math.floor(float(self.max_errors.removesuffix("%")) / 100 * n_requests + 1e-9)
        return self.max_errors

    @field_validator("workers")
    @classmethod
    def _workers(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= _MOST_WORKERS:
            raise ValueError(f"1 to {_MOST_WORKERS} workers, or auto")
        return value

    @property
    def levels(self) -> tuple[Level, ...]:
        if self.rate is not None:
            return tuple(Level(rate, "rate") for rate in self.rate)
        return tuple(Level(users) for users in self.concurrency)

    @property
    def n_workers(self) -> int:
        """The measuring processes: as asked, or one for every 64 virtual users, or 200 requests/s, of the highest."""
        if isinstance(self.workers, int):
            return self.workers
        return (
            1 + (max(self.concurrency, default=256) - 1) // 64 if self.rate is None else 1 + int(max(self.rate) / 200)
        )

    @model_validator(mode="before")
    @classmethod
    def _either(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("rate") is not None:
            if tree.get("concurrency"):
                raise ValueError("rate: a sweep has rates (open loop) or concurrency levels (closed loop), not both")
            if tree.get("max_request_rate") is not None:
                raise ValueError("max_request_rate: caps a closed loop; an open loop has its rate")
            return tree | {"concurrency": ()}
        return tree

    @field_validator("rate", mode="before", json_schema_input_type=float | str | list[float | str])
    @classmethod
    def _rates(cls, value: Any) -> Any:
        if value is None:
            return None
        rates = in_ratios(value)
        for rate in rates:
            if type(rate) not in (int, float) or not LEAST_RATE <= rate <= MOST_RATE:
                raise ValueError(f"a rate is a number from {LEAST_RATE} to {MOST_RATE:,} requests/s, not {rate!r}")
        if not rates or len({f"{rate:g}" for rate in rates}) != len(rates):  # as points are named
            raise ValueError("expected at least one rate, and no rate twice, to six digits")
        return tuple(sorted(map(float, rates)))

    @field_validator("concurrency", mode="before", json_schema_input_type=int | str | list[int | str])
    @classmethod
    def _levels(cls, value: Any) -> Any:
        if value == ():  # of rates, and of a search
            return value
        levels = in_ratios(value, whole=True)
        for level in levels:
            if type(level) is int and level > MOST_ITEMS:
                raise ValueError(f"a concurrency level is at most {MOST_ITEMS}")
            if type(level) is not int or level < 1:
                raise ValueError(f"a concurrency level is a whole number of at least 1, not {level!r}")
        if not levels or len(set(levels)) != len(levels):
            raise ValueError("expected at least one concurrency level, and no level twice")
        return tuple(sorted(levels))


class TimeoutSpec(StrictModel, flags="--"):
    """When a request is given up."""

    connect_s: float = key(
        float(most("connect_s")), "longest time for a connection", "--connect-timeout-s", gt=0, le=MOST_S
    )
    first_token_s: float | None = key(
        None,
        "longest wait for the first token",
        "--first-token-timeout-s",
        unset="as idle_s",
        example=120.0,
        gt=0,
        le=MOST_S,
    )
    idle_s: float = key(float(most("idle_s")), "longest wait for a further byte", "--idle-timeout-s", gt=0, le=MOST_S)
    request_s: float = key(
        float(most("request_s")), "longest time for a whole request", "--request-timeout-s", gt=0, le=MOST_S
    )


class ResponseSpec(StrictModel):
    """How much of a server's responses is taken (limits.py has all limits)."""

    max_mib: int = key(most("response_bytes") // MIB, "longest response", ge=1, le=1024)
    held_mib: int = key(most("held_bytes") // MIB, "all responses of a process that are not rows yet", ge=1, le=65536)
    header_kib: int = key(most("header_bytes") // KIB, "headers of a response", ge=1, le=1024)
    event_mib: int = key(most("event_bytes") // MIB, "one JSON text of a response", ge=1, le=1024)
    event_values: int = key(most("event_values"), "commas, colons, brackets and escapes in it", ge=1, le=10**9)


CostMode = Literal["eq5", "note", "full"]


class OwnedSpec(StrictModel):
    """GPUs that were bought: what one costs an hour, by economics.gpu_hour. Money is in `currency`."""

    purchase_price: float = key(..., "of one GPU, in currency", example=30000.0, ge=0)
    years: float = key(..., "of use", example=4.0, gt=0)
    power_kw: float | None = key(None, "of one GPU under load", unset="as measured at each level", example=0.7, ge=0)
    electricity_per_kwh: float | None = key(None, "in currency", unset="price.usd_per_kwh", example=0.2, ge=0)
    currency: str = key("USD", "of these prices")
    currency_per_usd: float = key(1.0, "exchange rate: currency units per US dollar", gt=0)
    utilisation: float = key(1.0, "share of its life at work, 0 to 1", gt=0, le=1)
    pue: float | None = key(None, "power usage effectiveness (PUE)", unset="price.pue", example=1.3, ge=1)
    maintenance_ratio: float = key(0.03, "share of the purchase price per year", ge=0, le=1)
    idle_kw: float | None = key(
        None, "idle power of one GPU", unset="as measured in mode full, else none", example=0.1, ge=0
    )
    salvage: float | None = key(None, "resale value at the end, in currency", unset="nothing", ge=0)
    hosting_per_hour: float | None = key(None, "in currency", unset="nothing", ge=0)
    mode: CostMode | None = key(
        None, "how idle hours are paid (docs/METHODS.md, Cost)", unset="what the keys allow", example="full"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> OwnedSpec:
        for name in ("idle_kw", "salvage", "hosting_per_hour"):
            if getattr(self, name) is not None and self.mode in ("eq5", "note"):
                raise ValueError(f"{name}: mode {self.mode} leaves it out; mode full has it")
        if (self.salvage or 0.0) > self.purchase_price:
            raise ValueError("salvage: should be at most the purchase price")
        if (self.currency == "USD") != (self.currency_per_usd == 1):
            raise ValueError(f"currency_per_usd: {self.currency_per_usd:g} is no exchange rate of {self.currency}")
        return self


class PriceSpec(StrictModel, flags="--"):
    """What an hour costs: usd_per_hour for one GPU, a bundled preset, or `owned`; times gpus.

    A rented hour has its electricity in it: nothing is added to it.
    """

    usd_per_hour: float | None = key(None, "price of one GPU-hour", example=1.99, ge=0)
    preset: str | None = key(None, "a bundled price instead; see `benchsuite cost --list-presets`", example="h100-low")
    owned: OwnedSpec | None = key(None, "instead of a price: owned GPUs")
    gpus: int = key(1, "GPUs that serve the model, all servers together", ge=1, le=MOST_COUNT)
    usd_per_kwh: float | None = key(
        None, "price of electricity, for measured energy", unset="not known", example=0.2, ge=0
    )
    pue: float = key(1.0, "power usage effectiveness: energy at the wall per energy of GPUs", ge=1)
    gco2_per_kwh: float | None = key(
        None, "carbon intensity of the grid, grams a kWh", unset="not known", example=380.0, ge=0
    )

    @model_validator(mode="after")
    def _one_of(self) -> PriceSpec:
        if sum(price is not None for price in (self.usd_per_hour, self.preset, self.owned)) > 1:
            raise ValueError("give usd_per_hour, preset or owned, one of them")
        if self.owned is not None and (self.owned.electricity_per_kwh is None) == (self.usd_per_kwh is None):
            raise ValueError("owned GPUs need one price of electricity: usd_per_kwh, or owned.electricity_per_kwh")
        return self


class TelemetrySpec(StrictModel, flags="--"):
    """What is recorded during the sweep. gpu: auto takes NVML where the driver is, else DCGM if dcgm_url is given."""

    gpu: Literal["auto", "nvml", "dcgm", "off"] = key("auto", "how GPUs are sampled")
    gpu_sample_hz: float = key(1.0, "samples of a GPU a second", ge=0.001, le=10)
    gpu_ids: Annotated[tuple[str, ...], FirstMistake()] = key(
        (), "GPUs that serve: UUIDs or driver indices", unset="those of the server, or all"
    )
    dcgm_url: MetricsUrl | None = key(
        None, "a DCGM exporter, for GPUs of another machine", example="http://127.0.0.1:9400/metrics", outside=True
    )
    dcgm_interval_s: float = key(30.0, "how often it collects", gt=0, le=MOST_S)
    server_metrics: bool = key(True, "sample the server's metrics", "--server-metrics/--no-server-metrics")
    server_sample_hz: float = key(1.0, "samples of the server's metrics a second", "", ge=0.001, le=10)
    metrics_url: MetricsUrl | None = key(
        None, "the server's metrics", unset="its /metrics", example="http://127.0.0.1:8000/metrics", outside=True
    )
    idle_power_s: float | None = key(
        None,
        "how long idle power is measured before the first point",
        unset="10, or 60 for 1000+",
        example=10.0,
        ge=0,
        le=MOST_S,
    )
    assumed_power_kw: float | None = key(None, "power of all GPUs, where nothing measures it", example=0.7, gt=0)


def _words(*, per_request: bool) -> str:
    return ", ".join(str(m.word) for m in METRICS.values() if m.limitable and m.per_request == per_request)


class SweepSpec(StrictModel, flags="--"):
    """Everything that decides what a sweep does; saved word for word in the manifest."""

    server: ServerSpec = key(..., "the server under test")
    # model_construct: a default that is validated would build its validator where the module is but imported
    workload: WorkloadSpec = key(WorkloadSpec.model_construct(), "the requests")
    sampling: SamplingSpec = key(SamplingSpec.model_construct(), "how the server chooses tokens")
    load: LoadSpec = key(LoadSpec.model_construct(), "how they are sent")
    arrivals: ArrivalSpec = key(ArrivalSpec.model_construct(), "when they are due, in an open loop")
    find: FindSpec | None = key(None, "optional, for `benchsuite find`: how the cheapest level is searched for")
    timeouts: TimeoutSpec = key(TimeoutSpec.model_construct(), "time limits of a request")
    response: ResponseSpec = key(ResponseSpec.model_construct(), "size limits of a response")
    price: PriceSpec = key(
        PriceSpec.model_construct(), "what an hour costs; without a price the shortest run counts as the cheapest"
    )
    telemetry: TelemetrySpec = key(TelemetrySpec.model_construct(), "what is recorded during the sweep")
    goodput: str | None = key(None, "limits for each request, for goodput and attainment", example="ttft<1s,tpot<50ms")
    slo: str = key(
        PAPER_SLO,
        f"limits that must hold: {_words(per_request=True)} with {' '.join(f'_{stat}' for stat in STATS)}; "
        f"{_words(per_request=False)}",
        unset=f"{PAPER_SLO}; of rates {RATE_SLO}",
    )

    @model_validator(mode="before")
    @classmethod
    def _slo_of_rates(cls, tree: Any) -> Any:
        """A rate has no users, so none could meet a limit on their speed."""
        if not isinstance(tree, dict) or tree.get("slo") is not None:
            return tree

        def given(table: str, name: str) -> Any:
            found = tree.get(table)
            return found.get(name) if isinstance(found, dict) else getattr(found, name, None)

        rates = given("load", "rate") or given("arrivals", "replay") or given("find", "variable") == "rate"
        return tree | {"slo": RATE_SLO} if rates else tree

    @model_validator(mode="before")
    @classmethod
    def _search_has_no_levels(cls, tree: Any) -> Any:
        load = tree.get("load") if isinstance(tree, dict) and tree.get("find") is not None else ...
        if load is None or (isinstance(load, dict) and not load.get("concurrency")):
            return tree | {"load": (load or {}) | {"concurrency": ()}}
        return tree

    @model_validator(mode="after")
    def _search(self) -> SweepSpec:
        for name, instead in NOT_OF_A_SEARCH.items() if self.find is not None else ():
            table, _, leaf = name.partition(".")
            value, default = getattr(getattr(self, table), leaf), type(getattr(self, table)).model_fields[leaf].default
            if value != (() if name == "load.concurrency" else default):
                raise ValueError(f"{name}: is of a sweep; leave it out, a search has {instead}")
        return self

    @field_validator("goodput", "slo")
    @classmethod
    def _slo(cls, value: str | None, info: ValidationInfo) -> str | None:
        try:
            if info.field_name == "goodput":
                _ = value and parse_goodput(value)
            else:
                Slo(()).override(value, info.data.get("goodput"))
        except SloError as error:
            raise ValueError(f"{error.what} ({error.given}); expected {error.expected}") from None
        return value

    @model_validator(mode="after")
    def _driver(self) -> SweepSpec:
        if self.load.driver == "openai" and (self.server.endpoint == "native" or self.server.fallback is not None):
            lacks = "neither supports a native route nor shows the responses that trigger a fallback"
            raise ValueError(f"load.driver: the openai client {lacks}; expected wire, httpx or httpx-shared")
        if self.load.driver == "openai" and not (self.server.path or "/completions").endswith("/completions"):
            raise ValueError(
                "load.driver: the openai client takes no server.path that ends otherwise than /completions"
            )
        chat_alone = self.sampling.fields.keys() & {"reasoning_effort", "chat_template_kwargs"}
        if self.server.endpoint == "completions" and chat_alone:
            raise ValueError(f"sampling.{min(chat_alone)}: text completions have none; expected --endpoint chat")
        return self

    @model_validator(mode="after")
    def _open_loop(self) -> SweepSpec:
        spec = self.arrivals
        given = [name for name, info in type(spec).model_fields.items() if getattr(spec, name) != info.default]
        rates = self.load.rate is not None or (self.find is not None and self.find.variable == "rate")
        if given and not rates and not spec.replay:
            raise ValueError(f"arrivals.{given[0]}: is of an open loop; expected load.rate (--rate) or --replay")
        n, most = self.load.n_workers, spec.max_in_flight
        if most is not None and most < n:
            raise ValueError(
                f"arrivals.max_in_flight: {most} for {n} measuring processes; expected {n} or more (--workers)"
            )
        return self

    @property
    def limits(self) -> Slo:
        return Slo(()).override(self.slo, self.goodput)

    @property
    def heaviest_load(self) -> LoadSpec:
        """Of a search one at its highest level alone; else the load as it is."""
        if self.find is None:
            return self.load
        high, users = self.find.range[1], self.find.variable == "concurrency"
        return self.load.model_copy(update={"concurrency": (int(high),)} if users else {"rate": (high,)})


OR_FILE = {"server.extra_body", "server.fallback.extra_body", "sampling.chat_template_kwargs", "sampling.system_prompt"}
_IF_MISSING = dict.fromkeys(("server", "server.base_url"), "--base-url URL")


def spec_keys(model: type[BaseModel] = SweepSpec, path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """(dotted key, field) of every key and table of the specification, as TOML wants them: keys before tables."""
    tables = {name: table for name, info in model.model_fields.items() if (table := table_in(info.annotation))}
    yield from ((path + name, info) for name, info in model.model_fields.items() if name not in tables)
    for name, table in tables.items():
        yield path + name, model.model_fields[name]
        yield from spec_keys(table, f"{path}{name}.")


def extra(info: FieldInfo, name: str) -> str | None:
    """What `spec.key` was given as "flag" or "default" (what holds where the key is left out)."""
    more = info.json_schema_extra
    return str(more[f"x-{name}"]) if isinstance(more, dict) and f"x-{name}" in more else None


@cache
def spec_flags() -> dict[str, tuple[str, FieldInfo]]:
    """(dotted key, field) that a flag sets, by the flag's name as a parameter: base_url -> server.base_url."""
    flagged = [(flag, key, info) for key, info in spec_keys() if (flag := extra(info, "flag"))]
    return {flag.split("/")[0].lstrip("-").replace("-", "_"): (key, info) for flag, key, info in flagged}


def named_outside(spec: SweepSpec) -> dict[str, tuple[str, ...]]:
    """What of a run's own specification leads out of its folder, as flags, by dotted key; defaults do not.

    Servers, files, and what decides which secret reaches them: a run folder is data, its user says these anew.
    """
    named: dict[str, tuple[str, ...]] = {}
    for name, info in spec_keys():
        value: Any = spec
        for step in name.split("."):
            value = getattr(value, step, None)
        harmless = (None, info.default, *(GENERATED if name == "workload.source" else ()))
        if not extra(info, "outside") or value in harmless:
            continue
        flag = extra(info, "flag") or "--base-url"  # of the further servers
        if isinstance(value, dict):
            value = [f"{key}={text}" for key, text in value.items()]
        values = value if isinstance(value, list | tuple) else (value,)
        named[name] = tuple(word for one in values for word in ((flag,) if one is True else (flag, str(one))))
    return named


def overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that flags set, as `load_spec` takes them, by the flags' names; others are left out, as is None."""
    keys = {key: given[name] for name, (key, _) in spec_flags().items() if given.get(name) not in (None, ())}
    if "server.base_url" in keys:  # the flag names all servers, whatever a file or a run named
        keys["server.more_base_urls"] = ()
    return keys


def _with_rate_table(profile: Any) -> dict[str, str]:
    """rate_profile with the rows of the file that `hours FILE.csv` names; nothing for what names no file."""
    kind, _, name = profile.strip().partition(" ") if isinstance(profile, str) else ("", "", "")
    if kind != "hours" or re.match(r"[\d.]+:", name.strip()):
        return {}
    path = user_path(name.strip())
    table = read_text(path, "the table of rates", expected="a CSV file of seconds,rate", error_type=SpecError)
    return {"rate_profile": table_profile(table, str(path))}


def load_spec(
    path: Path | None, keys: Mapping[str, Any], base: Mapping[str, Any] | None = None, *, search: bool = False
) -> SweepSpec:
    """The spec in `path` (TOML; None: `base`, or nothing) with `keys` on top: dotted keys, None means not given.

    search: with the table find, whether it is there or not. Where nothing names the server, OPENAI_BASE_URL does.
    Raises SpecError listing every mistake.
    """
    tree, where = read_tables("the spec", path, keys, base), str(path) if path else "flags"
    if search and tree.get("find") is None:
        tree["find"] = {}
    # a run's own specification holds texts: no run folder names a file to be sent
    given = {key for key in OR_FILE if keys.get(key) is not None}
    read_named_files(tree, OR_FILE if path or base is None else given)
    arrivals, named = tree.get("arrivals"), "arrivals.rate_profile"
    if isinstance(arrivals, dict) and (path or base is None or keys.get(named) is not None):
        tree["arrivals"] = arrivals | _with_rate_table(arrivals.get("rate_profile"))
    url, server = os.environ.get("OPENAI_BASE_URL"), tree.get("server", {})
    if url and isinstance(server, dict) and "base_url" not in server:
        tree["server"] = {**server, "base_url": url}
        where += ", and OPENAI_BASE_URL for base_url"
    return parse_spec(tree, where=where)


def parse_spec(tree: dict[str, Any], *, where: str) -> SweepSpec:
    """A SweepSpec from plain data. Raises SpecError listing every mistake."""
    expected = "the keys and types of `benchsuite schema`"
    return validated(SweepSpec, tree, "the sweep spec", where=where, expected=expected, if_missing=_IF_MISSING)
