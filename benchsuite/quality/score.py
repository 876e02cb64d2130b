"""Scorers by name: how an answer is compared with what is known to be right. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchsuite.results import AnswerScore


class Scorer(NamedTuple):
    """version: raised whenever a rule changes. score: of the answer (normalised), the reference, the options and the
    prompt's own text. check: raises ValueError, in words, for a reference or options that it cannot use.
    graded: scores lie between 0 and 1 too, so that a sum of them is of points, not of correct answers.
    """

    version: int
    score: Callable[[str, Any, Mapping[str, Any], str], AnswerScore]
    check: Callable[[Any, Mapping[str, Any]], None]
    graded: bool


SCORERS: dict[str, Scorer] = {}
