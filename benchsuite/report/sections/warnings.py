"""Warnings as cards: what is wrong, what to do, and where. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchsuite.report.words import sentence, spaced
from benchsuite.results import Judged, Warn


@dataclass(frozen=True, slots=True)
class Card:
    """All warnings of one code: the first one's finding and remedy. where: the levels, of several models with their
    names. others: each one's text where they differ.
    """

    code: str
    finding: str
    remedy: str
    where: str
    others: tuple[str, ...]


def cards(found: Iterable[tuple[str, Judged]]) -> list[Card]:
    """One card a code, in the order of their first appearance. found: levels with their model's name, '' if there is
    one model alone.
    """
    by_code: dict[str, list[tuple[str, Warn]]] = {}
    for name, level in found:
        for warn in level.point.warnings:
            by_code.setdefault(warn.code, []).append((name, warn))
    return [_card(code, warned) for code, warned in by_code.items()]


def _card(code: str, warned: list[tuple[str, Warn]]) -> Card:
    name, first = warned[0]
    finding = sentence(first.finding)
    if name:
        more = f" (and {len(warned) - 1} more)" if len(warned) > 1 else ""
        finding = f"{_place(name, first)}: {first.finding}{more}."
    differ = len({(other, warn.finding) for other, warn in warned}) > 1
    others = tuple(spaced(f"{_place(*one)}: {one[1].finding}; {one[1].remedy}") for one in warned) if differ else ()
    return Card(code, spaced(finding), spaced(sentence(first.remedy)), _where(warned), others)


def _place(name: str, warn: Warn) -> str:
    level = "" if warn.concurrency is None else str(warn.concurrency)
    return f"{name} at {level}" if name and level else name or level


def _where(warned: list[tuple[str, Warn]]) -> str:
    """'8, 16' of one model; 'a (8, 16), b (8)' of several."""
    by_name: dict[str, list[str]] = {}
    for name, warn in warned:
        if warn.concurrency is not None:
            by_name.setdefault(name, []).append(str(warn.concurrency))
    return ", ".join(f"{name} ({', '.join(at)})" if name else ", ".join(at) for name, at in by_name.items())
