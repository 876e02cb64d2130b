"""The judged types: what analysis and economics conclude from facts. Values only.

Missing is None, never 0. Money is US dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchsuite.level import Level
from benchsuite.metrics import ALPHA
from benchsuite.slo import Limit
from benchsuite.warning_table import DISTURBING, Finding


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval. low and high are None when there is none; `method` then says why."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str

    def times(self, factor: float) -> Estimate:
        """The same in a unit of which there are `factor` times as many."""
        value, low, high = (None if x is None else x * factor for x in (self.value, self.low, self.high))
        return Estimate(value, low, high, self.n, self.method)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Per-request values of a point: n, mean and observed percentiles (inverse of the empirical CDF).

    All None when n is 0. A table of aggregated points knows the mean alone.
    """

    n: int
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None

    def stat(self, name: str) -> float | None:
        """The statistic called `name` ('mean', 'p50', ... 'max')."""
        value: float | None = getattr(self, name)
        return value


EMPTY = Distribution(n=0)


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """What a scorer makes of one answer.

    score: 0 to 1; None where it could not be judged (broken reference, no verdict of a judge), never for a bad answer.
    reading: what was read as the answer, its first READING_CHARS, "" where nothing could be. how: the tier that read
    it, or why nothing was: unread, refused, cut_thinking, ... parts: what the score is made of, for figures that are no
    mean of scores.
    """

    score: float | None
    reading: str = ""
    how: str = ""
    parts: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reading", self.reading[:READING_CHARS])


READING_CHARS = 200


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """The mean score of items less that of the same items elsewhere. difference: in points of 1. p: two-sided, None
    without common items; p_corrected: by Holm, over all that are compared. left_out: items of one side alone.
    """

    difference: Estimate
    p: float | None
    left_out: int
    p_corrected: float | None = None

    @property
    def falls(self) -> bool:
        """It is proven that the first has the lower score."""
        p, value = self.p_corrected, self.difference.value
        return p is not None and value is not None and value < 0 and p < ALPHA


@dataclass(frozen=True, slots=True)
class ScenarioQuality:
    """The answers of one scenario at a level, over its repeats. n: requests issued, all of which count.

    score: the mean over items, whose answers are averaged first; of corrections F0.5 of summed edits. unread, cut,
    failed, refused: requests; all but the cut score 0. not_judged: in no score, as it is we who could not judge.
    points: the sum of the scores over all requests. items: score of each item that was judged. edits: of corrections,
    by item the true positives, false positives and false negatives. examples: requests that were unread and cut, at
    most three. not_judged_because: how many by reason. time_share: of the level's time in flight, None where not
    known. usd_per_correct: its share of the cost over its points; high None: no upper end, "at least".
    """

    scenario: str | None
    n: int
    score: Estimate
    unread: int
    cut: int
    failed: int
    refused: int
    not_judged: int
    points: float
    items: dict[str, float] = field(default_factory=dict)
    edits: dict[str, tuple[float, float, float]] | None = None
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_judged_because: dict[str, int] = field(default_factory=dict)
    time_share: float | None = None
    usd_per_correct: Estimate | None = None

    @property
    def resampled(self) -> Mapping[str, float | tuple[float, float, float]]:
        """By item what its score is made of: its edits if it has some."""
        return self.items if self.edits is None else self.edits


@dataclass(frozen=True, slots=True)
class Quality:
    """The answers of a level. score: the unweighted mean of its scenarios' scores, micro: the mean over all items.

    scorers: name -> version. graded: scores lie between 0 and 1 too, so that what is paid for is points. change:
    against the lowest level that has scores, on the same items; None for that level. usd_per_correct: cost over the sum
    of scores of all requests issued, None without a price. judge_can_tell: False where scores are of a judge that
    cannot tell right from wrong. hashes: of what was asked, and of the references that the scores were made by; None if
    not known.
    """

    score: Estimate
    micro: Estimate
    scenarios: tuple[ScenarioQuality, ...]
    scorers: dict[str, int]
    graded: bool
    change: ScoreChange | None = None
    usd_per_correct: Estimate | None = None
    judge_can_tell: bool = True
    hashes: tuple[str, str] | None = None

    def total(self, name: str) -> int:
        """The sum over scenarios of a count: n, unread, cut, failed, refused, not_judged."""
        return sum(getattr(one, name) for one in self.scenarios)

    @property
    def by_scenario(self) -> dict[str, dict[str, float]]:
        """Scores by scenario ("" for none) and item."""
        return {one.scenario or "": one.items for one in self.scenarios}

    @property
    def partial(self) -> bool:
        """More than 1 % could not be judged, or of a judge that cannot tell: no figure is compared with another's."""
        return not self.judge_can_tell or self.total("not_judged") > MAX_NOT_JUDGED * self.total("n")

    @property
    def time_share(self) -> float | None:
        """Of the level's time in flight, what requests with a scorer took."""
        shares = [one.time_share for one in self.scenarios if one.time_share is not None]
        return sum(shares) if len(shares) == len(self.scenarios) else None

    @property
    def unread_share(self) -> float:
        return self.total("unread") / self.total("n")


MAX_NOT_JUDGED = 0.01


@dataclass(frozen=True, slots=True)
class SteadyWindow:
    """The part of the runs with all virtual users busy: from the N-th completion to the last send.

    duration_s is summed over repeats; rates are ratios of sums. output_tok_s counts tokens by when their chunk came,
    not by when their request ended. ttft_s: requests that start inside. occupancy: share of the slots in use.
    """

    duration_s: float
    output_tok_s: float | None
    request_per_s: float | None
    ttft_s: Distribution
    occupancy: float | None = None


@dataclass(frozen=True, slots=True)
class PointSummary:
    """One level over its repeats. metrics.py names every figure, docs/METHODS.md defines them.

    Counts and token sums are over all repeats; duration_s and cost_usd are per run of the set (mean over repeats);
    rates are ratios of sums, so output_tok_s = output_tokens / (duration_s * repeat_count), of a rate those that came
    in its window. saturated: a rate whose requests came faster than they ended. probed: its repeats are probes of a
    search, windows of different lengths. n_failed is None in a table of
    aggregated points that does not tell. ratios, distributions: by Metric.key; intervals: by Statistic.column, empty
    for points of a table.
    """

    model: str | None
    level: Level
    repeat_count: int
    n_ok: int
    n_failed: int | None
    duration_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    ratios: dict[str, float | None]
    distributions: dict[str, Distribution]
    failures: dict[str, int] = field(default_factory=dict)
    reasoning_tokens: int | None = None
    steady: SteadyWindow | None = None
    max_in_flight: int | None = None
    littles_law_error: float | None = None
    saturated: bool = False
    probed: bool = False
    tokens_wasted: int | None = None
    warnings: tuple[Finding, ...] = ()
    intervals: dict[str, Estimate] = field(default_factory=dict)

    @property
    def disturbances(self) -> tuple[str, ...]:
        """The codes of the warnings for which the level's figures prove nothing."""
        return tuple(warning.code for warning in self.warnings if warning.code in DISTURBING)

    @property
    def saturation_text(self) -> str:
        """What saturated means of this rate: with a limit on the requests in flight its latencies may well not grow."""
        dropped = "dropped" in self.failures
        return f"saturated: {'requests were dropped' if dropped else 'latencies grow with the duration'}"

    @property
    def of_whole_runs(self) -> bool:
        """Its repeats are runs of the whole set, which take a time and cost a price that can be compared."""
        return self.level.rate_per_s is None and not self.probed

    @property
    def products(self) -> tuple[float | None, float | None, float | None]:
        """What the machine's time was paid for, over all repeats: requests, output tokens, all tokens. Of a window what
        left it, whenever it was due: a saturated one's queue ends in the tail, which nobody pays for."""
        output = self.output_tokens
        if self.of_whole_runs:
            both = None if self.input_tokens is None or output is None else self.input_tokens + output
            return self.n_ok, output, both
        per_s = (self.request_per_s, self.output_tok_s, self.ratios["total_tok_s"])
        seconds = (self.duration_s or 0.0) * self.repeat_count
        requests, tokens, total = (None if one is None else one * seconds for one in per_s)
        return requests, tokens, total

    @property
    def ttft_s(self) -> Distribution:
        return self.distributions["ttft_s"]

    @property
    def output_tok_s(self) -> float | None:
        return self.ratios["output_tok_s"]

    @property
    def request_per_s(self) -> float | None:
        return self.ratios["request_per_s"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A time-weighted mean over a level's windows, over its GPUs: the least, the mean and the greatest GPU."""

    least: float
    mean: float
    greatest: float


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What the GPUs did while a level was measured, over its repeats. GPUs only: the host is not in it.

    power_w, power_limit_w: all GPUs together; None unless known of every GPU. coverage_ratio: share of the windows that
    readings cover, of the GPU with the least. throttle_s: seconds by reason, of the GPU throttled longest; None: not
    told, {}: told, and never. foreign_processes: most seen on one GPU. zeros: by UUID what was 0, or a counter that
    stood still, throughout the run, so that it is not known.
    """

    source: str
    uuids: tuple[str, ...]
    n_samples: int
    coverage_ratio: float
    util_ratio: Spread | None = None
    memory_ratio: Spread | None = None
    sm_active_ratio: Spread | None = None
    tensor_active_ratio: Spread | None = None
    dram_active_ratio: Spread | None = None
    sm_clock_mhz: Spread | None = None
    memory_clock_mhz: Spread | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_max_c: float | None = None
    throttle_s: dict[str, float] | None = None
    foreign_processes: int | None = None
    zeros: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PointEnergy:
    """The energy of one run of the set at a level (mean over repeats), of all GPUs together. The host is NOT in it.

    method: from the energy counter, from power over time, of both kinds of GPU, or from the user's constant. gross_j:
    as drawn; net_j: less idle_w times the window; None where idle was not measured. mean_w: gross_j over the window, or
    the sampled power where there is no gross_j. j_per_*: over what succeeded. error_ratio: bound of gross_j's error by
    how old a reading may be at a window's edges. wall_j: gross_j times pue; electricity_usd, gco2_g: of wall_j, None
    without a price or a carbon intensity. codes: what limits trust in the figures.
    """

    n_gpus: int
    window_s: float
    method: Literal["counter", "power", "mixed", "constant"] | None
    gross_j: float | None
    idle_w: float | None
    net_j: float | None
    mean_w: float | None
    j_per_output_token: float | None
    net_j_per_output_token: float | None
    j_per_token: float | None
    j_per_request: float | None
    kwh: float | None
    error_ratio: float | None
    pue: float = 1.0
    wall_j: float | None = None
    gco2_g: float | None = None
    gco2_g_per_1m_output_tokens: float | None = None
    electricity_usd: float | None = None
    electricity_usd_per_1m_output_tokens: float | None = None
    codes: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class PointCost:
    """What one point costs. usd_per_hour: all GPUs together, None if no price is known; then all are None.

    cost_usd: one run of the set, of a rate its window. None too where the point lacks the denominator.
    """

    usd_per_hour: float | None
    cost_usd: float | None
    usd_per_1m_output_tokens: float | None
    usd_per_1m_total_tokens: float | None
    usd_per_request: float | None
    usd_per_good_request: float | None = None


SloVerdict = Literal["met", "not met", "undecided", "unknown"]


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """One limit at one level: the only verdict on it, which every surface shows.

    value: the figure that was judged, None if not known; steady: it is of the steady window, for the whole run is
    biased by its ramp-up and drain. asked: the SLO has the limit; else it is a guard (slo.GUARDS). p: that the limit is
    kept, None where the runs give no probability. why: what the verdict rests on, a code of economics.verdict.WHY with
    its values. repeats: runs in all that would decide it four times in five, requests: independent ones that a
    percentile or a share of requests needs in all; None where decided, or where no sensible number would.
    """

    limit: Limit
    value: float | None
    verdict: SloVerdict
    why: str
    values: dict[str, Any] = field(default_factory=dict)
    p: float | None = None
    repeats: int | None = None
    requests: int | None = None
    steady: bool = False
    asked: bool = True

    @property
    def within(self) -> bool:
        """The figure was seen within the limit."""
        return self.value is not None and bool(self.limit.holds(self.value))


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """What a closed loop of the same server says of a rate: its chain (economics.capacity), and its optimum's price.

    highest_request_per_s: what its highest level completed. in_flight, e2e_s, idle_share: predicted; None at that rate
    and above, where there is no steady state. level: its optimum under the SLO, None without one; usd_*: there;
    is_met: whether that is proven to meet the SLO.
    """

    highest_request_per_s: float
    in_flight: float | None
    e2e_s: float | None
    idle_share: float | None
    level: Level | None
    usd_per_1m_output_tokens: float | None
    usd_per_request: float | None
    is_met: bool = False


@dataclass(frozen=True, slots=True)
class EvaluatedLevel:
    """A point with its cost and the verdict on every limit.

    p_met: the share of resampled runs that keep every limit, None for one run. intervals: those of the point, and of
    its cost. energy, gpu: None where nothing measured. closed_loop: of a rate, None where no closed loop was given.
    quality: None where no answer was scored.
    """

    point: PointSummary
    cost: PointCost
    limits: tuple[LimitCheck, ...] = ()
    p_met: float | None = None
    intervals: dict[str, Estimate] = field(default_factory=dict)
    energy: PointEnergy | None = None
    gpu: GpuUse | None = None
    closed_loop: ClosedLoop | None = None
    quality: Quality | None = None

    @property
    def slo_verdict(self) -> SloVerdict:
        """Of all limits: not met if one is not, else unknown if one is, else undecided if one is. A guard counts where
        it is not met."""
        if self.point.saturated:
            return "not met"
        found = {check.verdict for check in self.limits if check.asked or check.verdict == "not met"}
        return next((verdict for verdict in ("not met", "unknown", "undecided") if verdict in found), "met")

    @property
    def within_limits(self) -> bool:
        """Every figure that the SLO limits was seen within its limit, which proves nothing of the next run."""
        return all(check.within for check in self.limits if check.asked)

    @property
    def is_candidate(self) -> bool:
        """It may be chosen: met, or undecided with every figure within its limit."""
        return self.slo_verdict == "met" or (self.slo_verdict == "undecided" and self.within_limits)

    def checks(self, *verdicts: SloVerdict) -> list[LimitCheck]:
        """The limits with one of these verdicts; a guard only where it is not met."""
        return [c for c in self.limits if c.verdict in verdicts and (c.asked or c.verdict == "not met")]

    @property
    def misses(self) -> tuple[str, ...]:
        """The limits not met, saturation first: 'output_throughput_per_user > 20 tok/s missed: 12.77 tok/s'."""
        saturated = (self.point.saturation_text,) * self.point.saturated
        checks = (c for c in self.checks("not met") if c.why != "saturated")
        return (*saturated, *(f"{c.limit} missed: {c.limit.show(c.value or 0.0)}" for c in checks))

    @property
    def doubts(self) -> tuple[str, ...]:
        """The limits that are neither: 'ttft_p95 < 0.5 s undecided: 0.48 s', 'ttft_mean < 1 s unknown'."""
        return tuple(
            f"{c.limit} unknown" if c.value is None else f"{c.limit} {c.verdict}: {c.limit.show(c.value)}"
            for c in self.checks("undecided", "unknown")
        )


@dataclass(frozen=True, slots=True)
class Effort:
    """What would settle a decision: `repeats` runs of each of `levels` in all, `more` of them new ones.

    requests: independent ones that a level needs in all, where a percentile asks for them. minutes, usd: of the new
    runs alone; None without a duration or a price.
    """

    levels: tuple[Level, ...]
    repeats: int
    more: int
    requests: int | None = None
    minutes: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Optimum:
    """The level to run at, `recommended`; whether it is proven to meet the SLO, `verdict` says.

    choice: the cheapest level that is seen to meet the SLO. runner_up: the cheapest such level but `recommended`.

    binding: the limit that stops a cheaper level, e.g. 'ttft_mean < 1 s', or 'no limit: ...' and why none does.
    recommended: `choice`; or where that is not sure to be the cheapest (P < 0.8) or to meet the SLO, of the levels
    that cost at most 5 % more one that is sure to meet it, the lowest of several. proven: the cheapest level that is
    proven to meet the SLO. effort: what would settle what is open of `recommended`. p_by_level: how often the rule
    picks each level when the runs are resampled, p_opt that of `recommended`; empty and None where a level has one
    run, and p_method says so. p_good: where `recommended` is the answer of a search.
    """

    kind: Literal["optimum"] = field(default="optimum", init=False)
    model: str | None
    choice: EvaluatedLevel
    runner_up: EvaluatedLevel | None
    binding: str | None
    reason: str
    recommended: EvaluatedLevel
    proven: EvaluatedLevel | None = None
    effort: Effort | None = None
    p_good: float | None = None
    p_opt: float | None = None
    p_by_level: dict[Level, float] = field(default_factory=dict)
    p_method: str = ""

    @property
    def verdict(self) -> SloVerdict:
        """Whether the level that is recommended meets the SLO: met or undecided."""
        return self.recommended.slo_verdict


@dataclass(frozen=True, slots=True)
class NoFeasiblePoint:
    """No level is seen to meet the SLO; `nearest` misses by the least (relative to its limits).

    verdict: not met where every level is proven to miss it, else undecided. effort, p_*: as for Optimum.
    """

    kind: Literal["none"] = field(default="none", init=False)
    model: str | None
    nearest: EvaluatedLevel | None
    reason: str
    verdict: SloVerdict = "not met"
    effort: Effort | None = None
    p_by_level: dict[Level, float] = field(default_factory=dict)
    p_method: str = ""


Decision = Optimum | NoFeasiblePoint
