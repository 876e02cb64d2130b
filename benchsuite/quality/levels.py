"""The quality of every level of a run, from the rows of its scores: by scenario and overall, and against load. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.requests import Floats, at_level, in_window
from benchsuite.level import Level
from benchsuite.quality.paired import holm, mean_interval, overall_difference, overall_interval, scenario_interval
from benchsuite.results import Quality, ScenarioQuality

JUDGE = "judge"
_UNREAD = ("unread", "empty", "cut_thinking")  # AnswerScore.how, where the server answered and nothing could be read
_MOST_EXAMPLES = 3


def items_of(prompt_ids: Iterable[str]) -> dict[str, str]:
    """The item of each prompt: its own name; of the copies (`ID#2`) of a prompt that is asked too that prompt's."""
    names = set(prompt_ids)
    heads = {name: name.rpartition("#") for name in names}
    return {name: head if head in names and copy.isdigit() else name for name, (head, _, copy) in heads.items()}


def quality_by_level(
    scores: pa.Table, rows: pa.Table, levels: list[Level], *, judge_can_tell: bool = True
) -> dict[Level, Quality]:
    """The quality of each level that has scores. scores: rows of ScoreRecord. rows: the requests that are judged;
    without their column request_id how long those with a scorer took is not known.

    A judge's score counts where a request has no other. Levels are compared with the lowest on the same items, Holm
    over all; not where one is partial. judge_can_tell: False where the control of the judge says that it cannot.
    """
    scores = _own(scores)
    items = items_of(pc.unique(scores["prompt_id"]).to_pylist())
    found: dict[Level, Quality] = {}
    for level in levels:
        of_level = rows.filter(pc.and_(at_level(rows, level), in_window(rows)))
        points = pc.unique(of_level["point_id"])
        mine = scores.filter(pc.is_in(scores["point_id"], value_set=points.cast(scores["point_id"].type)))
        if len(mine):
            one = _quality(mine, of_level, items)
            found[level] = replace(one, judge_can_tell=judge_can_tell or JUDGE not in one.scorers)
    whole = {level: quality.by_scenario for level, quality in found.items() if not quality.partial}
    base = whole.get(next(iter(found))) if found else None
    above = {at: own for at, own in whole.items() if own is not base}
    compared = {} if base is None else {at: overall_difference(own, base) for at, own in above.items()}
    tested = [level for level, change in compared.items() if change.p is not None]
    corrected = dict(zip(tested, holm([compared[level].p or 0.0 for level in tested]), strict=True))
    for level, change in compared.items():
        found[level] = replace(found[level], change=replace(change, p_corrected=corrected.get(level)))
    return found


def sets_of(quality: Quality, shared: Set[tuple[str | None, str]] | None = None) -> dict[str, Floats]:
    """What is resampled of a level: by scenario (n,) scores of items or (n, 3) their edits, in the items' order. Those
    without an item that was judged are left out. shared: no other items, each with its scenario."""
    found = {}
    for one in quality.scenarios:
        items = [item for item in sorted(one.items) if shared is None or (one.scenario, item) in shared]
        if items:
            found[one.scenario or ""] = np.array([one.resampled[item] for item in items], np.float64)
    return found


def _own(scores: pa.Table) -> pa.Table:
    """One row a request: of the prompt's own scorer, a judge's where that is all there is."""
    judged = pc.equal(scores["scorer"].cast(pa.string()), JUDGE)
    others = scores.filter(pc.invert(judged))
    more = pc.and_(judged, pc.invert(pc.is_in(_names(scores), value_set=pc.unique(_names(others)))))
    return pa.concat_tables([others, scores.filter(more)])


def _names(rows: pa.Table) -> Any:
    """The point and the request of each row."""
    return pc.binary_join_element_wise(*(rows[name].cast(pa.string()) for name in ("point_id", "request_id")), " ")


class _Rows(NamedTuple):
    """The rows of one level and scenario, as lists."""

    request_id: list[str]
    item: list[str]
    score: list[float | None]
    how: list[str]
    cut: list[bool]
    failed: list[bool]
    parts: list[str | None]
    scorer: list[str]


def _quality(scores: pa.Table, rows: pa.Table, items: Mapping[str, str]) -> Quality:
    names = scores["scenario"].to_pylist()
    took = _time_shares(scores, rows)
    versions = dict(zip(*(scores[name].to_pylist() for name in ("scorer", "scorer_version")), strict=True))
    columns = {name: scores[name].to_pylist() for name in _Rows._fields if name != "item"}
    columns["item"] = [items[name] for name in scores["prompt_id"].to_pylist()]
    places: dict[str | None, list[int]] = {}
    for at, name in enumerate(names):
        places.setdefault(name, []).append(at)
    scenarios = []
    for name in sorted(places, key=lambda one: one or ""):
        mine = places[name]
        share = None if took is None else float(took[mine].sum())
        scenarios.append(_scenario(name, _Rows(*([columns[c][i] for i in mine] for c in _Rows._fields)), share))
    from benchsuite.quality.score import SCORERS  # its scorers' libraries are of no use to a run without scores

    graded = any(SCORERS[one].graded for one in versions if one in SCORERS)
    graded |= any(
        score not in (0.0, 1.0, None) for score in columns["score"]
    )  # partial = "jaccard"; a scorer that is gone
    micro = mean_interval(np.array([score for one in scenarios for score in one.items.values()], dtype=np.float64))
    quality = Quality(micro, micro, tuple(scenarios), dict(sorted(versions.items())), graded)
    return replace(quality, score=overall_interval(sets_of(quality)))


def _time_shares(scores: pa.Table, rows: pa.Table) -> Floats | None:
    """Of each scored request the share of the level's time in flight; None where the rows do not tell."""
    if "request_id" not in rows.column_names:
        return None
    ends = (np.asarray(rows[name].to_numpy(), np.float64) for name in ("closed_s", "sent_s"))
    took_s = np.nan_to_num(np.subtract(*ends))
    places = pc.fill_null(pc.index_in(_names(scores), value_set=_names(rows).combine_chunks()), -1).to_numpy()
    if took_s.sum() <= 0 or (places < 0).any():
        return None
    shares: Floats = took_s[places] / took_s.sum()
    return shares


def _scenario(name: str | None, rows: _Rows, time_share: float | None) -> ScenarioQuality:
    by_item: dict[str, list[float]] = {}
    sums: dict[str, list[Floats]] = {}
    wanted: dict[str, float] = {}  # edits of the reference, which an answer that failed does not tell
    blank: dict[str, int] = {}
    of_edits = False
    for item, score, text in zip(rows.item, rows.score, rows.parts, strict=True):
        if score is None:
            continue
        by_item.setdefault(item, []).append(score)
        edits = _edits(text)
        if edits is None:
            blank[item] = blank.get(item, 0) + 1
        else:
            of_edits, wanted[item] = True, float(edits[0] + edits[2])
            sums.setdefault(item, []).append(edits)
    items = {item: float(np.mean(scores)) for item, scores in by_item.items()}
    edits_by_item = None
    if of_edits:
        usual = float(np.mean(list(wanted.values())))
        edits_by_item = {}
        for item in items:
            tp, fp, fn = np.sum(sums.get(item, [np.zeros(3)]), axis=0)
            edits_by_item[item] = (float(tp), float(fp), float(fn) + blank.get(item, 0) * wanted.get(item, usual))
    values = items if edits_by_item is None else edits_by_item
    known = [score for score in rows.score if score is not None]
    answered = [("" if failed else how) for how, failed in zip(rows.how, rows.failed, strict=True)]
    unread, n = [how in _UNREAD for how in answered], len(rows.score)
    return ScenarioQuality(
        scenario=name,
        n=n,
        score=scenario_interval(np.array([values[item] for item in sorted(values)], dtype=np.float64)),
        unread=sum(unread),
        cut=sum(rows.cut),
        failed=sum(rows.failed),
        refused=answered.count("refused"),
        not_judged=n - len(known),
        points=float(np.mean(known)) * n if known else 0.0,
        items=items,
        edits=edits_by_item,
        time_share=time_share,
        examples={"unread": _first(rows, unread), "cut": _first(rows, rows.cut)},
        not_judged_because=dict(Counter(h for h, score in zip(rows.how, rows.score, strict=True) if score is None)),
    )


def _first(rows: _Rows, chosen: list[bool]) -> tuple[str, ...]:
    """A few of the requests."""
    return tuple(islice((one for one, wanted in zip(rows.request_id, chosen, strict=True) if wanted), _MOST_EXAMPLES))


def _edits(parts: str | None) -> Floats | None:
    """True positives, false positives, false negatives of a correction; None where an answer has none."""
    found: Mapping[str, Any] = json.loads(parts) if parts else {}
    return np.array([found["tp"], found["fp"], found["fn"]], np.float64) if {"tp", "fp", "fn"} <= found.keys() else None
