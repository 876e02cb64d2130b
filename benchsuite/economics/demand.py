"""How much work comes, in requests per second: its mean over a month and its peak."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchsuite.errors import InputError

HOURS_PER_MONTH = 730.0
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
PEAK_FACTOR = 3.0
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests per second: the mean, and the peak that must be carried. told: what was given, in words."""

    mean_per_s: float
    peak_per_s: float
    told: str


def per_day(requests_per_day: float, peak_factor: float = PEAK_FACTOR) -> Demand:
    """peak = requests / 86400 x peak factor. Raises InputError."""
    _above_zero("requests_per_day", requests_per_day)
    _peak_factor(peak_factor)
    mean_per_s = requests_per_day / _DAY_S
    told = f"{requests_per_day:,.6g} requests a day, peak {peak_factor:g} times the mean"
    return Demand(mean_per_s, mean_per_s * peak_factor, told)


def per_month(tokens_per_month: float, tokens_per_request: float | None, peak_factor: float = PEAK_FACTOR) -> Demand:
    """Tokens (input and output) over those of a measured request. tokens_per_request: None is refused, not guessed."""
    _above_zero("tokens_per_month", tokens_per_month)
    _peak_factor(peak_factor)
    if not tokens_per_request:
        raise InputError(
            "tokens do not become requests: the measured level does not tell its tokens",
            where="tokens_per_month",
            expected="points with input_tokens and output_tokens",
            hint="give the demand as requests per day",
        )
    mean_per_s = tokens_per_month / tokens_per_request / SECONDS_PER_MONTH
    told = (
        f"{tokens_per_month:,.6g} tokens a month at {tokens_per_request:,.0f} tokens a request (as measured), "
        f"peak {peak_factor:g} times the mean"
    )
    return Demand(mean_per_s, mean_per_s * peak_factor, told)


def of_users(users: float, service_s: float, *, think_s: float = 0.0, peak_factor: float = PEAK_FACTOR) -> Demand:
    """Concurrent users at the peak: each sends, waits service_s for the answer and thinks: peak = users / (W + Z)."""
    _above_zero("users", users)
    _peak_factor(peak_factor)
    if not math.isfinite(think_s) or think_s < 0:
        raise InputError("a time to think makes no sense", where="think_s", given=think_s, expected="at least 0 s")
    peak_per_s = users / (service_s + think_s)
    told = (
        f"{users:,.6g} users at the peak, {think_s:g} s between answer and next request, "
        f"peak {peak_factor:g} times the mean"
    )
    return Demand(peak_per_s / peak_factor, peak_per_s, told)


def of_hours(requests_per_hour: Sequence[float], where: str = "hours") -> Demand:
    """From a history of hours: the mean, and as the peak the p99 hour (the largest of fewer than 100).

    An hour's mean hides the bursts within it. Raises InputError.
    """
    if len(requests_per_hour) < 24:
        raise InputError(
            "too few hours for a peak", where=where, given=len(requests_per_hour), expected="at least 24, a whole day"
        )
    bad = [hour for hour in requests_per_hour if not math.isfinite(hour) or hour < 0]
    if bad or not any(requests_per_hour):
        raise InputError(
            "an hour's requests make no sense",
            where=where,
            given=bad[0] if bad else "0 in every hour",
            expected="counts of at least 0, and some above",
        )
    n = len(requests_per_hour)
    peak = sorted(requests_per_hour)[math.ceil(0.99 * n) - 1]  # an observed hour
    if not peak:
        peak = max(requests_per_hour)
    mean = sum(requests_per_hour) / n
    peak = max(peak, mean)
    told = f"{n} hours, {mean:,.6g} requests an hour in the mean, the p99 hour {peak / mean:.3g} times that"
    return Demand(mean / 3600, peak / 3600, told)


def parse_hours(text: str, where: str) -> list[float]:
    """The `requests` column of a CSV table with a line an hour. Raises InputError naming the line."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    hours = []
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        if "requests" not in reader.fieldnames:
            raise InputError(
                "the table of hours lacks a column",
                where=f"{where}:1",
                given=", ".join(reader.fieldnames) or "an empty file",
                expected="requests, a count an hour",
            )
        for row in reader:
            try:
                hours.append(float(row["requests"] or ""))
            except ValueError:
                at = f"{where}:{reader.line_num}"
                raise InputError(
                    "requests does not read", where=at, given=repr(row["requests"]), expected="a number of at least 0"
                ) from None
    except csv.Error as error:
        raise InputError(
            "the table of hours is not valid CSV", where=f"{where}:{reader.line_num}", given=error
        ) from None
    return hours


def _above_zero(key: str, value: float) -> None:
    if not math.isfinite(value) or value <= 0:
        raise InputError("a demand makes no sense", where=key, given=value, expected="a number above 0")


def _peak_factor(value: float) -> None:
    if not math.isfinite(value) or value < 1:
        raise InputError(
            "a peak below the mean makes no sense", where="peak_factor", given=value, expected="at least 1"
        )
