"""Reading JSON that others wrote: every value is checked where it is taken, every error names file and key. Pure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchsuite.errors import PointsError

_INT32 = 2**31 - 1
_US_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a JSON tree, with its file and its path there. A missing key is a Node of None."""

    value: Any
    where: str
    path: str = ""

    def __getitem__(self, key: str) -> Node:
        """The value at `key`; a Node of None if it is missing or this is null. Raises PointsError if no object."""
        if self.value is not None and not isinstance(self.value, dict):
            raise self.wrong("an object")
        child = None if self.value is None else self.value.get(key)
        return Node(child, self.where, f"{self.path}.{key}" if self.path else key)

    def __iter__(self) -> Iterator[Node]:
        """The items of a list; none for null."""
        if self.value is not None and not isinstance(self.value, list):
            raise self.wrong("a list")
        for i, item in enumerate(self.value or ()):
            yield Node(item, self.where, f"{self.path}[{i}]")

    def __bool__(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    def number(self) -> float | None:
        """A finite number, or None."""
        if self.value is None:
            return None
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.wrong("a number")
        try:
            number = float(self.value)
        except OverflowError:
            raise self.wrong("a finite number") from None
        if not math.isfinite(number):
            raise self.wrong("a finite number")
        return number

    def duration(self) -> float | None:
        """A number that is not negative, or None."""
        number = self.number()
        if number is not None and number < 0:
            raise self.wrong("a duration, not negative")
        return number

    def required_duration(self) -> float:
        """A number that is not negative. Raises PointsError also where there is no value."""
        duration = self.required().duration()
        assert duration is not None  # required() saw a value
        return duration

    def count(self) -> int | None:
        """A whole number from 0 to 2**31 - 1 (4.0 is one), or None."""
        number = self.number()
        if number is None:
            return None
        if number < 0 or number > _INT32 or number != int(number):
            raise self.wrong("a whole number, not negative")
        return int(number)

    def level(self) -> int | None:
        """A whole number of at least 1, or None."""
        level = self.count()
        if level == 0:
            raise self.wrong("a whole number of at least 1")
        return level

    def text(self) -> str | None:
        """A text, or None."""
        if self.value is not None and not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def required(self) -> Node:
        """Itself. Raises PointsError if there is no value."""
        if self.value is None:
            raise PointsError("the result file lacks a key", where=f"{self.where}: {self.path}")
        return self

    def wrong(self, expected: str) -> PointsError:
        """The error that says that this is not what was expected."""
        given = repr(self.value)
        return PointsError(
            "the result file cannot be read",
            where=f"{self.where}: {self.path or 'top level'}",
            given=given if len(given) <= 80 else given[:77] + "...",
            expected=expected,
        )


def parse_json(text: str, *, where: str) -> Node:
    """The tree of a JSON text. NaN and Infinity are refused. Raises PointsError."""
    try:
        return Node(json.loads(text, parse_constant=_no_constant), where)
    except (ValueError, RecursionError) as error:
        raise PointsError("not valid JSON", where=where, given=str(error) or type(error).__name__) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def gap_us(gap_s: float, node: Node) -> int:
    """Seconds as whole microseconds. Raises PointsError, naming `node`, beyond 32 bits (36 minutes)."""
    if gap_s > _INT32 / _US_PER_S:
        raise node.wrong("gaps of less than 36 minutes")
    return round(gap_s * _US_PER_S)


def in_order(node: Node, **times_s: float | None) -> None:
    """Raise PointsError, naming `node`, if the times that are known do not follow one another."""
    known = [(name, at_s) for name, at_s in times_s.items() if at_s is not None]
    for (before, before_s), (after, after_s) in itertools.pairwise(known):
        if after_s < before_s:
            raise PointsError(
                "times of a request run backwards",
                where=f"{node.where}: {node.path}",
                given=f"{after} is {before_s - after_s:.6f} s before {before}",
                expected="a clock that was not set while the tool measured",
            )
