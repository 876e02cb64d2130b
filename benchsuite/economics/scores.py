"""How good models are: a CSV table of scores, one line per model or one per model and item, parsed from its text."""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchsuite.errors import InputError

Floats = npt.NDArray[np.float64]
_EXPECTED = "model, score; optional params_b, n (items behind a score in percent); or model, item, score from 0 to 1"


@dataclass(frozen=True, slots=True)
class Score:
    """A model's score, higher is better. n: items behind it; then score is the percentage that was right.

    n None: a score of any scale, without an interval. items: score from 0 to 1 by item, where each is known.
    params_b: parameters in 1e9.
    """

    model: str
    score: float
    params_b: float | None = None
    n: int | None = None
    items: Mapping[str, float] | None = None


def parse_scores(text: str, *, where: str) -> dict[str, Score]:
    """Scores by model, in the table's order. A column `item` makes it a table of items, else of models.

    Raises InputError naming the line and the column.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        reader.fieldnames = header = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in ("model", "score") if name not in header]
        if missing:
            raise InputError(
                "the table of scores lacks columns: " + ", ".join(missing),
                where=f"{where}:1",
                given=", ".join(header) or "an empty file",
                expected=_EXPECTED,
            )
        lines = [_Line(row, f"{where}:{reader.line_num}") for row in reader]
    except csv.Error as error:
        raise InputError(
            "the table of scores is not valid CSV", where=f"{where}:{reader.line_num}", given=error
        ) from None
    if not lines:
        raise InputError("the table of scores has no rows", where=where, expected=_EXPECTED)
    return _of_items(lines) if "item" in header else _of_models(lines)


def wilson_draws(score: float, n: int, z: Floats) -> Floats:
    """Draws of the true percentage whose quantiles are Wilson's limits: the score interval's end at each normal `z`.

    score: percent of n items; z: (draws,) standard normal. Unlike draws from Binomial(n, p) they do not stand still at
    0 or 100. At z = -+1.96 they are the 95 % interval. Source: Wilson, JASA 22 (1927).
    """
    p, zz = score / 100, z * z
    drawn: Floats = 100 * (p + zz / (2 * n) + z * np.sqrt(p * (1 - p) / n + zz / (4 * n * n))) / (1 + zz / n)
    return drawn


class _Line:
    """One line of the table, its cells read one by one."""

    def __init__(self, row: Mapping[str | None, str | list[str] | None], where: str) -> None:
        if None in row or None in row.values():
            raise InputError("a line has not as many cells as the header", where=where)
        self.row, self.where = row, where

    def text(self, name: str) -> str:
        value = self.row.get(name) or ""
        return value.strip() if isinstance(value, str) else ""

    def need(self, name: str) -> str:
        text = self.text(name)
        if not text:
            raise InputError(f"{name} is empty", where=self.where, expected="a value in this column")
        return text

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high):
            within = (
                "" if low == -math.inf else f" of at least {low:g}" if high == math.inf else f" {low:g} to {high:g}"
            )
            raise InputError(f"{name} does not read", where=self.where, given=repr(text), expected=f"a number{within}")
        return value

    def params_b(self) -> float | None:
        value = self.number("params_b", 0.0)
        if value == 0:
            raise InputError("params_b does not read", where=self.where, given="0", expected="a number above 0")
        return value


def _of_models(lines: list[_Line]) -> dict[str, Score]:
    found: dict[str, Score] = {}
    for line in lines:
        model, n = line.need("model"), line.number("n", 1.0)
        if model in found:
            raise InputError("a model is scored twice", where=line.where, given=model, expected="one line per model")
        if n is not None and not n.is_integer():
            raise InputError("n does not read", where=line.where, given=line.text("n"), expected="a whole number")
        line.need("score")
        score = line.number("score", 0.0, 100.0) if n is not None else line.number("score")
        assert score is not None
        found[model] = Score(model, score, line.params_b(), None if n is None else int(n))
    return found


def _of_items(lines: list[_Line]) -> dict[str, Score]:
    items: dict[str, dict[str, float]] = {}
    params: dict[str, float | None] = {}
    for line in lines:
        model, item = line.need("model"), line.need("item")
        own = items.setdefault(model, {})
        if item in own:
            raise InputError("an item of a model is scored twice", where=line.where, given=f"{model}, {item}")
        line.need("score")
        score = line.number("score", 0.0, 1.0)
        assert score is not None
        own[item] = score
        params[model] = line.params_b() or params.get(model)
    first, expected = next(iter(items.items()))
    for model, own in items.items():
        odd = sorted(own.keys() ^ expected.keys())
        if odd:
            raise InputError(
                f"{model} and {first} were not asked the same items",
                where="item",
                given=f"{odd[0]} is in one of them only ({len(odd)} such)",
                expected="the same items for every model, or one line per model with n",
            )
    return {
        model: Score(model, 100 * sum(own.values()) / len(own), params[model], len(own), dict(own))
        for model, own in items.items()
    }


def match_scores(scores: Mapping[str, Score], measured: Sequence[str], *, where: str) -> list[str]:
    """The scored models that were not measured, in the table's order.

    Raises InputError for a name that is nearly that of a measured model without a score, or if no name is known at all.
    """
    unscored = [name for name in measured if name not in scores]
    unknown = [name for name in scores if name not in measured]
    for name in unknown:
        close = difflib.get_close_matches(name, unscored, 1)
        if close or len(unknown) == len(scores):
            raise InputError(
                "a scored model is not among those measured",
                where=f"{where}: model",
                given=name,
                expected="one of " + ", ".join(measured),
                hint=f"did you mean {close[0]!r}?" if close else "name the models alike in both",
            )
    return unknown
