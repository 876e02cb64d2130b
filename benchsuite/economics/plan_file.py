"""The question of `benchsuite plan`: a demand, a fleet, candidates, in TOML, as flags or as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from benchsuite.economics.prices import UsdPer1m
from benchsuite.errors import SpecError, read_toml
from benchsuite.strict_model import StrictModel, key, validated

TARGET_UTILIZATION = 0.8
Balancing = Literal["least-connections", "round-robin", "random"]

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

    requests_per_day: float | None = key(None, "demand: requests a day on average", gt=0)
    tokens_per_month: float | None = key(None, "demand: input and output tokens a month", gt=0)
    users: float | None = key(None, "demand: users at once, at the peak", gt=0)
    demand_csv: str | None = key(None, "demand: CSV with a column `requests`, a line an hour")
    think_time_s: float = key(0.0, "a user's pause before the next request", ge=0)
    peak_factor: float | None = key(None, "busiest hour over the mean", unset="3", ge=1, le=20)
    batch: bool = key(False, "nobody waits: the demand is flat round the clock, no spare replica")
    input_tokens: float | None = key(None, "of a request", unset="as measured", ge=0)
    output_tokens: float | None = key(None, "of a request", unset="as measured", ge=0)
    input_ratio: float | None = key(None, "share of input in the measured tokens of a request, instead", ge=0, le=1)
    growth: float | None = key(None, "of the demand a year (0.5: half as much again), by --in-months", gt=-1)
    in_months: float = key(12.0, "with --growth: size for the demand in so many months", ge=0)

    @model_validator(mode="after")
    def _one_way_to_state_it(self) -> DemandTable:
        ways = ("requests_per_day", "tokens_per_month", "users", "demand_csv")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError(f"one of {', '.join(ways)} states the demand (given {' and '.join(given) or 'none'})")
        if self.think_time_s and self.users is None:
            raise ValueError("think_time_s needs users")
        if self.demand_csv is not None and (self.peak_factor is not None or self.batch):
            raise ValueError("the hours show the peak themselves: leave out peak_factor and batch")
        if (self.input_tokens is None) != (self.output_tokens is None):
            raise ValueError("half of a mix: give input_tokens and output_tokens, or neither")
        return self


class Fleet(StrictModel):
    """How replicas are used, the same for all own candidates. spare_replicas: beyond those that carry the peak."""

    target_utilization: float = key(
        TARGET_UTILIZATION, "share of a replica's measured rate to use at the busiest hour", gt=0, le=1
    )
    spare_replicas: int | None = key(None, "beyond those that carry the peak", unset="1; 0 with --batch", ge=0)
    balancing: Balancing = key("least-connections", "how requests are spread over replicas")
    hours_per_month: float = key(730.0, "hours of a month", ge=1, le=744)


class Candidate(StrictModel):
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

    @model_validator(mode="after")
    def _one_thing(self) -> Candidate:
        kinds = ("run", "levels_csv", "capacity_per_s", "api", "api_usd_per_1m")
        if sum(getattr(self, kind) is not None for kind in kinds) != 1:
            raise ValueError(f"a candidate is one of {', '.join(kinds)}")
        if self.preset is not None and self.usd_per_hour is not None:
            raise ValueError("give usd_per_hour or preset, not both")
        return self


class Extras(StrictModel):
    """What applies to both sides: a cache in front, and a model that is trained."""

    cache_hit_rate: float = key(0.0, "share of requests that a cache in front answers, on both sides", ge=0, le=1)
    cache_hit_usd_per_1m: float = key(0.0, "what a million of its tokens cost", ge=0)
    training_usd: float = key(0.0, "training at the start, on both sides", ge=0)
    retrain_usd_per_year: float = key(0.0, "training again after it, a year", ge=0)
    training_years: float = key(1.0, "that training is spread over", ge=1 / 12, le=100)

    @property
    def training_usd_per_month(self) -> float:
        """(start + retraining over the life) / months of the life."""
        return (self.training_usd + self.retrain_usd_per_year * self.training_years) / (self.training_years * 12)


class PlanFile(StrictModel):
    """The whole question."""

    slo: str | None = None
    demand: DemandTable
    fleet: Fleet = Fleet()
    candidate: tuple[Candidate, ...] = ()
    extras: Extras = Extras()


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
    given = {name: value for name, value in flags.items() if value is not None}
    machine = {name: given.pop(name) for name in ("usd_per_hour", "preset", "gpus", "concurrency") if name in given}
    runs = [{"run": str(run), **machine} for run in given.pop("runs", ())]
    table = {name: str(given.pop(name)) for name in ("levels_csv", "model") if name in given}
    if "levels_csv" in table:
        runs.append(table | machine)
    tree: dict[str, Any] = {"candidate": [*runs, *({"api": name} for name in given.pop("apis", ()))]}
    for name, model in (("demand", DemandTable), ("fleet", Fleet), ("extras", Extras)):
        tree[name] = {field: given.pop(field) for field in model.model_fields if field in given}
    if "demand_csv" in tree["demand"]:
        tree["demand"]["demand_csv"] = str(tree["demand"]["demand_csv"])
    return parse_plan_tree(tree | given, "flags")
