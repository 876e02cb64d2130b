"""Tables of levels that the terminal and the page both show: the same heads, rows and numbers on both. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import exp
from typing import Any, NamedTuple

from benchsuite.analysis.gpu import J_PER_KWH
from benchsuite.analysis.intervals import Z
from benchsuite.metrics import BY_COLUMN, LATENCIES, REASONING, STATS, Statistic
from benchsuite.report import format as fmt
from benchsuite.report.judge import Judgement
from benchsuite.results import Decision, EvaluatedLevel, Quality, ScenarioQuality, Spread
from benchsuite.workload.dataset import note_of

Row = tuple[str, ...]


class Column(NamedTuple):
    """field: the attribute of a row's object that `show` turns into text."""

    head: str
    field: str
    show: Callable[[Any], str]


def level_table(columns: Sequence[Column], rows: Iterable[tuple[Any, ...]]) -> tuple[Row, list[Row]]:
    """Heads and cells. rows: a level, then the objects that have the fields. Columns without any value are left out."""
    rows = list(rows)
    cells = [
        (str(level), *(c.show(next(getattr(of, c.field) for of in objects if hasattr(of, c.field))) for c in columns))
        for level, *objects in rows
    ]
    return fmt.known_columns((fmt.level_head(row[0] for row in rows), *(one.head for one in columns)), cells)


def _difference_ms(value_s: float | None) -> str:
    """Milliseconds; below half a microsecond a difference is rounding."""
    return fmt.ms(0.0 if value_s is not None and abs(value_s) < 5e-7 else value_s)


def _scaled(factor: float) -> Callable[[float | None], str]:
    return lambda value: fmt.number(None if value is None else value * factor)


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return fmt.DASH
    mean, least, greatest = (f"{100 * ratio:.0f}" for ratio in (spread.mean, spread.least, spread.greatest))
    return f"{mean} %" if least == greatest else f"{mean} % ({least}{fmt.DASH}{greatest})"


TTFT = (  # of Attribution
    Column("n", "n", fmt.count),
    Column("TTFT ms", "ttft_s", fmt.ms),
    Column("client ms", "client_s", fmt.ms),
    Column("network ms", "network_s", _difference_ms),
    Column("queue ms", "queue_s", fmt.ms),
    Column("prefill ms", "prefill_s", fmt.ms),
    Column("rest ms", "rest_s", _difference_ms),
    Column("dispatch ms", "dispatch_s", fmt.ms),
)
SERVER = (  # of Attribution and ServerUse
    Column("ITL server ms", "server_itl_s", fmt.ms),
    Column("ITL client ms", "client_itl_s", fmt.ms),
    Column("running mean", "running_mean", fmt.number),
    Column("running max", "running_max", fmt.number),
    Column("waiting mean", "waiting_mean", fmt.number),
    Column("waiting max", "waiting_max", fmt.number),
    Column("KV cache mean", "kv_cache_mean_ratio", fmt.percent),
    Column("KV cache max", "kv_cache_max_ratio", fmt.percent),
    Column("prefix hits", "prefix_cache_hit_ratio", fmt.percent),
    Column("preempted", "preemptions", fmt.number),
)
ENERGY = (  # of PointEnergy
    Column("source", "method", lambda method: method or fmt.DASH),
    Column("window s", "window_s", fmt.number),
    Column("mean W", "mean_w", fmt.number),
    Column("idle W", "idle_w", fmt.number),
    Column("gross kJ", "gross_j", _scaled(1e-3)),
    Column("net kJ", "net_j", _scaled(1e-3)),
    Column("gross J/out", "j_per_output_token", fmt.number),
    Column("net J/out", "net_j_per_output_token", fmt.number),
    Column("error", "error_ratio", fmt.percent),
)
ELECTRICITY = (  # of PointEnergy
    Column("J/token", "j_per_token", fmt.number),
    Column("J/request", "j_per_request", fmt.number),
    Column("kWh", "kwh", fmt.number),
    Column("kWh * PUE", "wall_j", _scaled(1 / J_PER_KWH)),
    Column("electricity", "electricity_usd", fmt.usd),
    Column("$/1M out", "electricity_usd_per_1m_output_tokens", fmt.usd),
    Column("gCO2", "gco2_g", fmt.number),
    Column("gCO2/1M out", "gco2_g_per_1m_output_tokens", fmt.number),
)
ANY_KERNEL = (
    "util: the share of time in which any kernel ran, near 100 % at low concurrency already; it shows no headroom: "
    "choose the size by the SLO, SM and DRAM activity instead"
)
GPUS = (  # of GpuUse
    Column("util", "util_ratio", _spread),
    Column("memory", "memory_ratio", _spread),
    Column("SM", "sm_active_ratio", _spread),
    Column("tensor", "tensor_active_ratio", _spread),
    Column("DRAM", "dram_active_ratio", _spread),
    Column("SM MHz", "sm_clock_mhz", lambda clock: fmt.number(None if clock is None else clock.mean)),
    Column("limit W", "power_limit_w", fmt.number),
    Column("max °C", "temperature_max_c", fmt.number),
    Column(
        "throttled s", "throttle_s", lambda held: fmt.DASH if held is None else fmt.number(max([0, *held.values()]))
    ),
    Column("coverage", "coverage_ratio", fmt.percent),
)
ENDPOINTS = (  # of EndpointPart
    Column("requests", "requests", fmt.count),
    Column("share", "request_share", fmt.percent),
    Column("failed", "failures", fmt.count),
    Column("output tokens", "output_tokens", fmt.count),
    Column("TTFT ms", "ttft_s", fmt.ms),
    Column("TPOT ms", "tpot_s", fmt.ms),
    Column("busy", "busy_share", fmt.percent),
    Column("role", "role", lambda role: "API" if role == "fallback" else role),
    Column("endpoint", "endpoint", lambda url: (url or fmt.DASH).removeprefix("http://").removeprefix("https://")),
)
FALLBACK = (  # of FallbackUse
    Column("refused", "tries", fmt.count),
    Column("untried", "skips", fmt.count),
    Column("share of requests", "request_share", fmt.percent),
    Column("share of tokens", "token_share", fmt.percent),
    Column("API $", "api_usd", fmt.number),
    Column("own $", "own_usd", fmt.number),
    Column("$/1M out", "usd_per_1m_output_tokens", fmt.number),
    Column("own $/1M out", "own_usd_per_1m_output_tokens", fmt.number),
)
SCALING = (  # of ScalingLevel
    Column("output tok/s", "output_tok_s", fmt.number),
    Column("$/1M out", "usd_per_1m_output_tokens", fmt.usd),
    Column("saved per user added", "step_saving_usd", fmt.usd),
    Column("elasticity", "elasticity", lambda value: fmt.DASH if value is None else f"{value:.2f}"),
    Column("SLO", "slo_verdict", str),
    Column("in zone", "in_zone", lambda inside: "yes" if inside else ""),
)


def endpoint_rows(judgement: Judgement) -> list[tuple[Any, ...]]:
    return [(level, part) for level, balance in judgement.endpoints.items() for part in balance.parts]


# what a table of all levels shows on a page: first, and behind "More"
SHORT = (
    "concurrency", "rate_per_s", "n_failed", "ttft_mean_s", "tpot_mean_s", "output_tok_s_per_user", "output_tok_s",
    "goodput_per_s", "attainment", "score", "usd_per_good_request", "usd_per_1m_correct", "usd_per_1m_output_tokens",
)  # fmt: skip
LEVELS = (
    "concurrency", "rate_per_s", "repeat_count", "n_ok", "n_failed", "duration_s", "offered_per_s", "in_flight",
    "in_flight_max", "idle_share", "ttft_mean_s", "ttft_p99_s", "ttft_p95_s", "ttft_sent_mean_s", "e2e_sent_mean_s",
    "tpot_mean_s", "output_tok_s_per_user", "output_tok_s", "goodput_per_s", "attainment", "score", "unread_share",
    "output_tokens", "cost_usd", "usd_per_good_request", "usd_per_1m_correct", "usd_per_1m_output_tokens", *REASONING,
)  # fmt: skip


QUALITY_WORDS = ("scenario",)  # its column that is no number
_COUNTED = ("n", "unread", "cut", "failed", "refused", "not_judged")
_NO_NEWS = ("refused", "not judged")  # columns that are shown where there are any


def quality_table(judged: Sequence[EvaluatedLevel]) -> tuple[Row, list[Row]] | None:
    """Each level and scenario, and below several scenarios all of them: n requests, their items and score with its
    interval, what became of the rest, and what a correct answer cost. None where no answer was scored."""
    rows = list[Row]()
    scored = [(j.point.level, j.quality) for j in judged if j.quality is not None]
    for level, quality in scored:
        for one in quality.scenarios:
            counts = [fmt.count(getattr(one, name)) for name in _COUNTED]
            rows.append((str(level), one.scenario or "all", *counts, fmt.count(len(one.items)), *_score_and_cost(one)))
        if len(quality.scenarios) > 1:
            counts, items = [fmt.count(quality.total(name)) for name in _COUNTED], fmt.count(quality.micro.n)
            rows.append((str(level), "mean of scenarios", *counts, items, *_score_and_cost(quality)))
            micro, none = fmt.estimate_text(quality.micro, fmt.percent), [fmt.DASH] * len(_COUNTED)
            rows.append((str(level), "mean of items", *none, items, micro, fmt.DASH))
    if not scored:
        return None
    last = fmt.head("usd_per_1m_correct", judged)
    counted = [name.replace("_", " ") for name in _COUNTED]
    heads = (fmt.level_head(level for level, _ in scored), "scenario", *counted, "items", "score", last)
    dull = [i for i, head in enumerate(heads) if head in _NO_NEWS]
    return fmt.known_columns(
        heads, [tuple(fmt.DASH if i in dull and cell == "0" else cell for i, cell in enumerate(row)) for row in rows]
    )


def _score_and_cost(of: ScenarioQuality | Quality) -> tuple[str, str]:
    per_1m = of.usd_per_correct and of.usd_per_correct.times(1e6)
    return fmt.estimate_text(of.score, fmt.percent), fmt.estimate_text(per_1m, fmt.usd)


def load_table(judged: Sequence[EvaluatedLevel]) -> tuple[Row, list[Row]] | None:
    """The score of each level less that of the lowest, on the same items; None where no two can be compared."""
    known = [(j.point.level, change) for j in judged if j.quality and (change := j.quality.change) is not None]
    rows: list[Row] = [
        (
            str(level), fmt.count(change.difference.n), fmt.count(change.left_out),
            fmt.estimate_text(change.difference, fmt.points), f"{change.p:.2g}", f"{change.p_corrected:.2g}",
            "falls" if change.falls else "not proven to fall",
        )
        for level, change in known if change.p is not None
    ]  # fmt: skip
    heads = ("items", "left out", "change, points", "p", "p (Holm)", "answers")
    return ((fmt.level_head(level for level, _ in known), *heads), rows) if rows else None


def quality_notes(judged: Sequence[EvaluatedLevel]) -> list[str]:
    """What a reader of the scores must know: what counts, whose cost it is, and what the set is not."""
    scored = [j.quality for j in judged if j.quality is not None]
    if not scored:
        return [
            "no answer has a score: benchsuite score RUN scores those of a set with references, "
            "unless their length is fixed"
        ]
    rules = dict(sorted(rule for quality in scored for rule in quality.scorers.items()))
    names = ", ".join(f"{name} {version}" for name, version in rules.items())
    notes = [f"every request issued counts, failed and unread ones as 0; scorers and their versions: {names}"]
    because = Counter[str]()
    for quality in scored:
        for one in quality.scenarios:
            because.update(one.not_judged_because)
    if because:
        words = ", ".join(f"{fmt.count(n)} {why or 'unknown'}" for why, n in because.most_common(5))
        notes.append(f"what could not be judged is in no score: {words}")
    shares = [share for quality in scored if (share := quality.time_share) is not None]
    costs = [quality.usd_per_correct for quality in scored if quality.usd_per_correct is not None]
    if costs and shares and min(shares) < 0.9995:
        notes.append(
            "prompts without a scorer are in no score and in no cost here: those with one took "
            f"{fmt.percent(min(shares))} of the time in flight, and so much of the cost is theirs"
        )
    if any("as exact" in cost.method for cost in costs):
        notes.append("the cost of one run is taken as exact: its interval is that of the score alone")
    said = {note_of(item) for quality in scored for one in quality.scenarios for item in one.items}
    return notes + [f"the set: {note}" for note in said if note]


CLOSED_LOOP_TITLE = "Measured, and as a closed loop of the same server says (chain, capacity)"
CLOSED_LOOP = (
    "rate_per_s", "request_per_s", "in_flight", "in_flight_predicted", "e2e_mean_s", "e2e_predicted_s", "idle_share",
    "idle_share_predicted", "usd_per_1m_output_tokens", "usd_per_1m_at_capacity", "usd_per_request",
    "usd_per_request_at_capacity",
)  # fmt: skip


_MOST_LN = 100.0  # what a foreign folder may say
SEARCH_TITLE = "Probes of the search, in their order"
SEARCH_WORDS = ("phase", "verdict", "nearest limit")  # its columns that are no numbers


def search_table(judgement: Judgement) -> tuple[Row, list[Row]] | None:
    """What each probe of a search was for and found: the limit with the least margin (limit over figure, less 1), with
    a 95 % interval within the probe, its verdict, what came a second and what one of it costs. None of a sweep."""
    if judgement.run is None or (search := judgement.run.manifest.search) is None:
        return None
    probes, hour = judgement.run.manifest.probes, judgement.usd_per_hour_total
    good, rows, seconds = search.per == "good_request", list[Row](), 0.0
    for entry, probe in probes:
        seconds += probe.seconds
        binding = min(probe.margins, key=lambda name: probe.margins[name][0], default=None)
        margin = fmt.DASH
        if binding is not None:
            value, error = probe.margins[binding]
            low, high = (fmt.margin_text(value + z * error).removesuffix(" %") for z in (-Z, Z))
            margin = f"{fmt.margin_text(value)} [{low}, {high}]"
        per_s = None if probe.ln_x is None or abs(probe.ln_x[0]) > _MOST_LN else exp(probe.ln_x[0])
        usd = None if hour is None or per_s is None else hour / 3600 / per_s * (1 if good else 1e6)
        rows.append(
            (
                str(entry.level or probe.level),
                probe.phase,
                "failed" if probe.failed else probe.verdict or fmt.DASH,
                margin,
                binding or fmt.DASH,
                fmt.count(probe.n_requests),
                fmt.number(per_s),
                fmt.usd(usd),
                fmt.number(seconds / 60),
            )
        )
    head = fmt.level_head(entry.level for entry, _ in probes if entry.level is not None)
    paid = ("good requests/s", "$ per good request") if good else ("output tok/s", "$/1M out")
    return (head, "phase", "verdict", "margin", "nearest limit", "judged", *paid, "min so far"), rows


def closed_loop_table(judged: Sequence[EvaluatedLevel]) -> tuple[Row, list[Row]] | None:
    """Measured beside predicted, and the price beside that at capacity; None where no closed loop was given."""
    if all(j.closed_loop is None for j in judged):
        return None
    rows = [tuple(fmt.cell(j, column) for column in CLOSED_LOOP) for j in judged]
    return fmt.known_columns([fmt.head(column) for column in CLOSED_LOOP], rows)


def levels_table(judged: Sequence[EvaluatedLevel], decision: Decision | None = None) -> tuple[Row, list[Row]]:
    """Every level with its verdict, without columns of nothing; of TTFT's percentiles the highest that any supports.

    decision: SHORT instead, with the intervals over runs, the failed where any did, and how sure SLO and choice are.
    """
    other = "ttft_p95_s" if fmt.best_tail(judged) == "p99" else "ttft_p99_s"
    columns = [column for column in (LEVELS if decision is None else SHORT) if column != other]
    if decision is not None:
        columns = [one for one in columns if one != "n_failed" or any(j.point.n_failed for j in judged)]
        if all(BY_COLUMN[columns[-1]].of(j) is None for j in judged):  # without a price or tokens
            columns[-1:] = ["duration_s", "cost_usd"]
    shown = fmt.with_judged(columns, judged)
    sure, rows = ["P(SLO)", "P(optimal)"] * (decision is not None), []
    for j in judged:
        cell = fmt.cell if decision is None or j.point.repeat_count == 1 else fmt.interval_cell
        p = [] if decision is None else [j.p_met, decision.p_by_level.get(j.point.level)]
        rows.append([*(cell(j, column) for column in shown), *map(fmt.chance, p), fmt.slo_cell(j)])
    return fmt.known_columns([*(fmt.head(column, judged) for column in shown), *sure, "SLO"], rows)


def latency_table(judged: Sequence[EvaluatedLevel]) -> tuple[Row, list[Row]]:
    """Every statistic of every latency that is known, by level; those that the SLO limits first."""
    limited = [check.limit.metric for check in judged[0].limits if check.asked] if judged else []
    thinks = any(one.point.reasoning_tokens for one in judged)
    metrics = [m for m in LATENCIES if m.word and (thinks or m.key != "ttfa_s" or m.key in limited)]
    metrics.sort(key=lambda m: m.key not in limited)
    rows = [
        (
            str(one.point.level),
            f"{m.label} {m.shown}",
            fmt.count(n),
            *(fmt.cell(one, Statistic(m, stat).column, asked=True) for stat in STATS),
        )
        for one in judged
        for m in metrics
        if (n := one.point.distributions[m.key].n)
    ]
    return (fmt.level_head(one.point.level for one in judged), "latency", "n", *STATS), rows


_INTERVALS = ("duration_s", "ttft_mean_s", "output_tok_s_per_user", "goodput_per_s", "attainment",
              "usd_per_1m_output_tokens")  # fmt: skip


def interval_table(judged: Sequence[EvaluatedLevel], decision: Decision) -> tuple[Row, list[Row]]:
    """What the runs' spread leaves open: intervals, the SLO's verdict, how often each level is the optimum."""
    columns = fmt.with_judged(_INTERVALS, judged)
    rows = [
        (
            str(one.point.level),
            fmt.cell(one, "repeat_count"),
            # of one run an interval is within it: not what the table is about
            *((fmt.interval_cell if one.point.repeat_count > 1 else fmt.cell)(one, column) for column in columns),
            one.slo_verdict,
            fmt.chance(one.p_met),
            fmt.chance(decision.p_by_level.get(one.point.level)),
        )
        for one in judged
    ]
    head = fmt.level_head(one.point.level for one in judged)
    return (head, "repeats", *(fmt.head(column, judged) for column in columns), "SLO", "P(SLO)", "P(optimal)"), rows
