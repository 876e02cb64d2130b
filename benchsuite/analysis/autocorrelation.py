"""Dependence between successive requests: autocorrelation, effective sample size, block length. Pure."""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from benchsuite.analysis.requests import Floats


def autocovariance(values: Floats) -> Floats:
    """The autocovariance at lags 0 .. n - 1, divided by n. values: (n,) in time order, no NaN, n >= 1."""
    centred = values - values.mean()
    n = len(centred)
    size = fft.next_fast_len(2 * n, real=True)
    spectrum = fft.rfft(centred, size)
    found: Floats = fft.irfft(spectrum * spectrum.conj(), size)[:n] / n
    return found


def autocorrelation(values: Floats) -> Floats:
    """The autocorrelation at lags 0 .. n - 1; 1, 0, 0 ... for values that do not vary."""
    found = autocovariance(values)
    # all but equal values: what is left is rounding, not a correlation
    if found[0] <= (1e-12 * np.abs(values).max(initial=0.0)) ** 2:
        return np.concatenate([[1.0], np.zeros(len(values) - 1)])
    ratio: Floats = found / found[0]
    return ratio


def effective_size(values: Floats) -> float:
    """n_eff = n / (1 + 2 sum of rho_k), the sum up to the first negative rho_k; from 1 to n, 0 for no values.

    values: (n,) in time order, no NaN.
    """
    n = len(values)
    if n < 2:
        return float(n)
    rho = autocorrelation(values)[1:]
    negative = np.flatnonzero(rho < 0)
    total = float(rho[: negative[0] if len(negative) else len(rho)].sum())
    return min(float(n), max(1.0, n / (1 + 2 * total)))


def block_length(values: Floats) -> int:
    """The block length that suits the circular block bootstrap of a mean; at least 1.

    values: (n,) in time order, no NaN. Source: Politis and White (2004), corrected by Patton, Politis and White (2009).
    """
    n = len(values)
    if n < 10:
        return 1
    covariance, rho = autocovariance(values), autocorrelation(values)
    # the smallest lag after which a run of correlations is within noise
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    longest = min(math.ceil(math.sqrt(n)) + run, n - 1)
    small = np.abs(rho[1 : longest + 1]) < 2 * math.sqrt(math.log10(n) / n)
    quiet = (m for m in range(len(small) - run + 1) if small[m : m + run].all())
    cut = max(next(quiet, longest), 1)
    lags = np.arange(1, min(2 * cut, n - 1) + 1)
    share = lags / (2 * cut)
    weight = np.where(share <= 0.5, 1.0, 2 * (1 - share))  # the flat-top window
    spectrum = covariance[0] + 2 * float(np.sum(weight * covariance[lags]))
    slope = 2 * float(np.sum(weight * lags * covariance[lags]))
    if spectrum <= 0:
        return 1
    length = (1.5 * (slope / spectrum) ** 2 * n) ** (1 / 3)
    return max(1, math.ceil(min(float(length), 3 * math.sqrt(n), n / 3)))
