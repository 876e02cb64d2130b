"""manifest.json as a typed value: what ran, where and when; and in what two runs differ. Pure."""

from __future__ import annotations

import functools
import json
import shlex
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchsuite.errors import InputError, PointsError, SpecError
from benchsuite.find_spec import FindSpec
from benchsuite.level import Level, LevelKind
from benchsuite.limits import most
from benchsuite.redact import masked, single_line
from benchsuite.spec import named_outside, parse_spec
from benchsuite.strict_model import Items

# A point's name is part of file names: it leads nowhere else.
PointName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Nanoseconds = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Seconds = Annotated[float, Field(gt=-1e12, lt=1e12)]
MOST_ATTEMPTS = 1_000_000  # the next one's number fits into its column
Table = dict[str, Any]


def _numbers(table: Table) -> Table:
    for key, value in table.items():
        each = value.values() if isinstance(value, dict) else [value]
        small = all(v is None or (isinstance(v, int | float) and abs(v) < 1e18) for v in each)
        if not small or (value is not None and isinstance(value, dict) != key.endswith("_lag")):
            raise ValueError(f"{key[:40]!r} is not a number (for a lag: a table of numbers)")
    return table


NumberTable = Annotated[Table, AfterValidator(_numbers)]


class CalibrationPoint(BaseModel):
    """What the verdict on a client reads of a calibration; its other keys are not looked at."""

    concurrency: float = Field(ge=0)
    gap_error_ms: NumberTable
    stamp_source: str | None
    tok_s: float | None
    driver: str | None


def _calibration(table: Table) -> Table:
    points = table.get("points", [])
    for point in points if isinstance(points, list) else [points]:
        CalibrationPoint.model_validate(point)
    return table


def _spec(table: Table) -> Table:
    try:
        if len(json.dumps(table)) > most("toml_chars"):
            raise ValueError(f"a specification of more than {most('toml_chars'):,} characters")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return table


class Facts(BaseModel):
    """A table of the manifest. A key that is not listed here is kept; null is as if the key were missing."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_missing(cls, tree: Any) -> Any:
        return {key: value for key, value in tree.items() if value is not None} if isinstance(tree, dict) else tree


Interval = Annotated[list[float], Field(min_length=3, max_length=3)]  # value, low, high
Bracket = Annotated[list[Annotated[float, Field(gt=0, lt=1e12)] | None], Field(min_length=2, max_length=2)]


class ProbeFacts(Facts):
    """load.search.ProbeResult. margins: by limit ln(limit / figure), above 0 where it is kept, and standard error."""

    level: Annotated[float, Field(gt=0, lt=1e12)]
    phase: str
    n_requests: Count
    seconds: Seconds
    margins: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(default_factory=dict)
    ln_x: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    failed: bool = False
    verdict: str | None = None


class SearchAnswer(Facts):
    """The level of a search that is best supported. throughput: of what is paid for, a second, with a 95 % interval;
    usd: of one of it, likewise, None without a price. p_met: that it meets the SLO; p_good: and is at most the slack
    dearer than the cheapest that does. binding: the limit that is nearest. bracket: the highest level that kept the
    SLO, the lowest that missed it. seconds, spent_usd: of the search. more: probes that ten more minutes would hold;
    more_p_good: what P(good) they are likely to reach, None where they hold none or it is as sure as was asked for."""

    level: Annotated[float, Field(gt=0, lt=1e12)]
    throughput: Interval
    usd: Interval | None = None
    p_met: float
    p_good: float
    binding: str | None = None
    bracket: Bracket
    seconds: Seconds
    spent_usd: float | None = None
    more: Count = 0
    more_p_good: float | None = None
    levels: list[Interval] = Field(default_factory=list)  # that were measured, P(met), P(good)


class SearchAsked(Facts):
    kind: LevelKind = "concurrency"
    slack: float | None = None


class SearchEnd(Facts):
    """load.search.End, or `stopped` with the best so far; and what the probes of all sessions took."""

    reason: str
    answer: SearchAnswer | None = None
    probes: Count = 0
    seconds: Seconds = 0.0
    spent_usd: float | None = None
    lowest_missed: float | None = None  # where no level kept the SLO
    most_x: float | None = (
        None  # where it was given up, for another setting: at most so much of what is paid for, a second
    )
    beaten_by: str | None = None


class SearchFacts(Facts):
    """asked: load.search.SearchSpec. per: what is paid for. end: None of a search that is running, or was killed."""

    asked: SearchAsked = Field(default_factory=lambda: SearchAsked())
    per: Literal["output_token", "good_request"] = "output_token"
    end: SearchEnd | None = None

    @property
    def level(self) -> Level | None:
        """The answer's; None where there is none."""
        answer = None if self.end is None else self.end.answer
        return None if answer is None else Level(answer.level, self.asked.kind)


def _probe(table: Table) -> Table:
    ProbeFacts.model_validate(table)
    return table


class WorkloadFacts(Facts):
    name: str | None = None
    requests: Count | None = None
    content_hash: str | None = None  # of its prompts and lengths, in their order
    references_hash: str | None = None  # of the references and scorers of those that are scored; None where none is
    distinct: Count | None = None  # prompts that are not alike
    own_system_prompts: Count | None = None  # prompts with one: the sweep's does not go before them
    container: str | None = None  # what its file is; None where it was generated
    formats: Table = Field(default_factory=dict)  # rows of the file by their format
    skipped: Count | None = None  # rows that are no request
    notes: Table = Field(default_factory=dict)  # what was done with rows, and with how many
    shared_prefix_ratio: float | None = None  # of its text, what a prefix cache could hold at best, copies apart
    lengths: Table | None = None  # of a random set: what its tokens were counted by
    note: str | None = None  # what is said of it wherever it is named

    def in_words(self) -> str:
        """Its name, its size, and how many rows of its file were left out."""
        size = "" if self.requests is None else f", {self.requests:,} request{'s' * (self.requests != 1)}"
        odd = f", {self.skipped:,} odd row{'s' * (self.skipped != 1)} of the file skipped" if self.skipped else ""
        return f"{self.name}{size}{odd}" + f" ({self.note})" * (self.note is not None)


class Clock(Facts):
    """The run's zero on the monotonic and the wall clock, and the last session's end on both."""

    name: str | None = None
    boot_id: str | None = None  # within one boot the monotonic clock alone tells how far the run is
    origin_monotonic_ns: Nanoseconds | None = None
    origin_wall_ns: Nanoseconds | None = None
    end_monotonic_ns: Nanoseconds | None = None
    end_wall_ns: Nanoseconds | None = None


class HostFacts(Facts):
    """The machine of the measuring client."""

    platform: str | None = None
    python: str | None = None
    cpu_model: str | None = None
    cpu_count: Count | None = None
    code_hash: str | None = None  # of benchsuite's own files
    versions: Table = Field(default_factory=dict)  # of libraries


class ServerProbe(Facts):
    """What the server turned out to be before the first point."""

    profile: str | None = None
    server: Table = Field(default_factory=dict)  # what it says of itself
    capacity: Table = Field(default_factory=dict)  # its limits
    cache_bust: str | None = None
    stamp_source: str | None = None
    reports_usage: bool | None = None

    @property
    def version(self) -> str | None:
        found = self.server.get("version") or self.server.get("build_info")
        return None if found is None else str(found)

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.profile, self.version) if part)


class EndpointFacts(Facts):
    base_url: str | None = None  # that rows may name
    role: str | None = None  # own, or fallback
    model: str | None = None


class GpuDevice(Facts):
    uuid: str | None = None
    name: str | None = None


class GpuFacts(Facts):
    source: str | None = None
    driver: str | None = None
    used: Items[str] = Field(default_factory=list)  # UUIDs of those that serve
    devices: Items[GpuDevice] = Field(default_factory=list)

    @property
    def used_names(self) -> str | None:
        """Model and UUID of the GPUs that serve; None where none is known."""
        names = {device.uuid: device.name for device in self.devices}
        return ", ".join(sorted(f"{names.get(uuid)} {uuid}" for uuid in self.used)) or None


class Span(Facts):
    """A stretch of the run, in seconds of its clock."""

    started_s: Seconds | None = None
    ended_s: Seconds | None = None


class MetricsSource(Facts):
    url: str | None = None  # of a metrics page that was read
    endpoint: str | None = None  # that it belongs to


class TelemetryFacts(Facts):
    gpu: GpuFacts | None = None  # None where no GPU was sampled
    server: Items[MetricsSource] = Field(default_factory=list)
    idle: Span | None = None  # when the server had its model loaded and nothing to do
    problems: Items[str] = Field(default_factory=list)


class PointEntry(Span):
    """One attempt at a point. It has a concurrency (closed loop) or a rate (open loop)."""

    point_id: PointName
    status: str  # running, complete, stopped, failed, invalid or abandoned
    concurrency: Count | None = None
    rate_per_s: Annotated[float, Field(gt=0, lt=1e12)] | None = None
    repeat: Count | None = None
    attempt: Annotated[int, Field(ge=0, lt=MOST_ATTEMPTS)] = 0
    client: NumberTable = Field(default_factory=dict)  # how the measuring processes fared
    server: NumberTable = Field(default_factory=dict)
    tokens: NumberTable = Field(default_factory=dict)  # how our counts and lengths compare with the server's
    warmup: NumberTable = Field(default_factory=dict)
    cooldown: NumberTable = Field(default_factory=dict)
    clocks: NumberTable = Field(default_factory=dict)
    schedule_sha256: str | None = None  # of an open loop: when its requests were due
    saturation: NumberTable = Field(default_factory=dict)  # benchsuite.saturation's figures of an open loop
    probe: Annotated[Table, AfterValidator(_probe)] | None = None  # of a search: load.search.ProbeResult
    cache_bust: str | None = None
    salt: str | None = None
    cache_reset: Any = None
    invalid: str | None = None  # why a measured point is no measurement
    reason: str | None = None  # why it failed

    @property
    def level(self) -> Level | None:
        if self.rate_per_s is not None:
            return Level(self.rate_per_s, "rate")
        return None if self.concurrency is None else Level(self.concurrency)


class RunManifest(Facts):
    """What ran, on what, when. spec, price and SLO as they were given; `points` in the order of their measuring."""

    schema_version: int | None = Field(
        default=None, validation_alias=AliasChoices("schema", "schema_version"), serialization_alias="schema"
    )
    run_id: str = ""
    spec: Annotated[Table, AfterValidator(_spec)] = Field(default_factory=dict)
    status: str | None = None  # running, complete, stopped, failed or interrupted
    created: str | None = None
    benchsuite: str | None = None
    model: str | None = None
    workload: WorkloadFacts = Field(default_factory=WorkloadFacts)
    clock: Clock = Field(default_factory=Clock)
    sessions: Items[Table] = Field(default_factory=list)
    host: HostFacts = Field(default_factory=HostFacts)
    calibration: Annotated[Table, AfterValidator(_calibration)] | None = None
    workers: Count | None = None
    server_probe: ServerProbe = Field(default_factory=ServerProbe)
    endpoints: Items[EndpointFacts] = Field(default_factory=list)
    launched_server: Table | None = None  # that benchsuite started
    telemetry: TelemetryFacts = Field(default_factory=TelemetryFacts)
    planned_points: Items[PointName] = Field(default_factory=list)
    points: Items[PointEntry] = Field(default_factory=list)
    imported: Table | None = None
    search: SearchFacts | None = None  # None of a sweep

    @classmethod
    def read(cls, tree: Any, where: str) -> RunManifest:
        """From plain data. Raises PointsError naming the first value that is not of its kind."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            first = error.errors()[0]
            raise PointsError(
                "the manifest is damaged",
                where=f"{where}: {'.'.join(map(str, first['loc'])) or 'top level'}",
                given=ascii(first.get("input"))[:80],
                expected=str(first["msg"]),
            ) from None

    def plain(self) -> Table:
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)

    def __getitem__(self, key: str) -> Any:
        return self.plain()[key]

    @property
    def gpu(self) -> GpuFacts:
        """The GPUs; empty where none was sampled."""
        return self.telemetry.gpu or GpuFacts()

    def replaced(self, **facts: Any) -> RunManifest:
        return RunManifest.read(self.plain() | facts, "manifest")

    def named_outside(self) -> dict[str, tuple[str, ...]]:
        """What a resume asks its user for anew, as flags: the server to start, and `spec.named_outside`.

        Raises SpecError where the spec is of another version.
        """
        named = named_outside(parse_spec(self.spec, where="manifest.json"))
        if (plan := (self.launched_server or {}).get("plan")) is None:
            return named
        del named["server.base_url"]  # which that server has
        return {"--serve": ("--serve", str(plan)), **named}

    def resume_command(self, path: Path) -> str:
        """The command that measures what the run in `path` lacks, for a shell, on one line."""
        try:
            words = [word for flags in self.named_outside().values() for word in flags]
        except SpecError:  # it will say so
            words = []
        verb = "sweep" if self.spec.get("find") is None else "find"
        return single_line(shlex.join(["benchsuite", verb, "--resume", str(path), *words]))

    @property
    def complete_points(self) -> list[PointEntry]:
        return [point for point in self.points if point.status == "complete"]

    @property
    def probes(self) -> list[tuple[PointEntry, ProbeFacts]]:
        """Those of a search that gave a result, in their order."""
        return [(p, ProbeFacts.model_validate(p.probe)) for p in self.points if p.probe is not None]

    @property
    def judged_points(self) -> list[PointEntry]:
        """The complete ones; of a level that has confirming probes those alone: short ones are no repeats of them."""
        confirmed = {p.level for p in self.complete_points if p.probe is not None and p.probe["phase"] == "confirm"}
        return [
            p
            for p in self.complete_points
            if p.probe is None or p.level not in confirmed or p.probe["phase"] == "confirm"
        ]


# What a fact tells apart. A baseline must be alike in the first six; a run that is gone on with in all but the levels.
GROUPS = {
    "machine": "the GPUs, and the client's CPU",
    "driver": "the GPU driver",
    "model": "the model's name",
    "workload": "the requests, and how they are asked",
    "client": "the measuring client's driver, workers and stamps; and that it was at its limit",
    "schema": "the version of the run folder",
    "levels": "the concurrency levels",
    "protocol": "warm-ups, limits and every other setting of the sweep",
    "server": "the server's kind and version, and how it was started",
    "harness": "benchsuite's version and code",
    "host": "the client's kernel",
    "address": "where the server is, and what it was asked to be",
}
# keys of the spec that change no measured figure, or only which points there are, or that name what is compared itself
_FREE = (
    "price", "slo", "goodput", "telemetry", "load.concurrency", "load.repeats", "server.api_key_env",
    "server.api_key_file", "load.max_errors", "load.server_recovery_timeout_s", "workload.source", "workload.columns",
    "workload.skip_bad", "workload.input_tokens", "workload.output_tokens", "workload.length_stdev",
    "workload.length_range", "workload.prefix_tokens", "workload.prefix_share", "workload.scenario",
    *(f"find.{name}" for name in FindSpec.model_fields if name != "variable"),
)  # fmt: skip
_GROUP_OF_KEY = {
    "workload": "workload", "server.endpoint": "workload", "server.stream": "workload", "server.extra_body": "workload",
    "sampling": "workload", "server.path": "address", "server.query": "address",
    "load.driver": "client", "load.workers": "client", "load.kernel_timestamps": "client",
    "workload.cache_bust": "protocol", "workload.save_text": "protocol",
    "server.base_url": "address", "server.more_base_urls": "address",
    "server.model": "address", "server.profile": "address",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that two runs have not alike. group: a key of GROUPS."""

    group: str
    what: str
    new: str
    before: str

    def between(self, new: str, before: str) -> str:
        """In words: `what: ... in BEFORE, ... in NEW`."""
        return f"{self.what}: {self.before} {before}, {self.new} {new}"


def differences(
    new: RunManifest, before: RunManifest, *, groups: Collection[str] = GROUPS, probed: bool = True
) -> list[Difference]:
    """What two runs have not alike, of what can change a figure. A fact that one of them lacks differs.

    groups: only these. probed: also what is known only once the server and the GPUs were asked.
    """
    a, b = _facts(new, probed), _facts(before, probed)
    return [
        Difference(key[0], key[1], _text(a.get(key)), _text(b.get(key)))
        for key in dict.fromkeys((*a, *b))
        if key[0] in groups and a.get(key) != b.get(key)
    ]


BASELINE_GROUPS = ("machine", "driver", "model", "workload", "client", "schema", "levels")
CAPACITY_GROUPS = ("machine", "driver", "model", "workload", "server", "schema")  # what rates and a closed loop share
ARM_GROUPS = tuple(group for group in GROUPS if group not in ("server", "address"))  # what two arms of `ab` share


def refuse_unlike(
    found: Sequence[Difference],
    allowed: Collection[str] | None,
    groups: Collection[str] = BASELINE_GROUPS,
    names: tuple[str, str] = ("in the run", "in the baseline"),
    where: str = "--baseline",
) -> list[str]:
    """What differs from a baseline and may, in words. Raises InputError naming every difference that may not.

    allowed: groups that may differ all the same, None where no --allow can say so; groups: those that may not else.
    names: of the new and the other run.
    """
    refused = [one for one in found if one.group in groups and one.group not in (allowed or ())]
    if refused:
        lines = [one.between(*names) for one in refused]
        raise InputError(
            "the two runs differ and cannot be compared:\n    " + "\n    ".join(lines),
            where=where,
            expected="the same " + ", ".join(groups),
            hint="measure both in the same way"
            + (", or compare anyway with --allow " + ",".join(dict.fromkeys(one.group for one in refused)))
            * (allowed is not None),
        )
    return [
        one.between(*names) + (f" (--allow {one.group})" if one.group in (allowed or ()) else "")
        for one in found
        if one.group != "address"
    ]


def _facts(manifest: RunManifest, probed: bool) -> dict[tuple[str, str], Any]:
    host, probe, gpu = manifest.host, manifest.server_probe, manifest.gpu
    launched = manifest.launched_server
    facts = {
        ("workload", "workload content"): manifest.workload.content_hash,
        ("server", "server started as"): (launched or {}).get("plan"),
        ("harness", "benchsuite"): manifest.benchsuite,
        ("harness", "benchsuite's code"): host.code_hash and host.code_hash[:12],
        ("schema", "schema of the run folder"): manifest.schema_version,
        ("machine", "client CPU"): ", ".join(str(v) for v in (host.cpu_model, host.cpu_count) if v is not None) or None,
        ("host", "kernel"): host.platform,
    }
    for key, value in flat(_settings(manifest)).items():
        if (group := _group(key)) and not (launched and key == "server.base_url"):  # whose port is new every time
            facts[group, key] = value
    if probed:
        own = sum(endpoint.role == "own" for endpoint in manifest.endpoints)
        facts |= {
            ("machine", "GPUs"): gpu.used_names,
            ("machine", "servers"): max(own, 1),
            ("driver", "GPU driver"): gpu.driver,
            ("model", "model"): manifest.model,
            ("workload", "cache busting"): probe.cache_bust,
            ("client", "workers used"): manifest.workers,
            ("server", "server"): probe.profile,
            ("server", "server version"): probe.version,
        }
    # as a run folder has them: a server that says the key back is the same again
    return {key: masked(value) if isinstance(value, str) else value for key, value in facts.items()}


def _settings(manifest: RunManifest) -> Table:
    """The spec with its defaults; as it stands where it is of another version."""
    try:
        return parse_spec(manifest.spec, where="manifest.json").model_dump(mode="json")
    except SpecError:
        return manifest.spec


def flat(tree: Mapping[str, Any], prefix: str = "") -> Table:
    """Tables in tables as one with dotted keys."""
    leaves: Table = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return leaves


@functools.lru_cache(1024)  # a history of runs asks for the same keys in each
def _group(key: str) -> str | None:
    free: list[tuple[str, str | None]] = [(prefix, None) for prefix in _FREE]
    groups = (*free, *reversed(_GROUP_OF_KEY.items()), (key, "protocol"))
    return next(group for prefix, group in groups if key == prefix or key.startswith(f"{prefix}."))


def _text(value: Any) -> str:
    return "not known" if value is None else textwrap.shorten(str(value), 200, placeholder=" ...")


def refuse_another_run(now: RunManifest, before: RunManifest, where: str, *, probed: bool) -> None:
    """Raises InputError naming every fact that differs from the run that is to be gone on with.

    probed: also what is known only once the server and the GPUs were asked.
    """
    groups = set(GROUPS) - {"levels", "schema", "host"}
    if changed := differences(now, before, groups=groups, probed=probed):
        lines = [difference.between("now", "before") for difference in changed]
        raise InputError(
            "the folder holds a different run and cannot be resumed:\n    " + "\n    ".join(lines),
            where=where,
            expected="the same server, model, workload, GPU and code",
            hint="use another --output for a new run",
        )
