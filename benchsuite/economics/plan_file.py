"""The question of `benchsuite plan`: a demand, a fleet, candidates, in TOML, as flags or as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from benchsuite.economics.gpu_hour import Spot
from benchsuite.economics.prices import UsdPer1m, price_date
from benchsuite.errors import SpecError, read_toml
from benchsuite.spec import OwnedSpec
from benchsuite.strict_model import StrictModel, key, validated

TARGET_UTILIZATION = 0.8
Balancing = Literal["least-connections", "round-robin", "random"]


class DemandTable(StrictModel):
    """What is asked of the fleet."""

    requests_per_day: float | None = key(None, "demand: requests a day on average", gt=0)
    requests_per_month: float | None = key(None, "demand: requests a month", gt=0)
    tokens_per_day: float | None = key(None, "demand: input and output tokens a day", gt=0)
    tokens_per_month: float | None = key(None, "demand: input and output tokens a month", gt=0)
    users: float | None = key(None, "demand: users at once, at the peak", gt=0)
    demand_csv: str | None = key(None, "demand: CSV with a column `requests`, a line an hour")
    think_time_s: float = key(0.0, "think time: a user's pause before the next request", ge=0)
    peak_factor: float | None = key(None, "busiest hour over the mean", unset="3", ge=1, le=20)
    batch: bool = key(False, "batch work: the demand is constant over the day, no spare replica")
    input_tokens: float | None = key(None, "of a request", unset="as measured", ge=0)
    output_tokens: float | None = key(None, "of a request", unset="as measured", ge=0)
    input_ratio: float | None = key(None, "share of input in the measured tokens of a request, instead", ge=0, le=1)
    growth: float | None = key(None, "of the demand a year (0.5: half as much again), by --in-months", gt=-1, le=100)
    in_months: float | None = key(None, "with --growth: size for the demand in this many months", ge=0, le=240)

    @model_validator(mode="after")
    def _one_way_to_state_it(self) -> DemandTable:
        ways = ("requests_per_day", "requests_per_month", "tokens_per_day", "tokens_per_month", "users", "demand_csv")
        given = [way for way in ways if getattr(self, way) is not None]
        kinds = [way.partition("_")[0] for way in given]
        if not given or (len(given) > 1 and sorted(kinds) != ["requests", "tokens"]):
            raise ValueError(f"one of {', '.join(ways)} states the demand (given {' and '.join(given) or 'none'})")
        if self.think_time_s and self.users is None:
            raise ValueError("think_time_s needs users")
        if self.demand_csv is not None and (self.peak_factor is not None or self.batch):
            raise ValueError("the hours show the peak themselves: leave out peak_factor and batch")
        if self.batch and self.peak_factor is not None:
            raise ValueError(f"batch is constant over the day: leave out peak_factor (given {self.peak_factor:g})")
        if self.batch and self.users is not None:
            raise ValueError("users wait for their answers: leave out batch")
        if (self.input_tokens is None) != (self.output_tokens is None):
            raise ValueError("incomplete mix: give input_tokens and output_tokens, or neither")
        if self.input_tokens is not None and self.input_ratio is not None:
            raise ValueError("the mix is given twice: input_ratio, and input_tokens with output_tokens")
        if self.output_tokens == 0 == self.input_tokens:
            raise ValueError("a request of no tokens: input_tokens and output_tokens are both 0")
        if (self.growth is None) != (self.in_months is None):
            raise ValueError("incomplete growth: give growth and in_months, or neither")
        return self


class Fleet(StrictModel):
    """How replicas are used, the same for all own candidates. spare_replicas: beyond those that carry the peak."""

    target_utilization: float = key(
        TARGET_UTILIZATION, "share of a replica's measured rate to use at the busiest hour", gt=0, le=1
    )
    spare_replicas: int | None = key(None, "beyond those that carry the peak", unset="1; 0 with --batch", ge=0)
    balancing: Balancing = key("least-connections", "how requests are spread over replicas")
    hours_per_month: float = key(730.0, "hours of a month", ge=1, le=744)


class MachineTerms(StrictModel):
    """Terms of a measured machine besides its hourly price."""

    concurrency: int | None = key(None, "level to run a replica at", unset="the recommended one", ge=1)
    reserved_usd_per_hour: float | None = key(
        None, "price of a GPU that is paid for all hours: the cheapest split with on demand is worked out", ge=0
    )
    fixed_usd_per_month: float = key(0.0, "staff, network, storage", ge=0)
    max_replicas: int | None = key(None, "replicas there are, spare ones too; the API takes what is above them", ge=1)


class ApiTerms(StrictModel):
    """Terms of an API besides its price."""

    cached_ratio: float = key(0.0, "share of the input that the API bills as cached", ge=0, le=1)
    price_as_of: Annotated[str, BeforeValidator(price_date)] | None = key(
        None, "date of an API price whose source has none"
    )


_KINDS = ("run", "levels_csv", "capacity_per_s", "api", "api_usd_per_1m")
_HOURS = ("usd_per_hour", "preset", "spot", "owned")
_OF_API = frozenset({"name", "api", "api_usd_per_1m", *ApiTerms.model_fields})


class Candidate(MachineTerms, ApiTerms):
    """A machine (run, levels_csv, or capacity_per_s as stated) with its hour's price, or an API."""

    name: str | None = None
    run: str | None = None
    levels_csv: str | None = None
    model: str | None = None
    capacity_per_s: float | None = Field(default=None, gt=0)
    usd_per_hour: float | None = Field(default=None, ge=0)
    preset: str | None = None
    spot: Spot | None = None
    owned: OwnedSpec | None = None
    gpus: int | None = Field(default=None, ge=1)
    api: str | None = None
    api_usd_per_1m: tuple[UsdPer1m, ...] | None = Field(default=None, min_length=2, max_length=3)

    @property
    def is_api(self) -> bool:
        """Paid by the token, not by the hour."""
        return self.api is not None or self.api_usd_per_1m is not None

    @model_validator(mode="after")
    def _one_thing(self) -> Candidate:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"a candidate is one of {', '.join(_KINDS)} (given {' and '.join(given) or 'none'})")
        prices = [way for way in _HOURS if getattr(self, way) is not None]
        if len(prices) > 1:
            raise ValueError(f"one price of the hour: give one of {', '.join(_HOURS)} (given {' and '.join(prices)})")
        strange = set(ApiTerms.model_fields) if not self.is_api else set(Candidate.model_fields) - _OF_API
        if self.capacity_per_s is not None:
            strange |= {"concurrency", "model"}
        if wrong := sorted(strange & self.model_fields_set):
            raise ValueError(f"{', '.join(wrong)}: not of a candidate with {given[0]}")
        if self.owned is not None and self.owned.utilisation != 1:
            raise ValueError("owned.utilisation: the demand says how much of its life a machine works; leave it out")
        return self


class Extras(StrictModel):
    """What applies to both sides: a cache in front, and a model that is trained."""

    cache_hit_rate: float = key(0.0, "share of requests that a response cache answers, for every candidate", ge=0, le=1)
    cache_hit_usd_per_1m: float = key(0.0, "price of a million cached tokens", ge=0)
    training_usd: float = key(0.0, "training at the start, for every candidate", ge=0)
    retrain_usd_per_year: float = key(0.0, "retraining after it, per year", ge=0)
    training_years: float = key(1.0, "that training is spread over", ge=1 / 12, le=100)

    @property
    def training_usd_per_month(self) -> float:
        """(start + retraining over the life) / months of the life."""
        return (self.training_usd + self.retrain_usd_per_year * self.training_years) / (self.training_years * 12)

    @model_validator(mode="after")
    def _of_something(self) -> Extras:
        if self.cache_hit_usd_per_1m and not self.cache_hit_rate:
            raise ValueError("cache_hit_usd_per_1m needs cache_hit_rate")
        return self


class PlanFile(StrictModel):
    """A plan.toml: demand, machines, APIs and fleet."""

    slo: str | None = None
    demand: DemandTable
    fleet: Fleet = Fleet()
    candidate: tuple[Candidate, ...] = ()
    extras: Extras = Extras()

    @model_validator(mode="after")
    def _api_above_the_cap(self) -> PlanFile:
        if any(one.max_replicas for one in self.candidate) and not any(one.is_api for one in self.candidate):
            raise ValueError("max_replicas is a cap, and no candidate is an API to take what is above it")
        return self


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
    of_machine = ("usd_per_hour", "preset", "gpus", *MachineTerms.model_fields)
    machine = {name: given.pop(name) for name in of_machine if name in given}
    terms = {name: given.pop(name) for name in ApiTerms.model_fields if name in given}
    folders = [str(run) for run in given.pop("runs", ())]
    runs: list[dict[str, Any]] = [{"run": run, **machine} for run in folders]
    if len(folders) > 1:  # of one model, as a rule: the folder tells them apart
        names = [folder.rstrip("/").rpartition("/")[2] for folder in folders]
        names = names if len(set(names)) == len(names) else folders
        runs = [one | {"name": name} for one, name in zip(runs, names, strict=True)]
    table = {name: str(given.pop(name)) for name in ("levels_csv", "model") if name in given}
    if "levels_csv" in table:
        runs.append(table | machine)
    apis = given.pop("apis", ())
    for idle, of, needed in (
        (terms, apis, "an API: --api"),
        (machine, runs, "a run, or --levels-csv and --model"),
        (table, "levels_csv" in table, "a table: --levels-csv"),
    ):
        if idle and not of:
            what, where = "the option is for a candidate that is not given", "--" + next(iter(idle)).replace("_", "-")
            raise SpecError(what, where=where, given=next(iter(idle.values())), expected=needed)
    tree: dict[str, Any] = {"candidate": [*runs, *({"api": name, **terms} for name in apis)]}
    for name, model in (("demand", DemandTable), ("fleet", Fleet), ("extras", Extras)):
        tree[name] = {field: given.pop(field) for field in model.model_fields if field in given}
    if "demand_csv" in tree["demand"]:
        tree["demand"]["demand_csv"] = str(tree["demand"]["demand_csv"])
    return parse_plan_tree(tree | given, "flags")
