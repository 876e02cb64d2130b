"""The repeats of one level apart: each run's duration and its requests in the order in which they were sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchsuite.analysis.in_flight import InFlight, sweep
from benchsuite.analysis.rows import Rows


@dataclass(frozen=True, slots=True)
class OneRun:
    """One repeat of a level. wall_s: first send to last close. order: (n,) places of its rows, by send time.

    flight: of the requests with a beginning and an end.
    """

    repeat: int
    wall_s: float
    order: NDArray[np.intp]
    flight: InFlight


def runs_of(rows: Rows) -> tuple[OneRun, ...]:
    """The repeats in which a request was sent, ascending."""
    latest_s = np.fmax(np.fmax(rows.closed_s, rows.last_s), np.fmax(rows.first_s, rows.sent_s))
    found = []
    for repeat in np.unique(rows.repeat):
        mine = np.flatnonzero(rows.repeat == repeat)
        sent_s, closed_s = rows.sent_s[mine], rows.closed_s[mine]
        if np.isnan(sent_s).all():
            continue
        timed = ~np.isnan(sent_s) & ~np.isnan(closed_s)
        found.append(
            OneRun(
                repeat=int(repeat),
                wall_s=float(np.nanmax(latest_s[mine]) - np.nanmin(sent_s)),
                order=mine[np.argsort(sent_s, kind="stable")],  # never sent: NaN, last
                flight=sweep(sent_s[timed], closed_s[timed]),
            )
        )
    return tuple(found)
