"""The whole question of `benchsuite plan` as TOML or flags, and its answer. Reads no run itself: `judge` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field

from benchsuite.economics import demand as demands
from benchsuite.economics.demand import Demand
from benchsuite.economics.gpu_hour import hourly_cost
from benchsuite.economics.plan import TARGET_UTILIZATION, Api, Extras, Fleet, Own, Plan, plan
from benchsuite.economics.prices import AS_GIVEN, GENAI, ApiPrice, PriceBook, UsdPer1m, genai_price
from benchsuite.economics.replicas import Balancing
from benchsuite.errors import InputError, PriceError, SpecError, read_toml
from benchsuite.results import EvaluatedLevel
from benchsuite.strict_model import StrictModel, validated

SAMPLE = """\
# The question of `benchsuite plan --config plan.toml`: one demand, any number of candidates. Paths are from this file.
# slo = "ttft_p95<800ms"           # default: each run's own

[demand]                           # one of requests_per_day, tokens_per_month, users, demand_csv
requests_per_day = 50000
# tokens_per_month = 6e9           # input and output together
# users = 500                      # at once, at the peak; think_time_s between answer and next request
# demand_csv = "hours.csv"         # a column `requests`, a line an hour
peak_factor = 3.0                  # busiest hour of the day over the mean
# input_tokens = 1024              # of a request; default: as measured
# output_tokens = 128
# batch = true                     # nobody waits: flat round the clock
# growth = 0.5                     # a year; sized for the demand in in_months (12)

[fleet]
target_utilization = 0.8           # share of a replica's measured rate to use at the busiest hour
spare_replicas = 1
balancing = "least-connections"    # round-robin, random
hours_per_month = 730

[[candidate]]                      # a measured machine, rented
name = "two H100, rented"
run = "results/mine"
usd_per_hour = 1.99                # of one GPU; or preset = "h100-low"
gpus = 2
# reserved_usd_per_hour = 1.20     # a price for all hours: the cheapest split with on demand is worked out
# fixed_usd_per_month = 0.0        # staff, network, storage
# concurrency = 32                 # the level to run at; default: the recommended one

[[candidate]]                      # a table of levels instead of a run folder
name = "paper's machine"
levels_csv = "levels.csv"
model = "Qwen3-30B"
preset = "a800-owned"              # an owned preset: payback and present value are shown

[[candidate]]                      # an API, by its listed price
api = "openai/gpt-4o-mini"
# api_usd_per_1m = [0.15, 0.60]    # or input and output (and cached input) yourself
# cached_ratio = 0.3               # share of the input that it bills as cached

[extras]                           # on both sides
cache_hit_rate = 0.0               # of requests that a cache in front answers
# cache_hit_usd_per_1m = 0.0
# training_usd = 5000              # at the start, retrain_usd_per_year after it, over training_years
"""


class DemandTable(StrictModel):
    """What is asked of the fleet."""

    requests_per_day: float | None = Field(default=None, gt=0)
    tokens_per_month: float | None = Field(default=None, gt=0)
    users: float | None = Field(default=None, gt=0)
    think_time_s: float = Field(default=0.0, ge=0)
    demand_csv: str | None = None
    peak_factor: float | None = Field(default=None, ge=1)
    batch: bool = False
    input_tokens: float | None = Field(default=None, ge=0)
    output_tokens: float | None = Field(default=None, ge=0)
    input_ratio: float | None = Field(default=None, ge=0, le=1)
    growth: float | None = Field(default=None, gt=-1)
    in_months: float = Field(default=12.0, ge=0)


class FleetTable(StrictModel):
    """How replicas are used."""

    target_utilization: float = Field(default=TARGET_UTILIZATION, gt=0, le=1)
    spare_replicas: int | None = Field(default=None, ge=0)
    balancing: Balancing = "least-connections"
    hours_per_month: float = Field(default=730.0, ge=1, le=744)


class CandidateTable(StrictModel):
    """A machine (run, levels_csv, or capacity_per_s as stated) with its hour's price, or an API."""

    name: str | None = None
    run: str | None = None
    levels_csv: str | None = None
    model: str | None = None
    capacity_per_s: float | None = Field(default=None, gt=0)
    usd_per_hour: float | None = Field(default=None, ge=0)
    preset: str | None = None
    reserved_usd_per_hour: float | None = Field(default=None, ge=0)
    gpus: int | None = Field(default=None, ge=1)
    fixed_usd_per_month: float = Field(default=0.0, ge=0)
    concurrency: int | None = Field(default=None, ge=1)
    api: str | None = None
    api_usd_per_1m: tuple[UsdPer1m, ...] | None = Field(default=None, min_length=2, max_length=3)
    cached_ratio: float = Field(default=0.0, ge=0, le=1)


class ExtrasTable(StrictModel):
    """What applies to both sides."""

    cache_hit_rate: float = Field(default=0.0, ge=0, le=1)
    cache_hit_usd_per_1m: float = Field(default=0.0, ge=0)
    training_usd: float = Field(default=0.0, ge=0)
    retrain_usd_per_year: float = Field(default=0.0, ge=0)
    training_years: float = Field(default=1.0, ge=1 / 12)


class PlanFile(StrictModel):
    """The whole question."""

    slo: str | None = None
    demand: DemandTable = DemandTable()
    fleet: FleetTable = FleetTable()
    candidate: tuple[CandidateTable, ...] = ()
    extras: ExtrasTable = ExtrasTable()


@dataclasses.dataclass(frozen=True, slots=True)
class MeasuredMachine:
    """A judged run or table: its levels, the one to run at (None: none meets the SLO), and its own hour's price."""

    levels: tuple[EvaluatedLevel, ...]
    recommended: EvaluatedLevel | None
    gpus: int
    usd_per_hour: float | None
    model: str


Judge = Callable[[CandidateTable, str | None, float | None], MeasuredMachine]


def parse_plan_file(text: str, where: str) -> PlanFile:
    """A plan from TOML. Raises SpecError with every mistake."""
    try:
        tree = read_toml(text)
    except ValueError as error:
        raise SpecError("the plan is not valid TOML", where=where, given=str(error)) from None
    return parse_plan_tree(tree, where)


def parse_plan_tree(tree: Mapping[str, Any], where: str) -> PlanFile:
    """A plan from plain data. Raises SpecError with every mistake."""
    return validated(PlanFile, dict(tree), "the plan", where=where)


def from_flags(flags: Mapping[str, Any]) -> PlanFile:
    """The question as the command line asks it: the runs (or a model of a table) at one price, and the APIs."""
    files = ("levels_csv", "demand_csv")
    given = {key: str(value) if key in files else value for key, value in flags.items() if value is not None}
    machine = {key: given.pop(key) for key in ("usd_per_hour", "preset", "gpus", "concurrency") if key in given}
    runs = [{"run": str(run), **machine} for run in given.pop("runs", ())]
    table = {key: given.pop(key) for key in ("levels_csv", "model") if key in given}
    if "levels_csv" in table:
        runs.append(table | machine)
    tree: dict[str, Any] = {"candidate": [*runs, *({"api": name} for name in given.pop("apis", ()))]}
    for name, model in (("demand", DemandTable), ("fleet", FleetTable), ("extras", ExtrasTable)):
        tree[name] = {key: given.pop(key) for key in model.model_fields if key in given}
    return parse_plan_tree(tree | given, "flags")


def answer(
    asked: PlanFile, book: PriceBook, judge: Judge, read: Callable[[str], str], now: Any
) -> tuple[Plan, list[Own | Api]]:
    """The plan, and the candidates with their prices. now: a datetime, for prices that have a day.

    judge: a candidate's run or table of levels, judged. read: a file's text.

    Raises InputError, PriceError and what `judge` raises.
    """
    candidates: list[Own | Api] = []
    for i, table in enumerate(asked.candidate, 1):
        is_api = table.api is not None or table.api_usd_per_1m is not None
        is_own = sum(v is not None for v in (table.run, table.levels_csv, table.capacity_per_s))
        if is_api + is_own != 1:
            raise InputError(
                "a candidate is one of several things",
                where=f"candidate {i} ({table.name or 'no name'})",
                given=f"{is_api + is_own} of them",
                expected="one of run, levels_csv, capacity_per_s, api, api_usd_per_1m",
            )
        candidates.append(_api(table, book, now) if is_api else _own(table, asked, book, judge))
    names = [one.name for one in candidates]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError("two candidates have one name", where="candidate", given=twice, expected="a name each")
    owns = [one for one in candidates if isinstance(one, Own)]
    batch, fleet = asked.demand.batch, asked.fleet
    spare = (0 if batch else 1) if fleet.spare_replicas is None else fleet.spare_replicas
    return plan(
        _demand(asked.demand, owns, fleet.hours_per_month, read),
        candidates,
        Fleet(fleet.target_utilization, spare, fleet.balancing, fleet.hours_per_month),
        Extras(**asked.extras.model_dump()),
    ), candidates


def _api(table: CandidateTable, book: PriceBook, now: Any) -> Api:
    if table.api_usd_per_1m is not None:
        read, written, *cached = table.api_usd_per_1m
        price = ApiPrice(
            name=table.name or "API",
            input_usd_per_1m_tokens=read,
            cached_input_usd_per_1m_tokens=cached[0] if cached else None,
            output_usd_per_1m_tokens=written,
            source=AS_GIVEN,
        )
    elif str(table.api).startswith(GENAI):
        price = genai_price(str(table.api).removeprefix(GENAI), now)
    else:
        price = book.api(str(table.api))
    return Api(table.name or price.name, price, table.cached_ratio)


def _own(table: CandidateTable, asked: PlanFile, book: PriceBook, judge: Judge) -> Own:
    if table.preset is not None and table.usd_per_hour is not None:
        raise PriceError("two prices", where=table.name, given="usd_per_hour and preset", expected="one of them")
    preset = None if table.preset is None else book.gpu(table.preset)
    unit, purchase, running, years = table.usd_per_hour, None, 0.0, 3.0
    if preset is not None:
        unit = preset.usd_per_hour
        if preset.owned is not None:  # idle hours are in the demand, not in the price
            owned = preset.owned.model_copy(update={"utilisation": 1.0})
            cost = hourly_cost(owned)
            unit, years = cost.usd_per_hour, owned.years
            purchase = owned.purchase_price / owned.currency_per_usd
            running = cost.usd_per_hour - cost.parts["depreciation_usd_per_hour"]
    source, as_of = (AS_GIVEN, None) if preset is None else (preset.source, preset.as_of)
    gpus, level, model = table.gpus or 1, None, table.model
    levels: tuple[EvaluatedLevel, ...] = ()
    if table.capacity_per_s is None:
        found = judge(table, asked.slo, unit)
        gpus, levels, model = found.gpus, found.levels, found.model
        level = found.recommended if table.concurrency is None else _level(found.levels, table.concurrency)
        if unit is None and found.usd_per_hour is not None:
            unit = found.usd_per_hour / gpus
    if unit is None:
        raise PriceError("the machine has no price", where=table.name or model, expected="--usd-per-hour, or a preset")
    return Own(
        name=table.name or f"{model or 'own'} on {gpus} GPU{'s' * (gpus != 1)}",
        gpus=gpus,
        usd_per_hour=unit * gpus,
        source=source,
        as_of=as_of,
        levels=tuple(levels),
        level=level,
        requests_per_s=table.capacity_per_s,
        input_tokens=asked.demand.input_tokens,
        output_tokens=asked.demand.output_tokens,
        reserved_usd_per_hour=None if table.reserved_usd_per_hour is None else table.reserved_usd_per_hour * gpus,
        fixed_usd_per_month=table.fixed_usd_per_month,
        purchase_usd=None if purchase is None else purchase * gpus,
        running_usd_per_hour=running * gpus,
        years=years,
    )


def _level(levels: Sequence[EvaluatedLevel], asked: int) -> EvaluatedLevel:
    for one in levels:
        if one.point.concurrency == asked:
            return one
    known = ", ".join(str(one.point.concurrency) for one in levels)
    raise InputError("the level was not measured, and the curve is not extended", where="--concurrency", given=asked,
                     expected=known)  # fmt: skip


def _demand(table: DemandTable, owns: Sequence[Own], hours_per_month: float, read: Callable[[str], str]) -> Demand:
    ways = ("requests_per_day", "tokens_per_month", "users", "demand_csv")
    given = [name for name in ways if getattr(table, name) is not None]
    if len(given) != 1:
        raise InputError(
            "exactly one way to state the demand",
            where="demand",
            given=" and ".join(given) or "none",
            expected="one of " + ", ".join("--" + name.replace("_", "-") for name in ways),
        )
    if table.think_time_s and given != ["users"]:
        raise InputError("--think-time-s needs --users", where="demand", given=table.think_time_s)
    tokens = _tokens(table, owns)
    if given == ["demand_csv"]:
        if table.peak_factor is not None or table.batch:
            raise InputError(
                "the hours show the peak themselves", where="demand", given="peak_factor or batch", expected="neither"
            )
        found = demands.of_hours(demands.parse_hours(read(str(table.demand_csv)), str(table.demand_csv)))
    else:
        mean_per_s, words = _mean(table, given[0], owns, tokens, hours_per_month)
        factor = demands.PEAK_FACTOR if table.peak_factor is None else table.peak_factor
        found = demands.of_mean(mean_per_s, factor, batch=table.batch, words=words)
    if table.growth is not None:
        factor = (1 + table.growth) ** (table.in_months / 12)
        found = found.scaled(factor, f", in {table.in_months:g} months at {table.growth:+.0%} a year")
    if tokens is None:
        return found
    return dataclasses.replace(found, input_tokens=tokens[0], output_tokens=tokens[1])


def _tokens(table: DemandTable, owns: Sequence[Own]) -> tuple[float, float] | None:
    """Input and output tokens of a request as asked; the measured ones where only their share is asked; or None."""
    if table.input_tokens is not None and table.output_tokens is not None:
        return table.input_tokens, table.output_tokens
    if (table.input_tokens is None) != (table.output_tokens is None):
        raise InputError("half of a mix", where="demand", expected="--input-tokens and --output-tokens, or neither")
    if table.input_ratio is None:
        return None
    point = next((own.level.point for own in owns if own.level is not None), None)
    if point is None or point.input_tokens is None or not point.output_tokens:
        raise InputError("a share of unknown tokens", where="--input-ratio", expected="a run that measured its tokens")
    total = (point.input_tokens + point.output_tokens) / point.n_ok
    return total * table.input_ratio, total * (1 - table.input_ratio)


def _mean(
    table: DemandTable, way: str, owns: Sequence[Own], tokens: tuple[float, float] | None, hours_per_month: float
) -> tuple[float, str]:
    """Requests a second on average, and what was given in words."""
    if way == "requests_per_day":
        return float(table.requests_per_day or 0) / 86400, f"{table.requests_per_day:,.6g} requests a day"
    level = next((own.level.point for own in owns if own.level is not None), None)
    if way == "users":
        if level is None or not level.request_per_s:
            raise InputError("users need a measured level: its time per request", where="--users", expected="a run")
        service_s = level.concurrency / level.request_per_s
        factor = demands.PEAK_FACTOR if table.peak_factor is None else table.peak_factor
        peak_per_s = float(table.users or 0) / (service_s + table.think_time_s)
        words = f"{table.users:,.6g} users at the peak, {table.think_time_s:g} s between answer and next request"
        return peak_per_s / (1 if table.batch else factor), words
    if tokens is None and level is not None and level.input_tokens is not None and level.output_tokens:
        tokens = level.input_tokens / level.n_ok, level.output_tokens / level.n_ok
    if tokens is None or not sum(tokens):
        raise InputError(
            "tokens do not become requests: the tokens of a request are not known",
            where="tokens_per_month",
            expected="a run that measured them, or --input-tokens and --output-tokens",
        )
    per_s = float(table.tokens_per_month or 0) / sum(tokens) / hours_per_month / 3600
    return per_s, f"{table.tokens_per_month:,.6g} tokens a month at {sum(tokens):,.0f} tokens a request"
