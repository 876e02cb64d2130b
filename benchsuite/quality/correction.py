"""The scorer of corrected texts: which edits of a source are those of the reference. Pure.

An edit is (start, end, replacement): the characters start to end of the source are replaced. Edits are the opcodes of
the Levenshtein distance between texts of units (a Latin word, a number, any other character), neighbours merged, and
what is only inserted or deleted moved as far to the front as it means the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchsuite.analysis.requests import Floats
from benchsuite.quality.normalise import answer_of
from benchsuite.quality.text import TOKEN, check_options, shortly
from benchsuite.results import AnswerScore

Edit = tuple[int, int, str]
# of a source, a reference, an answer: their comparison takes the product; the rest of an answer is one insertion
MOST_UNITS = 20_000
MOST_LISTED = 2_000  # corrections of a list; more are not in the source
REWRITE_RATIO = 0.4  # of the source's units: above it an answer is another text
_UNIT = re.compile(rf"{TOKEN}|.", re.DOTALL)
_ARROW = re.compile(r"[-=—]{1,3}>|→|⇒|应?改[为成]|应[为是]|[更纠]正为|should be|corrected to", re.I)
_BULLET = re.compile(r"^\s{0,20}(?:[-*•]|\d{1,3}[.):])\s*")
_QUOTED = re.compile(r"[\"'“‘「『`]([^\"'“”‘’「」『』`]{1,60})[\"'”’」』`]")
_NOTHING_WRONG = re.compile(
    r"(?:无|没有|未发现|未见)[^,;。\n]{0,8}(?:错|误|修改)|\bno (?:\w+ ){0,2}(?:errors?|mistakes?|typos?)\b", re.I
)
_FRAME = " \t\"'“”‘’「」『』【】[]()`*#"


def correction(answer: str, reference: Any, options: Mapping[str, Any], prompt_text: str) -> AnswerScore:
    """F0.5 of the answer's edits of the source, the reference's edits being the right ones.

    Options: source (default: the prompt's text); form = "list": the answer lists corrections ("着->者", 着改为者),
    which are made in the source in their order, each at its first place after the one before; one that is not in the
    source is a wrong edit.
    parts: tp, fp, fn, of which a scenario's F0.5 is made (`f_half` of their sums); the same of edits' spans without the
    replacement (position_tp, ...); detection ("tp", "fp", "fn", "tn": is there something wrong with the source);
    rewrite: more than 40 % of the source's units are edited. An empty answer deletes everything. Not judged
    (`no_source`, `source_too_long`): a prompt without text, or of more than MOST_UNITS.
    """
    source = answer_of(options.get("source", prompt_text))[0]
    n_units = len(_UNIT.findall(source))
    if not 0 < n_units <= MOST_UNITS:
        return AnswerScore(None, how="source_too_long" if source else "no_source")
    right = edits_of(source, answer_of(reference)[0])
    text, missing, how = (answer, 0, "text") if options.get("form") != "list" else _listed(source, answer)
    edits = edits_of(source, text)
    tp = (Counter(edits) & Counter(right)).total()
    position_tp = (Counter(e[:2] for e in edits) & Counter(e[:2] for e in right)).total()
    wrong = bool(edits or missing)
    parts: dict[str, Any] = {
        "tp": tp, "fp": len(edits) - tp + missing, "fn": len(right) - tp,
        "position_tp": position_tp, "position_fp": len(edits) - position_tp + missing,
        "position_fn": len(right) - position_tp,
        "detection": ("tp" if right else "fp") if wrong else "fn" if right else "tn",
        "rewrite": sum(len(_UNIT.findall(source[s:e])) for s, e, _ in edits) > REWRITE_RATIO * n_units,
    }  # fmt: skip
    score = 0.0 if how == "unread" else f_half(tp, parts["fp"], parts["fn"])[2]
    shown = "; ".join(f"{source[s:e]}->{replacement}" for s, e, replacement in edits)
    return AnswerScore(score, shown, how, parts)


def check_correction(reference: Any, options: Mapping[str, Any]) -> None:
    """reference: the corrected text, of at most MOST_UNITS. Options: source (a text), form ("text" or "list")."""
    check_options(options, {"source": str, "form": str})
    if options.get("form", "text") not in ("text", "list"):
        raise ValueError(f'form is {options["form"]!r}; expected "text" or "list"')
    for name, text in {"reference": reference, **{k: v for k, v in options.items() if k == "source"}}.items():
        if not isinstance(text, str):
            raise ValueError(f"{name} is {shortly(text)}; expected a text")
        if not 0 < (n := len(_UNIT.findall(answer_of(text)[0]))) <= MOST_UNITS:
            raise ValueError(f"{name} has {n:,} words and characters; expected 1 to {MOST_UNITS:,}")


def f_half(tp: int, fp: int, fn: int) -> tuple[float, float, float]:
    """Precision (1 without edits), recall (1 where there is nothing to correct) and F0.5 (0 where both are 0).

    Source: Bryant et al. 2019, BEA shared task (W19-4406), section 5; counts are summed over the items of a set.
    """
    precision = tp / (tp + fp) if tp + fp else 1.0
    recall = tp / (tp + fn) if tp + fn else 1.0
    return precision, recall, float(f05(np.array([tp, fp, fn], np.float64)))


def f05(edits: Floats) -> Floats:
    """F0.5 of summed edits. edits: (..., 3) true positives, false positives, false negatives; none at all: 1."""
    tp, fp, fn = (edits[..., i] for i in range(3))
    below = 1.25 * tp + 0.25 * fn + fp
    score: Floats = np.where(below > 0, 1.25 * tp / np.where(below > 0, below, 1.0), 1.0)
    return score


def edits_of(source: str, text: str) -> list[Edit]:
    """The edits that make the text of the source, in their order, none overlapping."""
    from rapidfuzz.distance import Levenshtein

    units, others = [m.span() for m in _UNIT.finditer(source)], _UNIT.findall(text)
    opcodes = Levenshtein.opcodes([source[s:e] for s, e in units], others[:MOST_UNITS])
    starts = [*(start for start, _ in units), len(source)]
    blocks: list[list[int]] = []
    for code in opcodes:
        if code.tag != "equal" and blocks and blocks[-1][1] == code.src_start:
            blocks[-1][1::2] = code.src_end, code.dest_end
        elif code.tag != "equal":
            blocks.append([code.src_start, code.src_end, code.dest_start, code.dest_end])
    if len(others) > MOST_UNITS:
        if not blocks or blocks[-1][1] < len(units):
            blocks.append([len(units), len(units), MOST_UNITS, MOST_UNITS])
        blocks[-1][3] = len(others)
    edits: list[Edit] = []
    for first, last, other_first, other_last in blocks:
        start, end, replacement = starts[first], starts[last], "".join(others[other_first:other_last])
        least, moved = edits[-1][1] + 1 if edits else 0, 0
        repeated = replacement or source[start:end]
        if start == end or not replacement:
            while start - moved > least and source[start - moved - 1] == repeated[-1 - moved % len(repeated)]:
                moved += 1
            turn = -moved % len(repeated)
            replacement = replacement and replacement[turn:] + replacement[:turn]
        edits.append((start - moved, end - moved, replacement))
    return edits


def _listed(source: str, answer: str) -> tuple[str, int, str]:
    """The source with the corrections that the answer lists, how many are not in it, and how it was read."""
    made: list[Edit] = []
    taken, after, missing, pairs = bytearray(len(source)), 0, 0, 0
    for piece in re.split(r"[\n,;、。]", answer):
        left, *right = _ARROW.split(_BULLET.sub("", piece), maxsplit=1)
        if not right:
            continue
        quoted = _QUOTED.findall(left), _QUOTED.findall(right[0])
        old = quoted[0][-1] if quoted[0] else re.sub(r"^应?[将把]", "", left.rsplit(":", 1)[-1].strip(_FRAME))
        new = quoted[1][0] if quoted[1] else right[0].split("(")[0].strip(_FRAME)
        if not old or old == new:
            continue
        pairs += 1
        place = -1
        for begin in (after, 0) if pairs <= MOST_LISTED else ():
            place = source.find(old, begin)
            while place >= 0 and any(taken[place : place + len(old)]):
                place = source.find(old, place + 1)
            if place >= 0:
                break
        if place < 0:
            missing += 1
            continue
        after = place + len(old)
        taken[place:after] = b"1" * len(old)
        made.append((place, after, new))
    how = "list" if pairs else "nothing" if _NOTHING_WRONG.search(answer) else "unread"
    return apply_edits(source, made), missing, how


def apply_edits(source: str, edits: list[Edit]) -> str:
    """The source with the edits made in it; none overlap."""
    parts, done = [], 0
    for start, end, replacement in sorted(edits, key=lambda edit: edit[:2]):
        parts += [source[done:start], replacement]
        done = end
    return "".join([*parts, source[done:]])
