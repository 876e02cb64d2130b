"""What a check-up finds: one line each, with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. area: machine, gpu or server. remedy: what to do, None where nothing is to do.

    warn: figures get worse or are missing. fail: a sweep would not run, or not measure what it says.
    """

    area: str
    name: str
    verdict: Verdict
    found: str
    remedy: str | None = None


def judged(area: str, name: str, found: str, *doubts: tuple[bool, Verdict, str]) -> Finding:
    """ok, or the first of `doubts` (holds, verdict, remedy) that holds."""
    for holds, verdict, remedy in doubts:
        if holds:
            return Finding(area, name, verdict, found, remedy)
    return Finding(area, name, "ok", found)
