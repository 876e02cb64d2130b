"""Tables of what is known of a level beside its metrics: TTFT, server, GPUs, energy, endpoints, scaling.

Terminal and page print them. Heads are broken into lines for a terminal; `one_line` joins them for a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from benchsuite.analysis.gpu import J_PER_KWH
from benchsuite.report.format import DASH, count, ms, number, percent, usd
from benchsuite.report.judge import Judgement
from benchsuite.results import Spread

Row = tuple[str, ...]
LEVEL = "concur-\nrency"


class Column(NamedTuple):
    """head: lines for a terminal. field: the attribute of a row's object that `show` turns into text."""

    head: str
    field: str
    show: Callable[[Any], str]


def level_table(columns: Sequence[Column], rows: Iterable[tuple[Any, ...]]) -> tuple[Row, list[Row]]:
    """Heads and cells. rows: a level, then the objects that have the fields. Columns without any value are left out."""
    rows = list(rows)
    cells = [
        [one.show(next(getattr(of, one.field) for of in objects if hasattr(of, one.field))) for one in columns]
        for _, *objects in rows
    ]
    known = [i for i in range(len(columns)) if any(row[i] != DASH for row in cells)]
    heads = (LEVEL, *(columns[i].head for i in known))
    return heads, [(str(level), *(row[i] for i in known)) for (level, *_), row in zip(rows, cells, strict=True)]


def one_line(heads: Iterable[str]) -> Row:
    """Heads of a terminal's table as a page has them: 'concurrency' for 'concur-\\nrency'."""
    return tuple(head.replace("-\n", "").replace("\n", " ") for head in heads)


def _difference_ms(value_s: float | None) -> str:
    """Milliseconds; below half a microsecond a difference is rounding."""
    return ms(0.0 if value_s is not None and abs(value_s) < 5e-7 else value_s)


def _scaled(factor: float) -> Callable[[float | None], str]:
    return lambda value: number(None if value is None else value * factor)


def _tenths(ratio: float | None) -> str:
    return DASH if ratio is None else f"{ratio * 100:.1f}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return DASH
    if spread.least == spread.greatest:
        return f"{spread.mean:.0%}"
    return f"{spread.mean:.0%} ({spread.least:.0%}{DASH}{spread.greatest:.0%})"


def _throttled(seconds: dict[str, float] | None) -> str:
    return DASH if seconds is None else number(max(seconds.values(), default=0))


TTFT = (  # of Attribution
    Column("n", "n", count),
    Column("TTFT\nms", "ttft_s", ms),
    Column("client\nms", "client_s", ms),
    Column("network +\nHTTP ms", "network_s", _difference_ms),
    Column("server\nqueue ms", "queue_s", ms),
    Column("server\nprefill ms", "prefill_s", ms),
    Column("rest\nms", "rest_s", _difference_ms),
    Column("dispatch\nms", "dispatch_s", ms),
)
SERVER = (  # of Attribution and ServerUse
    Column("ITL ms\nserver", "server_itl_s", ms),
    Column("ITL ms\nclient", "client_itl_s", ms),
    Column("running\nmean", "running_mean", number),
    Column("running\nmax", "running_max", number),
    Column("waiting\nmean", "waiting_mean", number),
    Column("waiting\nmax", "waiting_max", number),
    Column("KV %\nmean", "kv_cache_mean_ratio", _tenths),
    Column("KV %\nmax", "kv_cache_max_ratio", _tenths),
    Column("prefix\nhits %", "prefix_cache_hit_ratio", _tenths),
    Column("pre-\nempted", "preemptions", number),
)
ENERGY = (  # of PointEnergy
    Column("from", "method", lambda method: method or DASH),
    Column("window\ns", "window_s", number),
    Column("mean\nW", "mean_w", number),
    Column("idle\nW", "idle_w", number),
    Column("kJ\ngross", "gross_j", _scaled(1e-3)),
    Column("kJ\nnet", "net_j", _scaled(1e-3)),
    Column("J/out\ngross", "j_per_output_token", number),
    Column("J/out\nnet", "net_j_per_output_token", number),
    Column("error\n± %", "error_ratio", _scaled(100)),
)
ELECTRICITY = (  # of PointEnergy
    Column("J per\ntoken", "j_per_token", number),
    Column("J per\nrequest", "j_per_request", number),
    Column("kWh", "kwh", number),
    Column("kWh\n* PUE", "wall_j", _scaled(1 / J_PER_KWH)),
    Column("elec-\ntricity", "electricity_usd", usd),
    Column("$/1M\nout", "electricity_usd_per_1m_output_tokens", usd),
    Column("gCO2", "gco2_g", number),
    Column("gCO2/\n1M out", "gco2_g_per_1m_output_tokens", number),
)
GPUS = (  # of GpuUse
    Column("GPUs", "uuids", lambda uuids: str(len(uuids))),
    Column("util", "util_ratio", _spread),
    Column("memory", "memory_ratio", _spread),
    Column("SM", "sm_active_ratio", _spread),
    Column("tensor", "tensor_active_ratio", _spread),
    Column("DRAM", "dram_active_ratio", _spread),
    Column("SM\nMHz", "sm_clock_mhz", lambda clock: number(None if clock is None else clock.mean)),
    Column("limit\nW", "power_limit_w", number),
    Column("max\n°C", "temperature_max_c", number),
    Column("throt-\ntled s", "throttle_s", _throttled),
    Column("cover-\nage", "coverage_ratio", percent),
)
ENDPOINTS = (  # of EndpointPart
    Column("requests", "requests", count),
    Column("share", "request_share", percent),
    Column("failed", "failures", count),
    Column("output\ntokens", "output_tokens", count),
    Column("TTFT\nms", "ttft_s", ms),
    Column("TPOT\nms", "tpot_s", ms),
    Column("busy", "busy_share", percent),
    Column("role", "role", lambda role: "API" if role == "fallback" else role),
    Column("endpoint", "endpoint", lambda url: (url or DASH).removeprefix("http://").removeprefix("https://")),
)
FALLBACK = (  # of FallbackUse
    Column("re-\nfused", "tries", count),
    Column("un-\ntried", "skips", count),
    Column("share of\nrequests", "request_share", percent),
    Column("share of\ntokens", "token_share", percent),
    Column("API $", "api_usd", number),
    Column("own $", "own_usd", number),
    Column("$/1M out\ntotal", "usd_per_1m_output_tokens", number),
    Column("$/1M out\nown", "own_usd_per_1m_output_tokens", number),
)
SCALING = (  # of ScalingLevel
    Column("output\ntok/s", "output_tok_s", number),
    Column("$/1M\nout", "usd_per_1m_output_tokens", usd),
    Column("saved per\nuser added", "step_saving_usd", usd),
    Column("elasticity", "elasticity", lambda value: DASH if value is None else f"{value:.2f}"),
    Column("SLO\nmet", "meets_slo", lambda met: "yes" if met else "no"),
    Column("in\nzone", "in_zone", lambda inside: "yes" if inside else ""),
)


def endpoint_rows(judgement: Judgement) -> list[tuple[Any, ...]]:
    """A row for each level and endpoint."""
    return [(level, part) for level, balance in judgement.endpoints.items() for part in balance.parts]
