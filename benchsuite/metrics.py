"""Every metric once. SLO limits, tables, CSV, JSON, Markdown, gate, comparison, page and column docs read this table.

To add a metric, add one entry. A metric of a level is one of three things:

* a ratio of two sums over its requests (`ratio`), so that a level, one repeat and a resampled run are computed alike;
* a distribution over its requests (`each`), with the statistics of STATS;
* anything else of a level that has been evaluated (`of`): counts, duration, cost, energy.

A word here knows nothing of numpy or of files: `each` is arithmetic on the arrays that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

STATS = ("mean", "p50", "p90", "p95", "p99", "max")
ALPHA = 0.05  # what an interval misses in the long run: every interval of the product, and its name, are of it
CONFIDENCE = f"{100 * (1 - ALPHA):g} %"
Unit = Literal["s", "tok/s", "req/s", "ratio", "usd", "tokens", "W", "J", ""]


@dataclass(frozen=True, slots=True)
class Metric:
    """key: the column's name in CSV, JSON and frames, with its unit. label: in the head of a table.

    word, aliases: how --slo and --max-regression name it; None: neither takes it. better: None where neither way is.
    ratio: addends above the line and what is below it, names of analysis.requests.LevelRows.sums. each: of
    analysis.requests.Rows; "chunks" where a request has a value for every pair of chunks. of_failed: failed requests
    have one too. of: of results.EvaluatedLevel. of_repeat: of LevelRows and Repeat, at a dollar an hour where the unit
    is usd. with_users: how it goes by its nature as users are added. of_kind: only such levels have it. of_answers: of
    the scores of a level's answers, which not every run has. shown, scale:
    the unit in tables, and from `unit` to it. otel: its name among OpenTelemetry's for generative AI.
    """

    key: str
    label: str
    unit: Unit
    meaning: str
    word: str | None = None
    aliases: tuple[str, ...] = ()
    better: Literal["less", "more"] | None = None
    ratio: tuple[tuple[str, ...], str] | None = None
    each: Callable[[Any], Any] | Literal["chunks"] | None = None
    of_failed: bool = False
    of: Callable[[Any], Any] | None = None
    of_repeat: Callable[[Any, Any], float | None] | None = None
    with_users: Literal["falls", "rises"] | None = None
    of_kind: Literal["concurrency", "rate"] | None = None
    of_answers: bool = False
    shown: str = ""
    scale: float = 1.0
    otel: str = ""

    @property
    def per_request(self) -> bool:
        """A request has a value of its own, so that there are percentiles."""
        return self.each is not None

    @property
    def limitable(self) -> bool:
        """An SLO may limit it."""
        return self.word is not None and (self.ratio is not None or self.each is not None or self.of_answers)

    @property
    def comparable(self) -> bool:
        """It is known of each repeat and one way is better, so that two runs can be compared by it."""
        return self.word is not None and self.better is not None and not self.of_answers

    @property
    def share(self) -> bool:
        """A share of all requests: a count, which has the intervals and the tests of a proportion."""
        return self.ratio is not None and self.ratio[1] == "issued"

    @property
    def needs_goodput(self) -> bool:
        """It counts requests that keep every per-request limit (--goodput)."""
        return self.ratio is not None and self.ratio[0][0].startswith("good")


class Statistic(NamedTuple):
    """A metric, and of one that each request has which statistic."""

    metric: Metric
    stat: str | None = None

    @property
    def column(self) -> str:
        """'ttft_p95_s', 'output_tok_s': the name in CSV, frames, intervals and the gate."""
        if self.stat is None:
            return self.metric.key
        if self.metric.unit == "s":
            return f"{self.metric.key.removesuffix('_s')}_{self.stat}_s"
        return f"{self.metric.key}_{self.stat}"

    @property
    def name(self) -> str:
        """'ttft_p95', 'output_throughput': as --slo and --max-regression write it."""
        word = self.metric.word or self.metric.key
        return f"{word}_{self.stat}" if self.stat else word

    @property
    def label(self) -> str:
        """'TTFT p95 ms', 'output tok/s': the head of a table's column."""
        return " ".join(part for part in (self.metric.label, self.stat, self.metric.shown) if part)

    @property
    def is_tail(self) -> bool:
        """A percentile beyond p90, or the greatest value, which few requests decide."""
        return self.stat in ("p95", "p99", "max")

    def of_point(self, point: Any) -> float | None:
        """The value of a results.PointSummary. None if it is not known, or not a matter of requests alone."""
        if self.stat is not None:
            value: float | None = point.distributions[self.metric.key].stat(self.stat)
            return value
        ratio: float | None = point.ratios.get(self.metric.key)
        return ratio

    def of(self, level: Any) -> Any:
        """The value of a results.EvaluatedLevel in the base unit; None if it is not known."""
        return self.of_point(level.point) if self.metric.of is None else self.metric.of(level)

    def of_repeat(self, measured: Any, repeat: Any, usd_per_hour: float | None = None) -> float | None:
        """The value of one repeat (analysis.requests.LevelRows, Repeat). Without a price: at a dollar an hour."""
        if self.stat is not None:
            value: float | None = measured.distribution(self.metric, repeat).stat(self.stat)
        elif self.metric.ratio is not None:
            value = measured.ratio(self.metric, repeat)
        else:
            assert self.metric.of_repeat is not None
            value = self.metric.of_repeat(measured, repeat)
        if value is None or self.metric.unit != "usd" or usd_per_hour is None:
            return value
        return value * usd_per_hour


def _latency(
    key: str, label: str, meaning: str, each: Any, word: str | None = None, aliases: tuple[str, ...] = (), **more: Any
) -> Metric:
    shown: dict[str, Any] = {"shown": "ms", "scale": 1e3} | more
    return Metric(key, label, "s", meaning, word, aliases, "less", each=each, with_users="rises", **shown)


def _rate(
    key: str, label: str, meaning: str, above: str | tuple[str, ...], below: str, word: str | None, *aliases: str,
    unit: Unit = "tok/s", better: Literal["less", "more"] | None = "more", **more: Any,
) -> Metric:  # fmt: skip
    names = (above,) if isinstance(above, str) else above
    return Metric(key, label, unit, meaning, word, aliases, better, ratio=(names, below), **more)


def _of(key: str, label: str, unit: Unit, meaning: str, of: Callable[[Any], Any], **more: Any) -> Metric:
    return Metric(key, label, unit, meaning, of=of, **more)


def _hours(_: Any, repeat: Any) -> float:
    return float(repeat.duration_s) / 3600


def _hours_per_1m(measured: Any, repeat: Any) -> float | None:
    tokens = measured.total("arrived_tokens", repeat)
    return _hours(measured, repeat) * 1e6 / tokens if tokens else None


def _reasoning_share(level: Any) -> float | None:
    reasoning, output = level.point.reasoning_tokens, level.point.output_tokens
    return None if reasoning is None or not output else reasoning / output


REASONING = ("reasoning_tokens", "reasoning_share", "reasoning_usd")  # shown where a model thinks
_TABLE = (
    _of("concurrency", "concurrency", "", "virtual users: the level", lambda j: j.point.level.concurrency,
        of_kind="concurrency"),
    _of("rate_per_s", "rate", "req/s", "arrivals a second: the level of an open loop; missing in a closed loop",
        lambda j: j.point.level.rate_per_s, of_kind="rate"),
    _of("repeat_count", "repeats", "", "times that the level was measured", lambda j: j.point.repeat_count),
    _of("n_ok", "successful", "", "requests that succeeded, over all repeats", lambda j: j.point.n_ok),
    _of("n_failed", "failed", "", "requests that did not", lambda j: j.point.n_failed),
    _rate("error_rate", "errors", "share of the issued requests that failed", "failed", "issued", "error_rate",
          "errors", unit="ratio", better="less", with_users="rises"),
    _rate("empty_rate", "empty", "share of the issued requests that were answered without a token", "empty", "issued",
          "empty_rate", unit="ratio", better="less", with_users="rises"),
    _of("duration_s", "duration", "s", "duration of one run of the set, mean over repeats",
        lambda j: j.point.duration_s, word="duration", better="less", shown="s",
        of_repeat=lambda _, repeat: repeat.duration_s),
    _latency("ttft_s", "TTFT", "time to first token: first_token_s - sent_s, of a rate - scheduled_s",
             lambda r: r.first_token_s - r.begin_s, "ttft", otel="gen_ai.client.inference.time_to_first_chunk"),
    _latency("ttft_sent_s", "TTFT sent", "of a rate: first_token_s - sent_s, without what a late client adds",
             lambda r: r.first_token_s - r.sent_s, of_kind="rate"),
    _latency("ttfa_s", "TTFA", "the same to the first token of the answer, reasoning skipped",
             lambda r: r.first_answer_s - r.begin_s, "ttfa"),
    _latency("tpot_s", "TPOT", "time per output token after the first chunk: decode time / the tokens in it",
             lambda r: r.decode_span_s / r.decode_tokens, "tpot"),
    _latency("itl_s", "ITL", "inter-token latency: between chunks, which may hold several tokens", "chunks", "itl",
             otel="gen_ai.client.inference.time_per_output_chunk"),
    _latency("e2e_s", "E2E", "whole request: last_token_s (without a stream closed_s) - sent_s, or scheduled_s",
             lambda r: r.ends_s - r.begin_s, "e2e", ("e2el", "latency"), shown="s", scale=1.0,
             otel="gen_ai.client.inference.duration"),
    _latency("e2e_sent_s", "E2E sent", "of a rate: the same from sent_s", lambda r: r.ends_s - r.sent_s, shown="s",
             scale=1.0, of_kind="rate"),
    _latency("dispatch_s", "dispatch", "from when a request was due, or its virtual user free, until it was sent",
             lambda r: r.sent_s - r.scheduled_s, of_failed=True),
    Metric("request_e2e_tok_s", "request tok/s", "tok/s", "output tokens of a request / its end-to-end time",
           better="more", each=lambda r: r.output_tokens / (r.ends_s - r.begin_s)),
    Metric("request_decode_tok_s", "request decode tok/s", "tok/s", "1 / TPOT", better="more",
           each=lambda r: r.decode_tokens / r.decode_span_s),
    _rate("output_tok_s_per_user", "tok/s/user", "per user: output tokens / (duration x users)",
          "output_tokens", "user_s", "output_throughput_per_user", with_users="falls", of_kind="concurrency"),
    _rate("decode_tok_s", "decode tok/s", "per user while decoding, weighted by tokens",
          "decode_tokens", "decode_span_s", "decode_throughput", with_users="falls"),
    _rate("output_tok_s", "output tok/s", "of the system: output tokens (of a rate those that came in it) / duration",
          "arrived_tokens", "duration_s", "output_throughput", "throughput"),
    _rate("total_tok_s", "total tok/s", "of the system, with input tokens",
          ("prefilled_tokens", "arrived_tokens"), "duration_s", "total_throughput"),
    _rate("request_per_s", "req/s", "requests that ended well (of a rate those that ended in it) / duration",
          "completed", "duration_s", "request_throughput", "rps", unit="req/s"),
    _rate("offered_per_s", "offered req/s", "of a rate: requests due / duration", "issued", "duration_s", None,
          unit="req/s", better=None, of_kind="rate"),
    _rate("goodput_per_s", "goodput req/s", "of those the requests that meet every per-request limit / duration",
          "good_completed", "duration_s", "goodput", unit="req/s"),
    _rate("attainment", "attainment", "share of issued requests that meet every per-request limit; failures miss",
          "good", "issued", "attainment", unit="ratio", with_users="falls"),
    _rate("occupancy", "occupancy", "mean share of the users in flight", "in_flight_s", "user_s", "occupancy",
          unit="ratio", of_kind="concurrency"),
    _rate("in_flight", "in flight", "of a rate: mean number of requests in flight", "in_flight_s", "duration_s", None,
          unit="", better=None, of_kind="rate"),
    _of("in_flight_max", "max in flight", "", "of a rate: most requests in flight at once",
        lambda j: j.point.max_in_flight if j.point.level.rate_per_s else None, of_kind="rate"),
    _rate("idle_share", "idle", "of a rate: share of the time with nothing in flight", "idle_s", "duration_s", None,
          unit="ratio", better=None, of_kind="rate"),
    _of("in_flight_predicted", "in flight, chain", "", "of a rate: as the closed loop's levels predict it",
        lambda j: j.closed_loop and j.closed_loop.in_flight, of_kind="rate"),
    _of("e2e_predicted_s", "E2E, chain", "s", "the same of the mean E2E: in flight / rate (Little's law)",
        lambda j: j.closed_loop and j.closed_loop.e2e_s, shown="s", of_kind="rate"),
    _of("idle_share_predicted", "idle, chain", "ratio", "the same of the share of the time with nothing in flight",
        lambda j: j.closed_loop and j.closed_loop.idle_share, of_kind="rate"),
    _of("input_tokens", "input tokens", "tokens", "of all successful requests", lambda j: j.point.input_tokens,
        otel="gen_ai.client.inference.usage.input_tokens"),
    _of("output_tokens", "output tokens", "tokens", "of all successful requests", lambda j: j.point.output_tokens,
        otel="gen_ai.client.inference.usage.output_tokens"),
    _of("reasoning_tokens", "thinking tokens", "tokens", "reasoning tokens among them; missing if not reported",
        lambda j: j.point.reasoning_tokens, otel="gen_ai.client.inference.usage.reasoning.output_tokens"),
    _of("reasoning_share", "thinking", "ratio", "reasoning tokens / output tokens", _reasoning_share),
    _of("reasoning_usd", "$ thinking", "usd", "part of the cost of one run that is for reasoning tokens",
        lambda j: None if j.cost.cost_usd is None or (share := _reasoning_share(j)) is None
        else j.cost.cost_usd * share),
    _of("usd_per_hour_total", "$/hour", "usd", "price of an hour of all GPUs together", lambda j: j.cost.usd_per_hour),
    _of("cost_usd", "$ per run", "usd", "one run of the set; missing without a price", lambda j: j.cost.cost_usd,
        word="run_cost", better="less", of_repeat=_hours),
    _of("usd_per_1m_output_tokens", "$/1M out", "usd", "price of a million output tokens",
        lambda j: j.cost.usd_per_1m_output_tokens, word="cost", better="less", of_repeat=_hours_per_1m),
    _of("usd_per_1m_total_tokens", "$/1M", "usd", "price of a million tokens, input and output together",
        lambda j: j.cost.usd_per_1m_total_tokens),
    _of("usd_per_request", "$/request", "usd", "price of a request", lambda j: j.cost.usd_per_request),
    _of("usd_per_1m_at_capacity", "$/1M at capacity", "usd", "of a rate: a million output tokens at the optimum of the "
        "closed loop", lambda j: j.closed_loop and j.closed_loop.usd_per_1m_output_tokens, of_kind="rate"),
    _of("usd_per_request_at_capacity", "$/request at capacity", "usd", "of a rate: a request there",
        lambda j: j.closed_loop and j.closed_loop.usd_per_request, of_kind="rate"),
    _of("usd_per_good_request", "$/good", "usd", "price of a request that meets every per-request limit",
        lambda j: j.cost.usd_per_good_request),
    _of("score", "score", "ratio", "unweighted mean of the scenarios' scores; failed and unread answers are 0",
        lambda j: j.quality and j.quality.score.value, word="score", better="more", of_answers=True),
    _of("micro_score", "micro score", "ratio", "the mean score of all items, whatever their scenario",
        lambda j: j.quality and j.quality.micro.value, better="more", of_answers=True),
    _of("unread_share", "unread", "ratio", "share of the scored requests whose answer could not be read",
        lambda j: j.quality and j.quality.unread_share, better="less", of_answers=True),
    _of("usd_per_1m_correct", "$/1M correct", "usd", "price of a million correct answers (of graded scores: points); "
        "failed and unread answers are paid for",
        lambda j: None if j.quality is None or (usd := j.quality.usd_per_correct) is None or usd.value is None
        else usd.value * 1e6, better="less", of_answers=True),
    _of("gross_j", "J", "J", "energy of the GPUs for one run of the set", lambda j: j.energy and j.energy.gross_j),
    _of("j_per_output_token", "J/out token", "J", "energy of the GPUs for an output token; missing if not measured",
        lambda j: j.energy and j.energy.j_per_output_token, better="less"),
    _of("gpu_mean_w", "W", "W", "mean power of all GPUs", lambda j: j.energy and j.energy.mean_w),
    _of("gpu_util_ratio", "GPU util", "ratio", "share of time in which any kernel ran, mean of the GPUs",
        lambda j: j.gpu and j.gpu.util_ratio and j.gpu.util_ratio.mean),
)  # fmt: skip
METRICS: dict[str, Metric] = {metric.key: metric for metric in _TABLE}
_BY_WORD = {
    word: metric
    for metric in _TABLE
    for word in (metric.key, metric.key.removesuffix("_s"), metric.word, *metric.aliases)
    if word is not None
}
LATENCIES = tuple(metric for metric in _TABLE if metric.per_request)
RATIOS = tuple(metric for metric in _TABLE if metric.ratio is not None)
STATISTICS = tuple(
    Statistic(metric, stat) for metric in _TABLE for stat in (STATS if metric.per_request else (None,))
)  # every column of a level, in the order of the columns
BY_COLUMN = {one.column: one for one in STATISTICS}


def find(text: str) -> Statistic | None:
    """What a person means: ttft_p95, p95_ttft, ttft (its mean), e2el, cost, output_tok_s, ttft_p95_s."""
    name = text.strip().lower()
    if (exact := _BY_WORD.get(name)) is not None:
        return Statistic(exact, "mean" if exact.per_request else None)
    head, _, tail = name.removesuffix("_s").rpartition("_")
    if tail not in STATS:  # p99_ttft, as some peers write it
        tail, _, head = name.removesuffix("_s").partition("_")
    metric = _BY_WORD.get(head)
    return Statistic(metric, tail) if metric is not None and metric.per_request and tail in STATS else None


def names(of: Iterable[Metric] = _TABLE) -> list[str]:
    """The names that `find` takes, as a person would write them."""
    return [
        word if stat is None else f"{word}_{stat}"
        for metric in of
        if metric.word is not None
        for word in (metric.word, *metric.aliases)
        for stat in ((None, *STATS) if metric.per_request else (None,))
    ]


_STAT_WORDS = {"mean": "mean", "p50": "median", "max": "greatest"}


_WITH_ENDS = (
    "duration_s", "cost_usd", "usd_per_1m_output_tokens", "score", "micro_score", "usd_per_1m_correct"
)  # fmt: skip


def _has_ends(one: Statistic) -> bool:
    metric = one.metric
    if metric.per_request:
        return metric.word is not None and metric.each != "chunks" and one.stat in ("mean", "p50", "p95", "p99")
    return metric.ratio is not None or metric.key in _WITH_ENDS


WITH_INTERVAL = tuple(one.column for one in STATISTICS if _has_ends(one))
# with one run the interval of a mean is about its steady part, not about all of it
OF_STEADY = tuple(one.column for one in STATISTICS if one.stat == "mean" and one.column in WITH_INTERVAL)


def _of_interval(column: str, part: str) -> Callable[[Any], Any]:
    return lambda level: getattr(level.intervals.get(column), part, None)


def _row() -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    """Each column of a level: its name, what it means, and its value of a results.EvaluatedLevel."""
    yield "model", "as the run names it", lambda level: level.point.model
    for one in STATISTICS:
        column = of = one.column
        stat = "" if one.stat is None else f"; {_STAT_WORDS.get(one.stat, f'{one.stat[1:]}th percentile')}"
        yield column, one.metric.meaning + stat, one.of
        if column in OF_STEADY:
            of = f"{column}_steady"
            words = "of the steady part of a single run; of all where there are repeats"
            yield of, words, _of_interval(column, "value")
        if column in WITH_INTERVAL:
            for end, part in (("lower", "low"), ("upper", "high")):
                words = f"{end} end of the {CONFIDENCE} interval of {of}; missing where there is none"
                yield f"{column}_{part}", words, _of_interval(column, part)
    verdict = "whether the level meets the SLO: met, not met, undecided, or unknown"
    yield "slo_verdict", verdict, lambda level: level.slo_verdict
    within = "every figure was within its limit, which proves nothing of the next run"
    yield "within_limits", within, lambda level: level.within_limits
    yield "p_met", "share of resampled runs that meet every limit; missing for one run", lambda level: level.p_met
    misses = "the limits that are not met, and those that are undecided or not known, as text"
    yield "misses", misses, lambda level: "; ".join((*level.misses, *level.doubts))
    codes = "codes of what a reader must know first"
    yield "warnings", codes, lambda level: " ".join(dict.fromkeys(warn.code for warn in level.point.warnings))


_ROW = tuple(_row())
COLUMNS = {name: words for name, words, _ in _ROW}


def level_row(level: Any) -> dict[str, Any]:
    """A results.EvaluatedLevel as a row: what COLUMNS names, in their order. Missing is None."""
    return {name: of(level) for name, _, of in _ROW}
