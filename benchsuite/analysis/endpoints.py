"""The requests of each level by endpoint, and whether equal servers had equal load and latency. Pure.

Virtual users stay with their endpoint, so in a closed loop a faster server gets more requests, not more users. What a
balancer behind one base URL did is not in the rows: only the servers' own metrics tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.requests import (
    as_table,
    at_level,
    in_window,
    known_mean,
    known_sum,
    levels,
    per_request,
    rows_of,
    rows_where,
)
from benchsuite.level import Level
from benchsuite.warning_table import Finding, warn

UNEVEN, SLOW = 1.2, 1.5  # most requests over their mean; an endpoint's TTFT over the others'
CHANCE = 2.0  # standard deviations of requests that went anywhere
SLOW_S = 0.01  # and so much longer: of a few milliseconds, half as much again is nobody's concern


@dataclass(frozen=True, slots=True)
class EndpointPart:
    """What one endpoint did at one level, over all repeats.

    endpoint: None in runs without it. request_share: of all requests sent. busy_share: of all request-seconds
    between send and close. Tokens are of successful requests, None if none is known; tokens_unknown counts successful
    requests whose tokens no usage tells. TTFT and TPOT are means, None without such requests.
    """

    level: Level
    endpoint: str | None
    role: str
    requests: int
    request_share: float | None
    failures: int
    input_tokens: int | None
    output_tokens: int | None
    tokens_unknown: int
    ttft_s: float | None
    n_ttft: int
    tpot_s: float | None
    busy_share: float | None


@dataclass(frozen=True, slots=True)
class Balance:
    """A level by endpoint. imbalance: most requests at an own server over their mean; None for a single one."""

    level: Level
    parts: tuple[EndpointPart, ...]
    imbalance: float | None
    warnings: tuple[Finding, ...]

    def of(self, role: str) -> tuple[EndpointPart, ...]:
        """The parts of the own servers ('own') or of the API ('fallback')."""
        return tuple(part for part in self.parts if part.role == role)


def balance(requests: pa.Table, endpoints: Sequence[Mapping[str, Any]]) -> list[Balance]:
    """Every level of the table by endpoint, ascending; of a rate what was due in its window.

    requests: the columns of RequestRecord. endpoints: {base_url, role} of the manifest; an endpoint that the rows alone
    name is an own one. Raises PointsError if columns are missing.
    """
    roles: dict[str | None, str] = {str(one["base_url"]): str(one["role"]) for one in endpoints}
    table = as_table(requests)
    inside = in_window(table)
    table, names = rows_where(table, inside), requests["endpoint"].cast(pa.string()).filter(inside)
    found = []
    for level in levels(table):
        at = at_level(table, level)
        parts = _parts(rows_where(table, at), names.filter(at), roles, level)
        own = [part for part in parts if part.role == "own"]
        requests_own = sum(part.requests for part in own)
        most = max((part.requests for part in own), default=0)
        imbalance = most * len(own) / requests_own if len(own) > 1 and requests_own else None
        found.append(Balance(level, tuple(parts), imbalance, tuple(_warnings(level, own, imbalance))))
    return found


def _parts(table: pa.Table, names: Any, roles: Mapping[str | None, str], level: Level) -> list[EndpointPart]:
    there = pc.unique(names).to_pylist()
    listed = list(dict.fromkeys([*roles, *there])) if any(there) else there  # nobody is named in older runs
    whole = rows_of(table, level)
    busy_s = whole.closed_s - whole.sent_s
    n, all_busy_s = table.num_rows, float(np.nansum(busy_s))
    parts = []
    for endpoint in listed:
        same = pc.is_null(names) if endpoint is None else pc.fill_null(pc.equal(names, endpoint), False)
        mine = same.to_numpy(zero_copy_only=False)
        rows = rows_of(rows_where(table, same), level)
        ttft_s, tpot_s = (per_request(rows, level)[name] for name in ("ttft_s", "tpot_s"))
        told = rows.ok & rows.from_usage & ~np.isnan(rows.input_tokens) & ~np.isnan(rows.output_tokens)
        input_tokens, output_tokens = known_sum(rows.input_tokens[rows.ok]), known_sum(rows.output_tokens[rows.ok])
        parts.append(
            EndpointPart(
                level=level,
                endpoint=endpoint,
                role=roles.get(endpoint, "own"),
                requests=len(rows.ok),
                request_share=len(rows.ok) / n if n else None,
                failures=int(np.count_nonzero(~rows.ok)),
                input_tokens=None if input_tokens is None else int(input_tokens),
                output_tokens=None if output_tokens is None else int(output_tokens),
                tokens_unknown=int(np.count_nonzero(rows.ok & ~told)),
                ttft_s=known_mean(ttft_s),
                n_ttft=int(np.count_nonzero(~np.isnan(ttft_s))),
                tpot_s=known_mean(tpot_s),
                busy_share=float(np.nansum(busy_s[mine])) / all_busy_s if all_busy_s > 0 else None,
            )
        )
    return parts


def _warnings(level: Level, own: Sequence[EndpointPart], imbalance: float | None) -> Iterator[Finding]:
    users, n = level.concurrency or 0, len(own)
    of_users = -(-users // n) / (users // n) if n and users >= n else 1.0  # most users of an endpoint over the least
    if imbalance is not None and imbalance > UNEVEN:
        most, least = max(own, key=lambda part: part.requests), min(own, key=lambda part: part.requests)
        uneven_users = users % n != 0 and -(-users // n) * n / users > UNEVEN
        mean = most.requests / imbalance
        if uneven_users or most.requests - mean > CHANCE * math.sqrt(mean):  # by chance a few more go to one
            yield warn(
                "uneven_users" if uneven_users else "imbalance", level, imbalance=imbalance, endpoints=n,
                most_at=most.endpoint, most=most.requests, least_at=least.endpoint, least=least.requests,
            )  # fmt: skip
    for part in own:
        others = [other for other in own if other is not part and other.ttft_s is not None]
        n = sum(other.n_ttft for other in others)
        if part.ttft_s is None or not n:
            continue
        theirs_s = sum((other.ttft_s or 0.0) * other.n_ttft for other in others) / n
        if of_users <= UNEVEN and part.ttft_s > SLOW * theirs_s and part.ttft_s - theirs_s > SLOW_S:
            values = {"ttft_ms": part.ttft_s * 1e3, "others_ms": theirs_s * 1e3, "endpoint": part.endpoint}
            yield warn("slow_endpoint", level, **values)
