"""The demand of a month, for every business question: its mean, its hours, its mix of tokens, its growth. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from benchsuite.errors import InputError

HOURS_PER_MONTH = 730.0
PEAK_FACTOR = 3.0
_PEAK_SHARE = 0.99  # the busiest 1 % of the hours of a history may be served late


@dataclass(frozen=True, slots=True)
class Demand:
    """hours: (requests per second, share of the month), the shares adding up to 1. input_tokens, output_tokens: of a
    request, None as measured. batch: nobody waits, so any hour can take work of another. words: what was given.
    """

    hours: tuple[tuple[float, float], ...]
    words: str
    input_tokens: float | None = None
    output_tokens: float | None = None
    batch: bool = False

    @property
    def mean_per_s(self) -> float:
        """Requests per second over the whole month."""
        return math.fsum(rate * share for rate, share in self.hours)

    @property
    def peak_per_s(self) -> float:
        """The rate that must be carried: the p99 hour's; of batch work the mean."""
        if self.batch:
            return self.mean_per_s
        below = 0.0
        for rate, share in sorted(self.hours):
            below += share
            if below >= _PEAK_SHARE - 1e-9:
                return max(rate, self.mean_per_s)
        return max(rate for rate, _ in self.hours)

    def scaled(self, factor: float, words: str = "") -> Demand:
        """`factor` times as many requests in every hour."""
        return replace(
            self, hours=tuple((rate * factor, share) for rate, share in self.hours), words=self.words + words
        )

    def requests_per_month(self, hours_per_month: float = HOURS_PER_MONTH) -> float:
        """All requests of a month."""
        return self.mean_per_s * hours_per_month * 3600


def of_mean(mean_per_s: float, peak_factor: float = PEAK_FACTOR, *, batch: bool = False, words: str = "") -> Demand:
    """A mean and its daily peak. The hours between are a day of one hump: rate(h) ~ exp(k cos(2 pi h / 24)), with k so
    that the busiest hour is peak_factor times the mean. Raises InputError.
    """
    _at_least("the mean rate", mean_per_s, 0, exclusive=True)
    _at_least("peak_factor", peak_factor, 1)
    if peak_factor > 20:
        raise InputError("a peak factor makes no sense", where="peak_factor", given=peak_factor, expected="1 to 20")
    if batch or peak_factor == 1:
        return Demand(
            ((mean_per_s, 1.0),), words + (", batch: flat round the clock" if batch else ", flat"), batch=batch
        )
    angle = np.cos(2 * np.pi * np.arange(24) / 24)

    def shape(k: float) -> np.ndarray:
        rates = np.exp(k * (angle - 1))
        return np.asarray(rates / rates.mean())

    k = brentq(lambda k: shape(k)[0] - peak_factor, 0.0, 1e3)
    hours = tuple((float(mean_per_s * rate), 1 / 24) for rate in shape(k))
    return Demand(hours, f"{words}, busiest hour of the day {peak_factor:g} times the mean")


def of_hours(requests_per_hour: Sequence[float], where: str = "hours") -> Demand:
    """A history of hours; its peak is the p99 hour. An hour's mean hides the bursts within it. Raises InputError."""
    n = len(requests_per_hour)
    if n < 24:
        raise InputError("too few hours for a peak", where=where, given=n, expected="at least 24, a whole day")
    bad = [hour for hour in requests_per_hour if not math.isfinite(hour) or hour < 0]
    if bad or not any(requests_per_hour):
        raise InputError(
            "an hour's requests make no sense",
            where=where,
            given=bad[0] if bad else "0 in every hour",
            expected="counts of at least 0, and some above",
        )
    found = Demand(tuple((hour / 3600, 1 / n) for hour in requests_per_hour), "")
    mean, peak = found.mean_per_s * 3600, found.peak_per_s * 3600
    words = f"{n} hours, {mean:,.6g} requests an hour on average, the p99 hour {peak / mean:.3g} times that"
    return replace(found, words=words)


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
                raise InputError(
                    "requests is no number",
                    where=f"{where}:{reader.line_num}",
                    given=repr(row["requests"]),
                    expected="a number of at least 0",
                ) from None
    except csv.Error as error:
        raise InputError(
            "the table of hours is not valid CSV", where=f"{where}:{reader.line_num}", given=error
        ) from None
    return hours


def _at_least(key: str, value: float, least: float, *, exclusive: bool = False) -> None:
    if not math.isfinite(value) or value < least or (exclusive and value == least):
        expected = f"a number above {least:g}" if exclusive else f"at least {least:g}"
        raise InputError("a demand makes no sense", where=key, given=value, expected=expected)
