"""The level of load: what a point holds constant, and what everything that was measured or judged is listed by."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

LevelKind = Literal["concurrency", "rate"]
LEAST_RATE, MOST_RATE = 0.001, 100_000  # requests a second


@dataclass(frozen=True, slots=True, order=True)
class Level:
    """What a point holds constant: the virtual users of a closed loop, or the arrivals a second of an open loop.

    Sorts by its number; as text it is the number.
    """

    number: float
    kind: LevelKind = "concurrency"

    def __str__(self) -> str:
        return f"{self.number:.0f}" if self.number == int(self.number) else f"{self.number:g}"

    @property
    def concurrency(self) -> int | None:
        """Virtual users; None of a rate."""
        return int(self.number) if self.kind == "concurrency" else None

    @property
    def users(self) -> int:
        """Virtual users of a closed loop. Raises ValueError of a rate, which has none."""
        if self.kind != "concurrency":
            raise ValueError(f"{self.words} has no virtual users")
        return int(self.number)

    @property
    def rate_per_s(self) -> float | None:
        """Arrivals a second; None of a closed loop."""
        return self.number if self.kind == "rate" else None

    @property
    def words(self) -> str:
        """In a sentence: '1 user', '16 users', '2.5 req/s'."""
        if self.kind == "rate":
            return f"{self} req/s"
        return f"{self} user{'s' * (self.number > 1)}"

    @property
    def at(self) -> str:
        """Behind a preposition: 'concurrency 16', '2.5 req/s'."""
        return self.words if self.kind == "rate" else f"concurrency {self}"

    @property
    def label(self) -> str:
        """Where the kind is not clear from the context: '16', '2.5 req/s'."""
        return self.words if self.kind == "rate" else str(self)

    def named(self, prefix: str = "") -> dict[str, float]:
        """Under the name of its kind, as JSON has it: {'concurrency': 16}, {'rate_per_s': 2.5}."""
        name = "rate_per_s" if self.kind == "rate" else "concurrency"
        return {prefix + name: self.number}

    def point_id(self, repeat: int) -> str:
        """'c0016-r0', 'q2.5-r0': the name of the level's point in this repeat."""
        return f"c{self.number:04.0f}-r{repeat}" if self.kind == "concurrency" else f"q{self}-r{repeat}"

    @classmethod
    def of_point(cls, point_id: str) -> Level | None:
        """The level of a point by its name, which has six digits of a rate; of a probe its place in the search comes
        first, as in 'f03-c0043-r0'. None where it names none."""
        named = re.fullmatch(r"(?:f\d{1,6}-)?(?:c(\d+)|q(\d{1,20}(?:\.\d{1,20})?(?:e-\d\d)?))-r\d+", point_id, re.ASCII)
        if named is None:
            return None
        return cls(int(named[1])) if named[1] else cls(float(named[2]), "rate")


def in_ratios(levels: Any, *, whole: bool = False) -> list[Any]:
    """A level or a list of them, with each '1:16:5' as 1, 2, 4, 8, 16: from, to, and how many, in equal ratios.

    To three significant digits, or whole numbers, each once. Raises ValueError for a range that is none.
    """
    found: list[Any] = []
    for one in levels if isinstance(levels, list | tuple) else [levels]:
        if not isinstance(one, str) or ":" not in one:
            found.append(one)
            continue
        parts = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*:\s*(\d+\.?\d*|\.\d+)\s*:\s*(\d{1,3})\s*", one, re.ASCII)
        low, high, n = (float(part) for part in parts.groups()) if parts else (0.0, 0.0, 0)
        if not (0 < low < high and n >= 2):
            raise ValueError(f"a range is FROM:TO:HOW_MANY such as 1:16:5, ascending and two or more, not {one!r}")
        inner = (float(f"{low * (high / low) ** (i / (n - 1)):.3g}") for i in range(1, int(n) - 1))
        found += dict.fromkeys(round(x) if whole else x for x in (low, *inner, high))
    return found


def as_plain(value: Any) -> Any:
    """A value object as JSON has it: a level under its kind's name, or as its number in a list; a mapping's keys as
    text; None for what is not finite."""
    if isinstance(value, Level):
        return value.number
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            named = part.named() if isinstance(part, Level) else {"concurrency": as_plain(part)}
            plain |= named if field.name == "level" else {field.name: as_plain(part)}
        return plain
    if isinstance(value, Mapping):
        return {str(key): as_plain(part) for key, part in value.items()}
    return [as_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
